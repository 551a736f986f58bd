"""References for an ONNX graph without a torch module: another implementation of the same operators."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator

from avizor_export.graph.ends_in_sigmoid import ends_in_sigmoid
from avizor_export.graph.logits import SIGMOID, producing_nodes, quantisation_step, with_logits
from avizor_export.graph.quantised import is_quantised, without_rounding
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.rounding import Perturbed
from avizor_export.parity.soundness import Run
from avizor_export.parity.tolerances import NOISE, noise_between
from avizor_export.parity.torch_operators import TORCH_OPERATORS
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.onnx_graph import graph_of

_QUANTISING_OPSET = 19


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

    The evaluator computes some operators wrongly, such as a grouped ConvTranspose or the probabilities of an SVM.
    items: raw items to try it on.
    Raises ExportError if neither runs.
    """
    step, plain = _step_of_probabilities(proto.graph), _unrounded(proto)
    is_sigmoid = ends_in_sigmoid(proto.graph, "probabilities")
    proto = with_logits(proto)

    def reference(run: Run, name: str, note: str = "") -> Reference:
        whole = _with_noise(run, step, plain)
        return Reference(_marking_sigmoids(whole) if is_sigmoid else whole, name, note)

    try:
        _refuse_wrong_operators(proto)
        run = reference_run(proto)
        run(items)
        return reference(run, _evaluator_name(proto))
    except ExportError as error:
        unoptimised = onnxruntime_run(proto, optimised=False)
        try:
            unoptimised(items)
        except ExportError:
            raise error from None  # the graph is at fault, and the evaluator's message is easier to read
        note = f"{error}; so the graph is compared with ONNX Runtime without its optimisations"
        return reference(unoptimised, f"unoptimised ONNX Runtime {onnxruntime.__version__}", note)


def _evaluator_name(proto: onnx.ModelProto) -> str:
    """Return what runs the graph: the evaluator, and the operators that torch computes for it."""
    used = {node.op_type for node in proto.graph.node}
    operators = ", ".join(operator.__name__ for operator in TORCH_OPERATORS if operator.__name__ in used)
    by_torch = f" with torch {torch.__version__.partition('+')[0]}'s {operators}" if operators else ""
    return f"the reference evaluator of onnx {version('onnx')}{by_torch}"


def _refuse_wrong_operators(proto: onnx.ModelProto) -> None:
    """Raise ExportError for an SVM's probabilities, which the evaluator computes wrongly: scikit-learn's are ONNX Runtime's."""
    for node in proto.graph.node:
        if node.op_type == "SVMClassifier" and any(attribute.name == "prob_a" for attribute in node.attribute):
            raise ExportError("the reference evaluator computes other probabilities of an SVM than scikit-learn does")


def _step_of_probabilities(graph: onnx.GraphProto) -> float:
    """Return to which step the file rounds its probabilities; 0 for a softmax or sigmoid, whose logarithms are exact too.

    Others may be computed as 1 - p, of which float32 keeps only so much.
    """
    nodes = producing_nodes(graph, "probabilities")
    is_exact = not nodes or nodes[-1].op_type == "Softmax" or ends_in_sigmoid(graph, "probabilities")
    return max(quantisation_step(graph, "probabilities"), 0.0 if is_exact else float(np.finfo(np.float32).eps))


def _unrounded(proto: onnx.ModelProto) -> Run | None:
    """Return what runs the graph without its rounding to int8; None for a graph without such."""
    return onnxruntime_run(without_rounding(proto)) if is_quantised(proto.graph) else None


def _with_noise(run: Run, step: float, plain: Run | None) -> Run:
    """Add to what the run returns by how much the file's own rounding changes each output: it widens their tolerances.

    step: to which the file rounds its probabilities. plain: runs the graph without its rounding to int8.
    """
    if not step and plain is None:
        return run

    def with_noise(items: Items) -> dict[str, Items]:
        outputs = run(items)
        noise = noise_between(outputs, plain(items)) if plain else {}
        if step:
            name = NOISE + "probabilities"
            noise[name] = np.maximum(noise.get(name, 0.0), np.full((len(items), 1), step))
        return {**outputs, **noise}

    return with_noise


def _marking_sigmoids(run: Run) -> Run:
    """Add SIGMOID to what the run returns: each class has a probability of its own."""
    return lambda items: {**run(items), SIGMOID: np.ones((len(items), 1))}


def reference_run(proto: onnx.ModelProto) -> Run:
    """Return a function that runs the graph on the reference evaluator of onnx, which shares no code with ONNX Runtime.

    Torch computes the operators that are slow there, and shares none either.
    Raises ExportError if it cannot load the graph; the function raises ExportError if the graph fails on the items.
    """
    try:
        evaluator = ReferenceEvaluator(_for_evaluator(proto), new_ops=list(TORCH_OPERATORS))
    except Exception as error:  # the evaluator's errors share no base class
        raise ExportError(f"the reference evaluator cannot load the graph: {error}") from error
    names = [output.name for output in proto.graph.output]
    (tensor,) = graph_of(proto).inputs

    def run(items: Items) -> dict[str, Items]:
        try:
            with np.errstate(all="ignore"):  # a sigmoid computes both of its branches, and one may overflow
                values = evaluator.run(names, {tensor.name: items})
        except Exception as error:
            raise ExportError(f"the graph does not run on the reference evaluator: {error}") from error
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    return run


def _for_evaluator(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph at the opset in which the evaluator has quantisation: there it means the same, of more types."""
    if not any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in proto.graph.node):
        return proto
    newer = onnx.ModelProto()
    newer.CopyFrom(proto)
    for entry in newer.opset_import:
        if not entry.domain:
            entry.version = max(entry.version, _QUANTISING_OPSET)
    return newer
