"""Fits of the cost models to readings; nothing is imported here."""
