"""NVIDIA Triton on this machine without Docker: tests install it from a wheel, start it and stop it."""
