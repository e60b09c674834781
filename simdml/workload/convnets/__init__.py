"""Convolutional networks exactly as torchvision builds them."""
