"""NSNet: frames that show no action are negatives, and only the salient ones are looked at."""
