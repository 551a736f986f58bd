"""Export trained torch modules to a Triton model repository. Torch lives here and nowhere else."""

import avizor_inference  # noqa: F401 - it keeps ONNX Runtime from reporting, and so comes first
