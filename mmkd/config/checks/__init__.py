"""Check configs before training starts, a file for each part of them."""
