"""Name the devices of the engine `ort`. Apart from the engine, which needs ONNX Runtime: options and records name them."""

from __future__ import annotations

from typing import Literal

Device = Literal["config", "cpu", "cuda"]
