"""Read and write the bodies of the Open Inference Protocol's REST form: JSON, and the binary data that may follow it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.errors import AnswerTooLarge, InvalidInput
from avizor_inference.repository.triton_config import DATATYPES
from avizor_service.http.json_messages import object_of, one_at_a_time
from avizor_service.http.open_messages import text_of
from avizor_service.open_inference.infer import TensorAnswer, TensorRequest, WantedOutput
from avizor_service.open_inference.parameters import check_input_parameters, check_parameters, class_count
from avizor_service.open_inference.tensors import InputTensor, OutputTensor
from avizor_service.threads import LIGHT_BYTES, Threads

# How many bytes of a body are JSON, if others follow.
HEADER_LENGTH = "inference-header-content-length"

_DTYPES = {datatype: np.dtype(dtype) for dtype, datatype in DATATYPES.items()}

_SIZE = "binary_data_size"

# What a number as JSON counts for. While it is written it takes up to 92 bytes.
_NUMBER_BYTES = 64

# What is read and written on the event loop: JSON of so many bytes, and so many numbers as JSON, which take under a millisecond
# each, and binary data as every other tensor.
_LIGHT_JSON, _LIGHT_NUMBERS = 32 << 10, 1024


@dataclass(frozen=True)
class AnswerForm:
    """Says how a client wants its answer. binary: whether outputs are binary that `outputs` does not name otherwise."""

    id: str
    binary: bool
    outputs: Mapping[str, bool]


def header_length(text: str) -> int | None:
    """Return how many bytes of a body are JSON, None for all. Raises InvalidInput."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InvalidInput(f"Inference-Header-Content-Length {text[:30]!r} is not a number", field=HEADER_LENGTH)
    return int(text)


async def read_body(
    threads: Threads, model: str, version: str, body: bytes, length: int | None
) -> tuple[TensorRequest, AnswerForm]:
    """Return what `wanted_tensors` returns. A large body is read in a thread."""
    if len(body) <= LIGHT_BYTES and (len(body) if length is None else length) <= _LIGHT_JSON:
        return wanted_tensors(model, version, body, length)
    return await threads.wait_for(one_at_a_time, wanted_tensors, model, version, body, length)


def wanted_tensors(model: str, version: str, body: bytes, length: int | None) -> tuple[TensorRequest, AnswerForm]:
    """Return what a body asks for, and the form of its answer. length: of its JSON.

    Raises InvalidInput, SharedMemoryUnknown.
    """
    end = len(body) if length is None else length
    if end > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is {end}, and the body has {len(body)} bytes", field=HEADER_LENGTH)
    fields = object_of(body[:end])
    parameters = _object(fields.get("parameters", {}), "parameters")
    check_parameters({name: value for name, value in parameters.items() if not name.startswith("binary_data")})
    inputs = []
    for each in _objects(fields.get("inputs"), "inputs"):
        tensor, end = _input(each, body, end)
        inputs.append(tensor)
    if end != len(body):
        raise InvalidInput(f"{len(body) - end} bytes of binary data belong to no input; name them by {_SIZE}", field="inputs")
    outputs, binary = [], {}
    for each in _objects(fields.get("outputs", []), "outputs"):
        name, own = _text(each, "name"), _object(each.get("parameters", {}), "outputs.parameters")
        outputs.append(WantedOutput(name, class_count(name, own)))
        if "binary_data" in own:
            binary[name] = _flag(own, "binary_data")
    request = TensorRequest(model, version, inputs, outputs)
    id = fields.get("id", "")
    if not isinstance(id, str):
        raise InvalidInput("id is not a text", field="id")
    return request, AnswerForm(id, _flag(parameters, "binary_data_output"), binary)


