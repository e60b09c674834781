"""Clusters from what machines print about themselves; nothing is imported here."""
