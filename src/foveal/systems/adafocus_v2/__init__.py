"""AdaFocusV2: one small square of each frame, placed by a policy that learns end to end."""
