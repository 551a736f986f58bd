"""Requests of the Open Inference Protocol, with the code that Triton answers each with: what the gateway is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tritonclient.grpc import service_pb2 as pb

ITEM = bytes(1024)

OK, INVALID, NOT_FOUND = "OK", "INVALID_ARGUMENT", "NOT_FOUND"


def infer_request(
    *,
    model: str = "digits",
    version: str = "",
    name: str = "image",
    datatype: str = "UINT8",
    shape: Sequence[int] = (1, 32, 32, 1),
    raw: Sequence[bytes] = (ITEM,),
    typed: Mapping[str, Sequence[Any]] | None = None,
    inputs: int = 1,
    outputs: Sequence[str] = ("probabilities",),
    parameters: Mapping[str, Any] | None = None,
    input_parameters: Mapping[str, Any] | None = None,
    output_parameters: Mapping[str, Any] | None = None,
) -> Any:
    """Build a request of the model `digits`, uint8[batch, 32, 32, 1], that is good unless an argument makes it a bad one."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, raw_input_contents=raw)
    for _ in range(inputs):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        for field, values in (typed or {}).items():
            getattr(tensor.contents, field).extend(values)
        set_parameters(tensor.parameters, input_parameters or {})
    for output in outputs:
        set_parameters(request.outputs.add(name=output).parameters, output_parameters or {})
    set_parameters(request.parameters, parameters or {})
    return request


def set_parameters(parameters: Any, values: Mapping[str, Any]) -> None:
    """Fill a map of parameters; None leaves one without a value."""
    fields = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in values.items():
        parameter = parameters[name]
        if value is not None:
            setattr(parameter, fields[type(value)], value)


_REGION = {"shared_memory_region": "mine", "shared_memory_byte_size": 1024}
_VALUES = [0] * 1024

