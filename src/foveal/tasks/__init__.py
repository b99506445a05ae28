"""What systems are for, and how well they do it: one module a task."""
