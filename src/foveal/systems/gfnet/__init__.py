"""GFNet: glance at everything small, then focus on one square after the other."""
