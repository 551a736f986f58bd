"""Read the operators of torch once in a process. Each export goes through them anew, for most of the CPU of a small one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._C import DispatchKey
from torch._decomp import decomposition_table
from torch._export import utils
from torch._ops import OperatorBase
from torch.export import decomp_utils, exported_program
from torch.onnx._internal.exporter import _decomp
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
    name, named, kept = utils._materialize_cpp_cia_ops, list[str](), dict[str, tuple[object, Any]]()

    def name_if_there_are_more() -> None:
        found = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if found != named:
            name()
            named[:] = found
            kept.clear()

    utils._materialize_cpp_cia_ops = name_if_there_are_more
    _collect_once(kept)
    OperatorBase.py_impl = _without_annotations(OperatorBase.py_impl)  # type: ignore[method-assign]


def _collect_once(kept: dict[str, tuple[object, Any]]) -> None:
    """Keep what torch collects of its operators: those that it may leave whole, and what it takes the others apart with.

    An export asks for it some sixty times, and goes through thousands of operators each time.
    kept: by the name of the function that collects it. It is to be emptied when there is another operator.
    """

    def once(collect: Callable[..., Any], copy: Callable[[Any], Any]) -> Callable[..., Any]:
        def collected(*of: Any) -> Any:
            utils._materialize_cpp_cia_ops()
            state = len(decomposition_table), of
            if collect.__name__ not in kept or kept[collect.__name__][0] != state:
                kept[collect.__name__] = state, collect(*of)
            return copy(kept[collect.__name__][1])

        return collected

    for module in (utils, decomp_utils, exported_program):
        for name in ("_collect_all_valid_cia_ops", "_collect_all_valid_cia_ops_for_aten_namespace"):
            if hasattr(module, name):
                setattr(module, name, once(getattr(module, name), set))
    _decomp.create_onnx_friendly_decomposition_table = once(_decomp.create_onnx_friendly_decomposition_table, dict)


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
    table = ONNXRegistry.from_torchlib(OPSET)
    _decomp.create_onnx_friendly_decomposition_table(set(_decomp.get_onnx_implemented_overloads(table)))
    utils._collect_all_valid_cia_ops()
