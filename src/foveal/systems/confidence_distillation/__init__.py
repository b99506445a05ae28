"""Confidence distillation: a cheap student says which clips are worth the teacher's time."""
