"""Read the model repository on disk: manifest, reports, calibration, config.pbtxt and ONNX graph of each version."""
