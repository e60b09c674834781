"""Questions that take many simulations."""
