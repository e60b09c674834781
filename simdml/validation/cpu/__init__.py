"""Training steps of real networks on this machine's CPU, against predictions from its own kernels."""
