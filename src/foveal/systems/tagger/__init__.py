"""The embedded default: what things are in a video, and when."""