async def answer_body(threads: Threads, answer: TensorAnswer, form: AnswerForm, most_bytes: int) -> tuple[bytes, int | None]:
    """Return a body, and how many bytes of it are JSON; None if all are. A large one is written in a thread.

    most_bytes: of the largest answer. Raises AnswerTooLarge for one of too many numbers as JSON.
    """
    numbers = sum(math.prod(each.shape) for each in answer.outputs if not form.outputs.get(each.name, form.binary))
    if numbers <= _LIGHT_NUMBERS and answer.size <= LIGHT_BYTES:
        return _answer_body(answer, form)
    if numbers * _NUMBER_BYTES > most_bytes:
        raise AnswerTooLarge(
            f"the outputs have {numbers} values, and at most {most_bytes // _NUMBER_BYTES} are written as JSON here; ask for "
            "binary data (binary_data_output), or for fewer outputs",
            field="outputs",
        )
    return await threads.wait_for(one_at_a_time, _answer_body, answer, form)


def _answer_body(answer: TensorAnswer, form: AnswerForm) -> tuple[bytes, int | None]:
    raws, outputs = [], []
    for output in answer.outputs:
        entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": [int(n) for n in output.shape]}
        if form.outputs.get(output.name, form.binary):
            raws.append(output.raw())
            entry["parameters"] = {_SIZE: len(raws[-1])}
        else:
            entry["data"] = _values(output)
        outputs.append(entry)
    fields = {"model_name": answer.model, "model_version": str(answer.version), "outputs": outputs}
    text = text_of(fields | ({"id": form.id} if form.id else {}))
    return b"".join([text, *raws]), len(text) if raws else None


def ready_only(body: bytes) -> bool:
    """Return whether an index is to hold what answers alone. body: an object, or nothing. Raises InvalidInput."""
    return bool(body) and _flag(object_of(body), "ready")


def _input(fields: Mapping[str, Any], body: bytes, place: int) -> tuple[InputTensor, int]:
    """Return one input, and where the binary data of the next one begins. place: where that of this one does."""
    name, datatype, shape = _text(fields, "name"), _text(fields, "datatype"), fields.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and -(2**63) <= size < 2**63 for size in shape):
        raise InvalidInput(f"input {name!r} has a shape that is no list of integers", field=name)
    parameters = _object(fields.get("parameters", {}), name)
    check_input_parameters(name, parameters)
    data = fields.get("data")
    if _SIZE not in parameters:
        if not isinstance(data, list):
            raise InvalidInput(f"input {name!r} has no data; send a list, or binary data of {_SIZE} bytes", field=name)
        return InputTensor(name, datatype, shape, _array(name, datatype, data)), place
    size = parameters[_SIZE]
    if data is not None:
        raise InvalidInput(f"input {name!r} has both data and {_SIZE}; send one of them", field=name)
    if type(size) is not int or not 0 <= size <= len(body) - place:
        raise InvalidInput(f"input {name!r} has {_SIZE} {str(size)[:30]}, and {len(body) - place} bytes are left", field=name)
    return InputTensor(name, datatype, shape, body[place : place + size]), place + size


def _array(name: str, datatype: str, data: Sequence[Any]) -> Array | bytes:
    """Return numbers, flat or nested, as an array of a datatype. One that is not known is refused later, by its name."""
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        return b""
    try:
        values = np.array(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"input {name!r} has data of no shape: lists in it differ in length or depth", field=name) from error
    if not values.size:
        return values.astype(dtype)
    wanted = "iu" if dtype.kind in "iu" else "iuf"
    if values.dtype.kind not in wanted:
        raise InvalidInput(f"input {name!r} has data that are not numbers of {datatype}", field=name)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    if values.min() < limits.min or values.max() > limits.max:
        raise InvalidInput(f"input {name!r} has a number that does not fit in {datatype}", field=name)
    return values.astype(dtype)


def _values(output: OutputTensor) -> list[Any]:
    """Return the values of an output in one list. JSON has no NaN: it is null."""
    if not isinstance(output.values, np.ndarray):
        return [text.decode(errors="replace") for text in output.values]
    flat = output.values.reshape(-1)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        return [float(each) if np.isfinite(each) else None for each in flat]
    return flat.tolist()


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"an element of inputs or outputs has no {name}, which is a text", field=name)
    return value


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} is neither true nor false", field=name)
    return value


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} is not an object", field=name)
    return value


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise InvalidInput(f"{name} is not a list", field=name)
    return [_object(each, f"an element of {name}") for each in value]
