"""The exported graph: front end, network and outputs in one module, and its translation to ONNX."""
