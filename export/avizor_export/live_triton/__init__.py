"""A running Triton server: its address, a temporary model on it, and parity through it."""
