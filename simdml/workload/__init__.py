"""What a training step computes: operators, layers, blocks and models."""
