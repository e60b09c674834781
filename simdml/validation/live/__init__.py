"""A cluster of network namespaces on one Linux machine: real jobs run in it, and their predictions."""
