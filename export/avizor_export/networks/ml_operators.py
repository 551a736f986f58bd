"""Adopt graphs with operators of ai.onnx.ml, which converters of scikit-learn, LightGBM and XGBoost write.

Every build of ONNX Runtime has these operators, the one in Triton's backend included, and computes them on the CPU. A server
takes and returns tensors of numbers. So an output that is a sequence of maps (ZipMap) is replaced by the tensor in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from avizor_export.graph.logits import are_probabilities, producing_nodes
from avizor_inference.arrays import Array
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.onnx_graph import ML_DOMAIN, uses_ml_operators

# Names that converters give to the output with the probabilities.
OUTPUT_NAMES = ("probabilities", "output_probability")

ONE_FLOAT_INPUT = "convert it again with one input of all columns, initial_types=[('X', FloatTensorType([None, columns]))]"
_CONVERTERS = ("skl2onnx", "OnnxMLTools")
# Attributes that hold the labels of classes, in the order of the probabilities.
_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
# Operators between those that know the classes and the output, which keep the order of the classes.
_KEEP_CLASSES = ("Normalizer", "Identity", "Cast", "Softmax")
# Numbers that were trained; the other attributes of trees are places in the tree.
_TRAINED = frozenset(
    {"coefficients", "intercepts", "support_vectors", "rho", "prob_a", "prob_b", "offset", "scale", "nodes_values"}
    | {"class_weights", "target_weights", "leaf_weights", "nodes_splits"}
)


def without_maps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the tensors of maps as outputs, float32[batch, classes], instead of the maps. Changes `model`."""
    outputs = {output.name: output for output in model.graph.output}
    for node in model.graph.node:
        if node.op_type != "ZipMap" or node.domain != ML_DOMAIN or node.output[0] not in outputs:
            continue
        classes = len(_class_labels(node)) or None
        tensor = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, ["batch", classes])
        outputs[node.output[0]].CopyFrom(tensor)
        # Of a pipeline of float64 the map holds float64.
        node.CopyFrom(helper.make_node("Cast", [node.input[0]], [node.output[0]], node.name, to=TensorProto.FLOAT))
    return model


def labels_in(model: onnx.ModelProto, output: str) -> tuple[str, ...] | None:
    """Return the labels that the file itself gives to the columns of an output; None if it gives none.

    output: name of the probabilities. The model is as the file has it, with its maps.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get(output)
    while node is not None:
        if labels := _class_labels(node):
            return tuple(map(str, labels))
        node = producers.get(node.input[0]) if node.op_type in _KEEP_CLASSES else None
    return None


def labels_of_file(path: Path, labels: Sequence[str] | None, output: str | None) -> Sequence[str] | None:
    """Return the labels of a classifier: those of --labels, or else those that the file gives to its classes, if any.

    output: name of the probabilities, if it was given. Raises ExportError if --labels contradicts the names in the file.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # the library's errors share no base class; adopt reports them
        return labels
    names = {value.name for value in model.graph.output}
    chosen = output or next((name for name in OUTPUT_NAMES if name in names), None)
    own = labels_in(model, chosen) if chosen else None
    if labels is None or own is None:
        return labels or own
    if list(labels) != list(own) and not all(label.lstrip("-").isdecimal() for label in own):
        raise ExportError(
            f"the classes of {path} are {', '.join(own)}, in this order, and --labels has {', '.join(labels)}; leave out "
            "--labels, or correct it"
        )
    return labels


def check_inputs(model: onnx.ModelProto, where: object) -> None:
    """Raise ExportError, with the converter's option, if a pipeline takes several inputs, or one that is not of numbers."""
    if not uses_ml_operators(model):
        return
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) > 1:
        raise ExportError(f"{where} has {len(inputs)} inputs, and a model of Avizor has one; {ONE_FLOAT_INPUT}")
    for value in inputs:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type" or value.type.tensor_type.elem_type == TensorProto.STRING:
            found = "text" if kind == "tensor_type" else "maps"
            raise ExportError(
                f"{where}: input {value.name!r} takes {found}, and a model of Avizor takes numbers; encode {found} before the "
                f"pipeline, and {ONE_FLOAT_INPUT}"
            )


def is_converted_pipeline(model: onnx.ModelProto) -> bool:
    """Return whether a converter of pipelines wrote the file: its options, and not those of torch, change it."""
    return model.producer_name in _CONVERTERS or uses_ml_operators(model)


def columns_remedy(model: onnx.ModelProto) -> str:
    """Return the converter's option that keeps the classes together, to follow a message; empty for other files."""
    if not is_converted_pipeline(model):
        return ""
    return "; if each class has its own output (zipmap='columns'), convert it again with options={'zipmap': False}"


