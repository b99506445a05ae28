"""The executor, which alone touches sources and parts, and the runners it drives."""
