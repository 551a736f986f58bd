"""Export trained torch modules to a Triton model repository. Torch lives here and nowhere else."""
