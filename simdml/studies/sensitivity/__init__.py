"""What would make a job faster: every part of it made twice and half as good, and the constraint that binds."""
