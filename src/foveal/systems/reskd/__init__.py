"""ResKD: a low-resolution student that a full-resolution teacher has taught."""
