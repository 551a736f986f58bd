"""Read the operators that torch can translate to ONNX once in a process: each export reads them anew, for 0.3 s."""

from __future__ import annotations

import functools

from torch.onnx._internal.exporter._registration import ONNXRegistry


def read_operators_once() -> None:
    """Let exports of this process share what torch reads from the sources of onnxscript. Each still gets a table of its own."""
    read = functools.cache(ONNXRegistry.from_torchlib)

    def from_torchlib(opset_version: int) -> ONNXRegistry:
        known = read(opset_version)
        table = ONNXRegistry()
        table._opset_version = known.opset_version
        table.functions = {name: list(translations) for name, translations in known.functions.items()}
        return table

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore[method-assign,assignment]
