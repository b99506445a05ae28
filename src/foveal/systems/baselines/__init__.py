"""Uniform, random, centre, dense and glance-only: what every policy has to beat."""
