"""Read the operators of torch once in a process. Each export goes through them anew, for half of the CPU of a small one."""

from __future__ import annotations

import functools

import torch
from torch._export import utils
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


def read_operators_now() -> None:
    """The same, for the processes that are forked from this one: it has read them, and starts no thread for it."""
    read_operators_once()
    ONNXRegistry.from_torchlib(OPSET)
    utils._materialize_cpp_cia_ops()
