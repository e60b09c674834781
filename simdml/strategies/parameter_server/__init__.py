"""Parameter servers: placement, what a worker and its node do, and the systems that are made of them."""
