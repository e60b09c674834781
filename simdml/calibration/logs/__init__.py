"""Parsers of what measurement programs print; nothing is imported here."""
