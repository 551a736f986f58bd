"""Bring ONNX files of any opset and IR version to those of the contract.

Older operators are converted by onnx. So are newer ones, where onnx can. Where it cannot, an operator that is a composition of
others is written out, and one that only got further types stays as it is. `onnx_rows.py` then proves
the result equal to the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx
from onnx import TensorProto, defs, helper, inliner, version_converter

from avizor_export.networks.onnx_nodes import nodes_of
from avizor_inference.error_text import shortened
from avizor_inference.errors import GraphVersionError
from avizor_inference.repository.onnx_graph import MAX_IR_VERSION, OPSET, STANDARD_DOMAINS, graph_of

_NO_CONVERSION = re.compile(r"No Previous Version of (\w+) exists|No Adapter (?:From|To) Version \S+ for (\w+)")
# Its axis was an attribute with another default.
_CHANGED = ("DFT",)
# From this opset on, a Resize takes other pixels unless it says which.
_NEW_RESIZE = 11
# Same name, another computation in opset 18: written out as well.
_COMPOSED_ANEW = ("GroupNormalization",)
_NEW_NAMES = {"linear": b"bilinear", "cubic": b"bicubic"}
# Attributes that say nothing about the types that opset 18 has.
_OF_NEW_TYPES = ("saturate", "round_mode")
# Types that IR version 10 has; later ones have larger numbers.
_LAST_TYPE = TensorProto.INT4


def with_contract_ir(model: onnx.ModelProto) -> onnx.ModelProto:
    """Set the IR version of the contract. Changes `model`. Raises GraphVersionError if it has a type that came later.

    IR versions 1 and 2 had no operator sets. Up to 3, weights had to be inputs too, which later ones allow.
    """
    for tensor in model.graph.initializer:
        if tensor.data_type > _LAST_TYPE:
            kind = (
                TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in TensorProto.DataType.values() else "a type"
            )
            raise GraphVersionError(f"its weight {tensor.name!r} is of {kind}, which IR version {MAX_IR_VERSION} does not have")
    model.ir_version = MAX_IR_VERSION
    if not model.opset_import:
        model.opset_import.append(helper.make_opsetid("", 1))
    return model


def with_contract_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in the opset of the contract. Raises GraphVersionError naming the operator that cannot be converted."""
    opset = graph_of(model).opset
    if opset == OPSET:
        return model
    if opset > defs.onnx_opset_version():
        raise GraphVersionError(f"onnx {onnx.__version__} knows opsets up to {defs.onnx_opset_version()}")
    try:
        converted = version_converter.convert_version(model, OPSET)
        return with_contract_ir(_resized_as_before(converted) if opset < _NEW_RESIZE else converted)
    except RuntimeError as error:
        if opset < OPSET:
            raise GraphVersionError(_why_not_converted(error)) from error
        try:
            return _lowered(model)
        except GraphVersionError:
            raise GraphVersionError(_why_not_converted(error)) from error


def _resized_as_before(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let a Resize take the pixels that it, or an Upsample, took before opset 11; onnx's converter leaves that out."""
    for node in nodes_of(model.graph):
        if node.op_type == "Resize":
            given = {attribute.name for attribute in node.attribute}
            old = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            node.attribute.extend(helper.make_attribute(name, value) for name, value in old.items() if name not in given)
    return model


def _lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with newer operators written out, and the others of opset 18."""
    while composed := sorted({node.op_type for node in nodes_of(model.graph) if _is_composed(node)}):
        model = inliner.inline_selected_functions(
            _typed(model), [("", name) for name in composed], inline_schema_functions=True
        )
        if {node.op_type for node in nodes_of(model.graph)} >= set(composed):
            raise GraphVersionError(f"{composed[0]} cannot be written out")
    lowered = _typed(model)
    types = {value.name: value.type.tensor_type.elem_type for value in (*lowered.graph.input, *lowered.graph.value_info)}
    for node in nodes_of(lowered.graph):
        _cast_plainly(node, types)
        _lower(node)
    for entry in lowered.opset_import:
        if entry.domain in STANDARD_DOMAINS:
            entry.version = OPSET
    return with_contract_ir(lowered)


def _typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model as the inliner takes it: with the types of all values, and default attributes of what it writes out."""
    typed = onnx.shape_inference.infer_shapes(model)
    for node in filter(_is_composed, nodes_of(typed.graph)):
        defaults = defs.get_schema(node.op_type, graph_of(model).opset, "").attributes
        missing = defaults.keys() - {attribute.name for attribute in node.attribute}
        node.attribute.extend(defaults[name].default_value for name in sorted(missing) if defaults[name].default_value.name)
    known = {value.name for value in (*typed.graph.value_info, *typed.graph.input)}
    constants = (tensor for tensor in typed.graph.initializer if tensor.name not in known)
    typed.graph.value_info.extend(helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in constants)
    return typed


def _cast_plainly(node: onnx.NodeProto, types: Mapping[str, int]) -> None:
    """Write a CastLike, of which the inliner leaves many, as a Cast to the type: engines fold that over constants."""
    if node.op_type == "CastLike" and types.get(node.input[1]):
        node.op_type = "Cast"
        node.attribute.append(helper.make_attribute("to", types[node.input[1]]))
        del node.input[1:]


def _is_composed(node: onnx.NodeProto) -> bool:
    return node.op_type in _COMPOSED_ANEW or not _is_known(node.op_type)


def _is_known(operator: str) -> bool:
    try:
        defs.get_schema(operator, OPSET, "")
    except defs.SchemaError:
        return False
    return True


def _lower(node: onnx.NodeProto) -> None:
    """Write a node as opset 18 has it. Raises GraphVersionError if it cannot do what the node does."""
    schema, newest = defs.get_schema(node.op_type, OPSET, ""), defs.get_schema(node.op_type, defs.onnx_opset_version(), "")
    if node.op_type in _CHANGED or len(node.input) > schema.max_input:
        raise GraphVersionError(f"{node.op_type} is not as in {OPSET}")
    for attribute in list(node.attribute):
        if attribute.name == "mode" and node.op_type == "GridSample":
            attribute.s = _NEW_NAMES.get(attribute.s.decode(), attribute.s)
        elif attribute.name not in schema.attributes:
            if attribute.name not in _OF_NEW_TYPES and not _is_default(attribute, newest.attributes.get(attribute.name)):
                raise GraphVersionError(f"{node.op_type} has an attribute {attribute.name}, which {OPSET} does not have")
            node.attribute.remove(attribute)


def _is_default(attribute: onnx.AttributeProto, schema: defs.OpSchema.Attribute | None) -> bool:
    if attribute.name == "dilations":
        return all(size == 1 for size in attribute.ints)
    if schema is None or not schema.default_value.name:
        return False
    return bool(helper.get_attribute_value(attribute) == helper.get_attribute_value(schema.default_value))


def _why_not_converted(error: RuntimeError) -> str:
    """Return why the converter failed, without the place in its source with which its message begins."""
    text = str(error)
    if match := _NO_CONVERSION.search(text):
        return f"{match.group(1) or match.group(2)} is not as in {OPSET}"
    return shortened(text.rpartition("` failed: ")[2].strip().rstrip(".") or text)
