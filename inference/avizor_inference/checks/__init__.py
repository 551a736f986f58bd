"""Check that a version's files agree with each other, and that Triton and TensorRT can load them."""
