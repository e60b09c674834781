"""Seconds and bytes of collectives: NCCL, gloo, and the ideal ring."""
