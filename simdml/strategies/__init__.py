"""Compilers from a Job to a Program: how each way of training in parallel is executed."""
