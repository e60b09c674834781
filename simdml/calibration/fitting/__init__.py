"""Numbers out of readings; nothing is imported here."""
