"""Seconds and bytes: what compute, collectives, messages and memory cost on a cluster with a profile."""
