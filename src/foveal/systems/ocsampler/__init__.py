"""OCSampler: one glance at all candidates, one decision, one pass over the few frames chosen."""
