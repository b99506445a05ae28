"""EAN: event adaptive network."""
