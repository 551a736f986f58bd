"""Use a running Triton server during export: check its address, load a model temporarily, and prove parity through it."""
