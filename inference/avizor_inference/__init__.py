"""Run exported models: the model repository, its manifests, the engines, calibration, decoding. No torch, no server."""

import os

# ONNX Runtime's wheels report machine, models and use to their maker, unless this is set before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
