"""Run exported models: the model repository, its manifests, the engines, calibration, decoding. No torch, no server."""