def check_output(model: onnx.ModelProto, chosen: str, outputs: Sequence[str]) -> None:
    """Raise ExportError if the chosen output holds text, such as the label of the most probable class, or several tensors."""
    for node in model.graph.node:
        if node.op_type == "SequenceConstruct" and chosen in node.output:
            raise ExportError(
                f"output {chosen!r} holds the probabilities of several targets, as a MultiOutputClassifier returns them, and a "
                f"model of Avizor has one; publish a model for each target: --output {' or --output '.join(node.input)}"
            )
    types = {value.name: value.type for value in model.graph.output}
    if types[chosen].WhichOneof("value") != "tensor_type" or types[chosen].tensor_type.elem_type == TensorProto.STRING:
        others = ", ".join(name for name in outputs if name != chosen)
        rest = f"name another of its outputs ({others}) with --output" if others else "let it return the numbers behind them"
        raise ExportError(f"output {chosen!r} holds labels or maps, which a server does not return; {rest}")


def is_by_ml_operator(graph: onnx.GraphProto, chosen: str) -> bool:
    """Return whether an operator of ai.onnx.ml computes an output."""
    nodes = producing_nodes(graph, chosen)
    return bool(nodes) and nodes[-1].domain == ML_DOMAIN


def is_made_by_ml_operators(graph: onnx.GraphProto, chosen: str) -> bool:
    """Return whether operators of ai.onnx.ml compute an output, by themselves or with a Concat and Slice of their outputs.

    A converted OneVsRestClassifier slices the positive class of each of its classifiers, and joins them.
    """
    nodes = producing_nodes(graph, chosen)
    if not nodes:
        return False
    last = nodes[-1]
    if last.domain == ML_DOMAIN:
        return True
    inputs = last.input if last.op_type == "Concat" else last.input[:1] if last.op_type == "Slice" else ()
    return bool(inputs) and all(is_made_by_ml_operators(graph, name) for name in inputs)


def score_warning(graph: onnx.GraphProto, chosen: str, name: str, values: Array) -> str | None:
    """Return a warning if the classes of a pipeline have scores and not probabilities; None if all is well.

    values: the output for some items, float[n, classes]. name: the output's name in the file. Raises ExportError for
    probabilities of which several may be right: their rows do not sum to 1.
    """
    if not (name in OUTPUT_NAMES or is_by_ml_operator(graph, chosen)) or are_probabilities(values):
        return None
    if ((values >= 0) & (values <= 1)).all():
        raise ExportError(
            f"{name} holds numbers from 0 to 1 that do not sum to 1 for an item, such as {np.round(values[0], 3).tolist()}: "
            "several classes may be right for it; add --activation sigmoid, and each class has its own probability"
        )
    return (
        f"{name} holds scores and not probabilities, such as the margins of an SVM: the softmax of them is published. The most "
        "probable class is the file's; the probability says little. Train with probabilities (SVC(probability=True), "
        "CalibratedClassifierCV), or convert without raw_scores, to have them"
    )


def missing_warning(model: onnx.ModelProto, spec: InputSpec) -> str | None:
    """Return a warning if the graph was trained to handle missing values, and the front end fills them before it sees them."""
    if not spec.nan_is_missing or spec.passes_missing or not any(map(_handles_missing, model.graph.node)):
        return None
    return (
        "the file handles missing values itself, and does not see them: the front end replaces them by 0, or by the `fill` of "
        'the column; add ,fill=none to --input, or "fill": null to its columns, to leave them to the file'
    )


def _handles_missing(node: onnx.NodeProto) -> bool:
    tracks = (each for each in node.attribute if each.name == "nodes_missing_value_tracks_true")
    return node.domain == ML_DOMAIN and (node.op_type == "Imputer" or any(any(each.ints) for each in tracks))


def trained_numbers(node: onnx.NodeProto) -> int:
    """Return how many trained numbers are in the attributes of an operator of ai.onnx.ml; 0 for any other operator."""
    if node.domain != ML_DOMAIN:
        return 0
    return sum(_count(each) for each in node.attribute if each.name.removesuffix("_as_tensor") in _TRAINED)


def _count(attribute: onnx.AttributeProto) -> int:
    return len(attribute.floats) or (int(np.prod(attribute.t.dims)) if attribute.HasField("t") else 0)


def _class_labels(node: onnx.NodeProto) -> list[str] | list[int]:
    """Return the labels in a node's attributes; empty if it has none."""
    for attribute in node.attribute:
        if attribute.name in _LABELS and (attribute.strings or attribute.ints):
            return [text.decode("utf-8") for text in attribute.strings] or list(attribute.ints)
    return []
