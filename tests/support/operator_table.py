"""Read the operators of torch once in a process. Each export goes through them anew, for half of the CPU of a small one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._C import DispatchKey
from torch._export import utils
from torch._ops import OperatorBase
from torch.onnx._internal.exporter._registration import ONNXRegistry

from avizor_inference.repository.onnx_graph import OPSET


def read_operators_once() -> None:
    """Let exports of this process share what torch reads from the sources of onnxscript, and the names of its operators.

    Each still gets a table of its own, and operators that are registered later are found.
    """
    read = functools.cache(ONNXRegistry.from_torchlib)

    def from_torchlib(opset_version: int) -> ONNXRegistry:
        known = read(opset_version)
        table = ONNXRegistry()
        table._opset_version = known.opset_version
        table.functions = {name: list(translations) for name, translations in known.functions.items()}
        return table

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore[method-assign,assignment]
    name, named = utils._materialize_cpp_cia_ops, list[str]()

    def name_if_there_are_more() -> None:
        found = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if found != named:
            name()
            named[:] = found

    utils._materialize_cpp_cia_ops = name_if_there_are_more
    OperatorBase.py_impl = _without_annotations(OperatorBase.py_impl)  # type: ignore[method-assign]


def _without_annotations(py_impl: Callable[..., Any]) -> Callable[..., Any]:
    """Replace what an export calls 6,000 times, of which most is the making of annotations that nobody reads."""

    def registering(self: Any, key: Any) -> Callable[[Any], Any]:
        def register(function: Any) -> Any:
            if not isinstance(key, DispatchKey) or key == DispatchKey.Python or key in self.py_kernels:
                return py_impl(self, key)(function)
            self.py_kernels[key] = function
            self._dispatch_cache.clear()
            return function

        return register

    return registering


def read_operators_now() -> None:
    """The same, for the processes that are forked from this one: it has read them, and starts no thread for it."""
    read_operators_once()
    ONNXRegistry.from_torchlib(OPSET)
    utils._materialize_cpp_cia_ops()
