"""Checks of a version's files against each other and against what Triton and TensorRT load."""
