"""Index and time arithmetic, confidence and exits, and the words protocols are written in."""
