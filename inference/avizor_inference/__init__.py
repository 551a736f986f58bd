"""Run exported models: the model repository, engines, decoding, calibration. No torch, no server.

The names in `__init__.pyi` are what users import. Each loads when it is used: `import avizor_inference` alone is fast.
"""

from __future__ import annotations

import os

import lazy_loader

# ONNX Runtime's wheels report machine, models and use to their maker, unless this is set before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
