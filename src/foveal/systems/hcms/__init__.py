"""HCMS: always listen, sometimes look, rarely watch how it moves."""
