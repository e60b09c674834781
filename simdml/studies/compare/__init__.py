"""Two scenarios or more: what differs in them, what changed, and which accounts of the step the difference is in."""
