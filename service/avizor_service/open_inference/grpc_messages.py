"""Translate between the messages of inference.GRPCInferenceService and tensors. It uses no gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from avizor_inference.arrays import Array
from avizor_inference.errors import InvalidInput
from avizor_inference.repository.triton_config import DATATYPES
from avizor_service.open_inference.infer import TensorAnswer, TensorRequest, WantedOutput
from avizor_service.open_inference.parameters import Value, check_input_parameters, check_parameters, class_count
from avizor_service.open_inference.tensors import InputTensor

# The field of InferTensorContents that holds the values of each datatype, with its numpy dtype.
_FIELDS: dict[str, str] = {
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}

# Says of a response of a stream that no more follow on its request. Each request has one.
_FINAL = "triton_final_response"

_DTYPES = {datatype: np.dtype(dtype) for dtype, datatype in DATATYPES.items()}


def tensor_request(message: Any) -> TensorRequest:
    """Return what a ModelInferRequest asks for. Raises InvalidInput, SharedMemoryUnknown."""
    if message.parameters:
        check_parameters(values_of(message.parameters))
    return TensorRequest(
        message.model_name,
        message.model_version,
        _inputs(message),
        [WantedOutput(output.name, _class_count(output)) for output in message.outputs],
    )


def answer_bytes(answer: TensorAnswer, id: str, *, final: bool = False) -> bytes:
    """Return a serialised ModelInferResponse with the outputs as raw bytes.

    id: of the request. final: say that no other response follows, as Triton does in streams. What answers of one form have in
    common is serialised once: fields of protobuf may stand in any order, and to build each message costs several times as much.
    """
    raws = [output.raw() for output in answer.outputs]
    described = tuple([(output.name, output.datatype, tuple(output.shape)) for output in answer.outputs])
    parts = [_head(answer.model, answer.version, final, described)]
    if id:
        parts.append(bytes(pb.ModelInferResponse(id=id).SerializeToString()))
    for raw in raws:
        parts += (_RAW_TAG, _varint(len(raw)), raw)
    return b"".join(parts)


def stream_answer(response: bytes) -> bytes:
    """Return a serialised ModelStreamInferResponse around a serialised ModelInferResponse."""
    return b"".join((_RESPONSE_TAG, _varint(len(response)), response))


def stream_error(text: str, id: str) -> bytes:
    """Return a serialised ModelStreamInferResponse for a request that has failed. id: of the request."""
    failed = pb.ModelStreamInferResponse(error_message=text, infer_response=pb.ModelInferResponse(id=id))
    return bytes(failed.SerializeToString())


@lru_cache(maxsize=1024)
def _head(model: str, version: int, final: bool, outputs: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    message = pb.ModelInferResponse(model_name=model, model_version=str(version))
    for name, datatype, shape in outputs:
        message.outputs.add(name=name, datatype=datatype, shape=shape)
    if final:
        message.parameters[_FINAL].bool_param = True
    return bytes(message.SerializeToString())


def _varint(value: int) -> bytes:
    """Return a length as protobuf writes it."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)


def _tag(kind: Any, field: str) -> bytes:
    """Return how a field of bytes, or of a message, begins."""
    return _varint(kind.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def values_of(parameters: Mapping[str, Any]) -> dict[str, Value]:
    """Return the parameters of a message as values, None for those without."""
    kinds = {name: each.WhichOneof("parameter_choice") for name, each in parameters.items()}
    return {name: getattr(parameters[name], kind) if kind else None for name, kind in kinds.items()}


def _inputs(message: Any) -> list[InputTensor]:
    raws = message.raw_input_contents
    if len(raws) > len(message.inputs):
        raise InvalidInput(
            f"raw_input_contents has {len(raws)} elements for {len(message.inputs)} inputs; send one for each",
            field="raw_input_contents",
        )
    tensors = []
    for number, tensor in enumerate(message.inputs):
        if tensor.parameters:
            check_input_parameters(tensor.name, values_of(tensor.parameters))
        if raws:
            if tensor.HasField("contents") and tensor.contents.ByteSize():
                raise InvalidInput(
                    f"input {tensor.name!r} has contents beside raw_input_contents; send one of them",
                    field=tensor.name,
                )
            if number >= len(raws):
                raise _no_data(tensor.name)
            data = raws[number]
        else:
            data = _typed(tensor)
        tensors.append(InputTensor(tensor.name, tensor.datatype, tensor.shape, data))
    return tensors


def _typed(tensor: Any) -> Array | bytes:
    """Return the values in a tensor's `contents`."""
    fields = [field.name for field, _ in tensor.contents.ListFields()] if tensor.HasField("contents") else []
    if not fields:
        raise _no_data(tensor.name)
    if tensor.datatype not in _FIELDS:
        return b""  # refused by its datatype
    if fields != [_FIELDS[tensor.datatype]]:
        raise InvalidInput(
            f"input {tensor.name!r} has values in {', '.join(fields)}; those of {tensor.datatype} go in "
            f"{_FIELDS[tensor.datatype]} alone",
            field=tensor.name,
        )
    values = np.array(getattr(tensor.contents, fields[0]))
    dtype = _DTYPES[tensor.datatype]
    if dtype.itemsize < values.dtype.itemsize and dtype.kind == "u" and values.max() > np.iinfo(dtype).max:
        raise InvalidInput(
            f"input {tensor.name!r} has the value {values.max()}, too large for {tensor.datatype}", field=tensor.name
        )
    return values.astype(dtype)


def _no_data(name: str) -> InvalidInput:
    return InvalidInput(f"input {name!r} has no data; send it in raw_input_contents, or in its contents", field=name)


def _class_count(output: Any) -> int:
    return class_count(output.name, values_of(output.parameters)) if output.parameters else 0


_RAW_TAG = _tag(pb.ModelInferResponse, "raw_output_contents")
_RESPONSE_TAG = _tag(pb.ModelStreamInferResponse, "infer_response")