# What is asked for -> the request, and the code of its answer.
CASES: dict[str, tuple[Any, str]] = {
    "a good request": (infer_request(), OK),
    "no outputs named": (infer_request(outputs=()), OK),
    "an output named twice": (infer_request(outputs=("probabilities", "probabilities")), OK),
    "a full batch": (infer_request(shape=(16, 32, 32, 1), raw=(bytes(1024 * 16),)), OK),
    "version 1": (infer_request(version="1"), OK),
    "version one": (infer_request(version="one"), INVALID),
    "version -1": (infer_request(version="-1"), INVALID),
    "version 0": (infer_request(version="0"), NOT_FOUND),
    "version 9": (infer_request(version="9"), NOT_FOUND),
    "a version of 40 digits": (infer_request(version="9" * 40), INVALID),
    "an unknown model": (infer_request(model="nobody"), NOT_FOUND),
    "no model named": (infer_request(model=""), NOT_FOUND),
    "a model outside of the repository": (infer_request(model="../models/digits"), NOT_FOUND),
    "typed contents": (infer_request(raw=(), typed={"uint_contents": _VALUES}), OK),
    "raw and typed contents": (infer_request(typed={"uint_contents": _VALUES}), INVALID),
    "typed contents of another type": (infer_request(raw=(), typed={"fp32_contents": _VALUES}), INVALID),
    "typed contents of two types": (infer_request(raw=(), typed={"uint_contents": _VALUES, "fp32_contents": _VALUES}), INVALID),
    "too few typed values": (infer_request(raw=(), typed={"uint_contents": _VALUES[1:]}), INVALID),
    "too many typed values": (infer_request(raw=(), typed={"uint_contents": [*_VALUES, 0]}), INVALID),
    "no data": (infer_request(raw=()), INVALID),
    "too few bytes": (infer_request(raw=(ITEM[1:],)), INVALID),
    "too many bytes": (infer_request(raw=(ITEM + b"0",)), INVALID),
    "no bytes": (infer_request(raw=(b"",)), INVALID),
    "an unknown datatype": (infer_request(datatype="UINT9"), INVALID),
    "numpy's name of the datatype": (infer_request(datatype="uint8"), INVALID),
    "no datatype": (infer_request(datatype=""), INVALID),
    "a wrong datatype": (infer_request(datatype="FP32", raw=(bytes(4096),)), INVALID),
    "a wrong datatype of the same size": (infer_request(datatype="INT8"), INVALID),
    "text": (infer_request(datatype="BYTES", raw=(bytes(4096),)), INVALID),
    "text whose lengths are wrong": (infer_request(datatype="BYTES", raw=(b"\xff" * 4096,)), INVALID),
    "half floats": (infer_request(datatype="FP16", raw=(bytes(2048),)), INVALID),
    "a batch of -1": (infer_request(shape=(-1, 32, 32, 1)), INVALID),
    "two negative sizes": (infer_request(shape=(-1, -32, 32, 1)), INVALID),
    "a negative size": (infer_request(shape=(1, -32, 32, 1)), INVALID),
    "a free size": (infer_request(shape=(1, -1, 32, 1)), INVALID),
    "sizes whose product is 2 to the power of 80": (infer_request(shape=(1, 2**40, 2**40, 1)), INVALID),
    "sizes whose product overflows to 0": (infer_request(shape=(2**32, 2**32, 32, 1)), INVALID),
    "a thousand dimensions": (infer_request(shape=[1] * 1000), INVALID),
    "a dimension too few": (infer_request(shape=(1, 32, 32)), INVALID),
    "no batch dimension": (infer_request(shape=(32, 32, 1)), INVALID),
    "no shape": (infer_request(shape=()), INVALID),
    "another shape of the same size": (infer_request(shape=(1, 16, 64, 1)), INVALID),
    "an empty batch": (infer_request(shape=(0, 32, 32, 1), raw=(b"",)), INVALID),
    "an empty item": (infer_request(shape=(1, 0, 32, 1), raw=(b"",)), INVALID),
    "a batch that is too large": (infer_request(shape=(17, 32, 32, 1), raw=(bytes(1024 * 17),)), INVALID),
    "no inputs": (infer_request(inputs=0, raw=()), INVALID),
    "data without an input": (infer_request(inputs=0), INVALID),
    "an unknown input": (infer_request(name="picture"), INVALID),
    "an input without a name": (infer_request(name=""), INVALID),
    "an input twice": (infer_request(inputs=2, raw=(ITEM, ITEM)), INVALID),
    "an unknown output": (infer_request(outputs=("nothing",)), INVALID),
    "an output without a name": (infer_request(outputs=("",)), INVALID),
    "parameters of sequences": (
        infer_request(parameters={"sequence_id": 3, "sequence_start": True, "sequence_end": True}),
        OK,
    ),
    "a sequence with a name": (infer_request(parameters={"sequence_id": "three"}), OK),
    "a priority and a timeout": (infer_request(parameters={"priority": 1, "timeout": 1_000_000}), OK),
    "a priority in words": (infer_request(parameters={"priority": "high"}), INVALID),
    "a timeout in words": (infer_request(parameters={"timeout": "long"}), INVALID),
    "parameters of one's own": (infer_request(parameters={"a": "x", "b": 3, "c": True, "d": 0.5}), OK),
    "a parameter without a value": (infer_request(parameters={"a": None}), INVALID),
    "a reserved parameter": (infer_request(parameters={"triton_a": "x"}), INVALID),
    "an empty final response": (infer_request(parameters={"triton_enable_empty_final_response": True}), OK),
    "an empty final response in words": (infer_request(parameters={"triton_enable_empty_final_response": "yes"}), INVALID),
    "an input in shared memory": (infer_request(raw=(), input_parameters=_REGION), NOT_FOUND),
    "an input in shared memory, and its bytes": (infer_request(input_parameters=_REGION), NOT_FOUND),
    "shared memory of no size": (infer_request(raw=(), input_parameters={"shared_memory_region": "mine"}), INVALID),
    "a parameter of an input": (infer_request(input_parameters={"a": "x"}), OK),
    "an output in shared memory": (infer_request(output_parameters=_REGION), NOT_FOUND),
    "three classes": (infer_request(output_parameters={"classification": 3}), OK),
    "more classes than there are": (infer_request(output_parameters={"classification": 99}), OK),
    "no classes": (infer_request(output_parameters={"classification": 0}), INVALID),
    "less than no classes": (infer_request(output_parameters={"classification": -1}), INVALID),
    "classes in words": (infer_request(output_parameters={"classification": "three"}), INVALID),
    "classes in shared memory": (infer_request(output_parameters={"classification": 3, **_REGION}), INVALID),
}

# What the gateway refuses, and Triton 2.51 does not, or not with this code: it overflows, or reads a part of the values.
STRICTER: dict[str, tuple[Any, str]] = {
    "a batch whose bytes overflow to the right number": (infer_request(shape=(2**62, 32, 32, 1)), INVALID),
    "a typed value that its type cannot hold": (infer_request(raw=(), typed={"uint_contents": [300] * 1024}), INVALID),
    "more raw contents than inputs": (infer_request(raw=(ITEM, ITEM)), INVALID),
    "a version with letters behind": (infer_request(version="1x"), INVALID),
    # Triton sends the million sizes back in its error, in which they have no room.
    "a million dimensions": (infer_request(shape=[1] * 1_000_000), INVALID),
}
