"""Parameter servers as named systems run them: one short file a system, and one line in its catalog."""
