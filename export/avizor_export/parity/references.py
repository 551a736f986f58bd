"""References for an ONNX graph without a torch module: another implementation of the same operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from avizor_export.graph.ends_in_sigmoid import ends_in_sigmoid
from avizor_export.graph.logits import SIGMOID, quantisation_step, with_logits
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.rounding import Perturbed
from avizor_export.parity.soundness import Run
from avizor_export.parity.tolerances import STEP
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.onnx_graph import graph_of


@dataclass(frozen=True)
class Reference:
    """A way to run the network that the graph is compared with.

    name: what runs it, for reports. note: what a user should know about it, may be empty. perturbed: runs it on perturbed
    features.
    """

    run: Run
    name: str
    note: str = ""
    perturbed: Perturbed | None = None


def reference_of(proto: onnx.ModelProto, items: Items) -> Reference:
    """Return the reference evaluator of the onnx package, or ONNX Runtime without its optimisations if the evaluator fails.

    The evaluator computes some operators wrongly, such as a grouped ConvTranspose. items: raw items to try it on.
    Raises ExportError if neither runs.
    """
    constant = _constant_outputs(proto)
    proto = with_logits(proto)
    try:
        run = reference_run(proto)
        run(items)
        return Reference(_with_constants(run, constant), f"the reference evaluator of onnx {version('onnx')}")
    except ExportError as error:
        plain = onnxruntime_run(proto, optimised=False)
        try:
            plain(items)
        except ExportError:
            raise error from None  # the graph is at fault, and the evaluator's message is easier to read
        note = f"{error}; so the graph is compared with ONNX Runtime without its optimisations"
        return Reference(_with_constants(plain, constant), f"unoptimised ONNX Runtime {onnxruntime.__version__}", note)


def _constant_outputs(proto: onnx.ModelProto) -> dict[str, float]:
    """Return what widens the tolerance of probabilities: their quantisation step if there is one, and SIGMOID."""
    step = quantisation_step(proto.graph, "probabilities")
    is_sigmoid = ends_in_sigmoid(proto.graph, "probabilities")
    return ({STEP: step} if step else {}) | ({SIGMOID: 1.0} if is_sigmoid else {})


def _with_constants(run: Run, constants: Mapping[str, float]) -> Run:
    """Add these values, the same for each item, to what the run returns."""
    if not constants:
        return run
    return lambda items: {**run(items), **{name: np.full((len(items), 1), value) for name, value in constants.items()}}


def reference_run(proto: onnx.ModelProto) -> Run:
    """Return a function that runs the graph on the reference evaluator of onnx, which shares no code with ONNX Runtime.

    Raises ExportError if it cannot load the graph; the function raises ExportError if the graph fails on the items.
    """
    try:
        evaluator = ReferenceEvaluator(proto)
    except Exception as error:  # the evaluator's errors share no base class
        raise ExportError(f"the reference evaluator cannot load the graph: {error}") from error
    names = [output.name for output in proto.graph.output]
    (tensor,) = graph_of(proto).inputs

    def run(items: Items) -> dict[str, Items]:
        try:
            values = evaluator.run(names, {tensor.name: items})
        except Exception as error:
            raise ExportError(f"the graph does not run on the reference evaluator: {error}") from error
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    return run
