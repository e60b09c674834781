"""Programs that run inside a host of the testbed; they need torch, and nothing above imports them."""
