"""Goodput: what is left of weeks of training after failures, checkpoints and restarts."""
