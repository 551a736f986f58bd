"""NVIDIA Triton on this machine, without Docker: installed from a wheel, started and stopped by tests."""
