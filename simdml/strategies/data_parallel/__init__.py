"""Data parallelism, one file a system: how replicas of a model share its state and agree on gradients."""
