"""Parity: whether the exported graph computes what the original network computes, and within which tolerances."""
