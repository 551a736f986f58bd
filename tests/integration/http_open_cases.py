"""Requests of the Open Inference Protocol over HTTP, with the codes that the gateway and Triton 2.51 answer them with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

INFER = "/v2/models/digits/infer"
ZEROS = [0] * 1024

LEFT_OUT: Any = ...  # no field


@dataclass(frozen=True)
class Request:
    """One request. headers: `_` stands for `-` in their names."""

    path: str = INFER
    body: bytes | None = None
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def tensor(**changes: Any) -> dict[str, Any]:
    """An input of the model `digits`, uint8[batch, 32, 32, 1], that is good unless a change makes it a bad one."""
    made = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 1], "data": ZEROS} | changes
    return {name: value for name, value in made.items() if value is not LEFT_OUT}


def binary_tensor(size: Any = 1024, **changes: Any) -> dict[str, Any]:
    return tensor(**{"data": LEFT_OUT, "parameters": {"binary_data_size": size}} | changes)


def sent(inputs: Any = None, *, path: str = INFER, headers: dict[str, str] | None = None, **fields: Any) -> Request:
    """A request whose body is JSON."""
    body = {"inputs": [tensor()] if inputs is None else inputs} | fields
    return Request(path, json.dumps(body).encode(), headers=headers or {})


def followed(inputs: Sequence[Any], data: bytes, length: Any = None) -> Request:
    """A request whose JSON is followed by binary data. length: that is said of the JSON, None for the true one."""
    head = json.dumps({"inputs": inputs}).encode()
    said = len(head) if length is None else length
    return Request(body=head + data, headers={} if said is LEFT_OUT else {"Inference_Header_Content_Length": str(said)})


def wanting(**parameters: Any) -> Request:
    """A request that asks for one output with parameters."""
    return sent(outputs=[{"name": "probabilities", "parameters": parameters}])


def sound(value: str) -> Request:
    """A request of the model `kinds`, FP32[batch, 4096], of a value as it is written."""
    values = ",".join([value] * 4096)
    text = f'{{"inputs":[{{"name":"waveform","datatype":"FP32","shape":[1,4096],"data":[{values}]}}]}}'
    return Request("/v2/models/kinds/infer", text.encode())


def raw(body: bytes) -> Request:
    return Request(body=body)


def get(path: str, method: str = "GET") -> Request:
    return Request(path, None, method)


def post(path: str, body: bytes = b"{}") -> Request:
    return Request(path, body)


_GOOD = json.dumps({"inputs": [tensor()]}).encode()
_REGION = {"shared_memory_region": "mine", "shared_memory_byte_size": 1024}

# Answered with the same code by both.
SAME: dict[str, tuple[Request, int]] = {
    "numbers in one list": (sent(), 200),
    "numbers in nested lists": (sent([tensor(data=[[[[0]] * 32] * 32])]), 200),
    "numbers in lists of another shape": (sent([tensor(data=[ZEROS[:512], ZEROS[512:]])]), 200),
    "binary data": (followed([binary_tensor()], bytes(1024)), 200),
    "binary outputs": (sent(parameters={"binary_data_output": True}), 200),
    "one binary output": (wanting(binary_data=True), 200),
    "numbers and binary data of one input": (followed([tensor(parameters={"binary_data_size": 1024})], bytes(1024)), 400),
    "numbers and no binary data": (sent([tensor(parameters={"binary_data_size": 0})]), 400),
    "numbers of one input and binary data of the same": (followed([tensor(), binary_tensor()], bytes(1024)), 400),
    "fewer bytes than are said": (followed([binary_tensor()], bytes(1000)), 400),
    "more bytes than are said": (followed([binary_tensor()], bytes(1100)), 400),
    "fewer bytes than the shape has": (followed([binary_tensor(1000)], bytes(1000)), 400),
    "binary data of no size": (followed([tensor(data=LEFT_OUT)], bytes(1024)), 400),
    "no length of the JSON": (followed([binary_tensor()], bytes(1024), LEFT_OUT), 400),
    "a length of 0": (followed([binary_tensor()], bytes(1024), 0), 400),
    "a length beyond the body": (followed([binary_tensor()], bytes(1024), 10_000), 400),
    "a length that ends in the binary data": (followed([binary_tensor()], bytes(1024), 200), 400),
    "a length below 0": (followed([binary_tensor()], bytes(1024), -1), 400),
    "a length in words": (followed([binary_tensor()], bytes(1024), "all"), 400),
    "a length of 40 digits": (followed([binary_tensor()], bytes(1024), "9" * 40), 400),
    "an unknown datatype": (sent([tensor(datatype="UINT9")]), 400),
    "numpy's name of the datatype": (sent([tensor(datatype="uint8")]), 400),
    "a wrong datatype": (sent([tensor(datatype="FP32")]), 400),
    "a wrong datatype of the same size": (sent([tensor(datatype="INT8")]), 400),
    "FP16": (sent([tensor(datatype="FP16")]), 400),
    "FP16, binary": (followed([binary_tensor(2048, datatype="FP16")], bytes(2048)), 400),
    "BF16": (sent([tensor(datatype="BF16")]), 400),
    "BF16, binary": (followed([binary_tensor(2048, datatype="BF16")], bytes(2048)), 400),
    "BYTES": (sent([tensor(datatype="BYTES", data=["a"] * 1024)]), 400),
    "BYTES, binary": (followed([binary_tensor(4096, datatype="BYTES")], bytes(4096)), 400),
    "BYTES whose lengths are wrong": (followed([binary_tensor(4096, datatype="BYTES")], b"\xff" * 4096), 400),
    "BOOL": (sent([tensor(datatype="BOOL", data=[True] * 1024)]), 400),
    "no sizes": (sent([tensor(shape=[])]), 400),
    "a size of 2 to the power of 63": (sent([tensor(shape=[2**63, 32, 32, 1])]), 400),
    "sizes whose product overflows to 0": (sent([tensor(shape=[2**32, 2**32, 32, 1])]), 400),
    "no batch dimension": (sent([tensor(shape=[32, 32, 1])]), 400),
    "a batch that is too large": (sent([tensor(shape=[17, 32, 32, 1], data=ZEROS * 17)]), 400),
    "an empty batch": (sent([tensor(shape=[0, 32, 32, 1], data=[])]), 400),
    "no data": (sent([tensor(data=LEFT_OUT)]), 400),
    "an unknown model": (sent(path="/v2/models/nobody/infer"), 404),
    "no model named": (sent(path="/v2/models//infer"), 404),
    "version 1": (sent(path="/v2/models/digits/versions/1/infer"), 200),
    "version 9": (sent(path="/v2/models/digits/versions/9/infer"), 404),
    "version 0": (sent(path="/v2/models/digits/versions/0/infer"), 404),
    "a version of 40 digits": (sent(path=f"/v2/models/digits/versions/{'9' * 40}/infer"), 400),
    "an unknown output": (sent(outputs=[{"name": "nothing"}]), 400),
    "no outputs": (sent(outputs=[]), 200),
    "an output twice": (sent(outputs=[{"name": "probabilities"}, {"name": "probabilities"}]), 200),
    "an output in shared memory": (wanting(**_REGION), 404),
    "an input in shared memory": (sent([tensor(data=LEFT_OUT, parameters=_REGION)]), 404),
    "three classes": (wanting(classification=3), 200),
    "more classes than there are": (wanting(classification=99), 200),
    "no inputs": (sent([]), 400),
    "an input that is a text": (sent(["image"]), 400),
    "an unknown input": (sent([tensor(name="picture")]), 400),
    "an input twice": (sent([tensor(), tensor()]), 400),
    "an input twice, binary": (followed([binary_tensor(), binary_tensor()], bytes(2048)), 400),
    "an empty body": (raw(b""), 400),
    "a request id": (sent(id="abc"), 200),
    "parameters of one's own": (sent(parameters={"a": 1, "b": "x", "c": True, "d": 0.5}), 200),
    "a parameter of no value": (sent(parameters={"a": None}), 400),
    "a parameter that is an object": (sent(parameters={"a": {}}), 400),
    "a reserved parameter": (sent(parameters={"triton_a": 1}), 400),
    "parameters of sequences, and a timeout": (
        sent(parameters={"sequence_id": 1, "sequence_start": True, "sequence_end": True, "timeout": 1_000_000}),
        200,
    ),
    "a field of one's own": (sent(extra=5), 200),
    "text/plain": (sent(headers={"Content_Type": "text/plain"}), 200),
    "what is no gzip": (Request(body=b"xx", headers={"Content_Encoding": "gzip"}), 400),
    **{f"GET {end}": (get(f"/v2/{end}"), 405) for end in ("models/digits/infer", "repository/index")},
    **{f"{method} infer": (get(INFER, method), 405) for method in ("PUT", "DELETE")},
    **{
        f"POST {end or '/v2'}": (post(f"/v2{end}"), 405)
        for end in ("", "/health/live", "/models/digits", *(f"/models/digits/{each}" for each in ("config", "stats", "ready")))
    },
    **{f"{path}, which is not there": (get(path), 404) for path in ("/", "/nothing", "/v2/", "/v2/nothing", "/v2/models")},
    **{f"GET {path}": (get(path), 200) for path in ("/v2", "/v2/models/digits", "/v2/models/stats", "/v2/models/digits/ready")},
    "an index": (post("/v2/repository/index", b""), 200),
    "an index of what answers": (post("/v2/repository/index", b'{"ready": true}'), 200),
    "metadata of an unknown model": (get("/v2/models/nobody"), 404),
    "metadata of an unknown version": (get("/v2/models/digits/versions/9"), 404),
    "the configuration of an unknown model": (get("/v2/models/nobody/config"), 404),
    "statistics of an unknown model": (get("/v2/models/nobody/stats"), 400),
    "statistics of an unknown version": (get("/v2/models/digits/versions/9/stats"), 400),
    "whether an unknown model is ready": (get("/v2/models/nobody/ready"), 400),
    "whether an unknown version is ready": (get("/v2/models/digits/versions/9/ready"), 400),
}

_FLAGS: tuple[Any, ...] = ("yes", 1)
_OUTPUTS: tuple[Any, ...] = (None, {"name": "embedding"}, ["embedding"], [{}], [{"name": 5}])
_COUNTS: tuple[Any, ...] = (-1, "3")

# JSON of the wrong kind: a mistake of the client, 400. Triton 2.51 says 500.
MISTAKES: dict[str, Request] = {
    **{
        f"JSON that is {name}": raw(body)
        for name, body in {
            "cut off": b"{",
            "a list": b"[]",
            "a number": b"5",
            "null": b"null",
            "two objects": b"{}{}",
            "followed by other bytes": _GOOD + b"xyz",
            "ended by a comma": b'{"inputs": [],}',
            "nested a hundred thousand times": b'{"inputs":' + b"[" * 100_000,
            "without inputs": b"{}",
        }.items()
    },
    "a length that ends in the JSON": followed([binary_tensor()], bytes(1024), 10),
    "a length of JSON alone": sent(headers={"Inference_Header_Content_Length": "20"}),
    **{f"inputs {text}": raw(f'{{"inputs": {text}}}'.encode()) for text in ("null", '{"a": 1}')},
    **{f"a name {value}": sent([tensor(name=value)]) for value in (LEFT_OUT, 5)},
    **{f"a datatype {value}": sent([tensor(datatype=value)]) for value in (LEFT_OUT, 3)},
    **{
        f"a shape {value}": sent([tensor(shape=value)])
        for value in (
            LEFT_OUT, None, 1024, [-1, 32, 32, 1], [1, -32, 32, 1], [-1, -32, 32, 1], [1.0, 32, 32, 1], ["1", 32, 32, 1],
            [True, 32, 32, 1], [[1, 32, 32, 1]], [2**64, 32, 32, 1],
        )
    },
    "a thousand dimensions": sent([tensor(shape=[1] * 1000)]),
    "a million dimensions": sent([tensor(shape=[1] * 1_000_000)]),
    **{f"data {value}": sent([tensor(data=value)]) for value in (None, "abc", 5, {"a": 1})},
    **{f"values {value}": sent([tensor(data=[value] * 1024)]) for value in ("0", 0.5, 1.0, True, None, -1, 10**30)},
    **{f"values {value} as JSON does not have them": sent([tensor(data=[float(value)] * 1024)]) for value in ("nan", "inf")},
    "a number beyond all floats": sound("1e400"),
    "too few values": sent([tensor(data=ZEROS[1:])]),
    "too many values": sent([tensor(data=[*ZEROS, 0])]),
    **{
        f"binary data of size {value}": followed([binary_tensor(value)], bytes(1024))
        for value in (-1, "1024", 1024.0, 2**70, True)
    },
    **{f"outputs {value}": sent(outputs=value) for value in _OUTPUTS},
    **{f"binary_data {value}": wanting(binary_data=value) for value in _FLAGS},
    "binary_data_output in words": sent(parameters={"binary_data_output": "yes"}),
    **{f"classes {value}": wanting(classification=value) for value in _COUNTS},
    "a request id that is a number": sent(id=5),
    "parameters in a list": sent(parameters=[]),
    "a priority in words": sent(parameters={"priority": "high"}),
    "an index of JSON that is cut off": post("/v2/repository/index", b"{"),
    "an index of what answers, in words": post("/v2/repository/index", b'{"ready": "x"}'),
}  # fmt: skip

# Other differences: the codes of the gateway and of Triton 2.51.
DIFFERENT: dict[str, tuple[Request, int, int]] = {
    "lists that differ in length": (sent([tensor(data=[ZEROS[:500], ZEROS[500:]])]), 400, 200),
    "a value that its type cannot hold": (sent([tensor(data=[256] * 1024)]), 400, 200),  # Triton takes the last bits
    "NaN, which JSON does not have": (sound("NaN"), 400, 200),
    "a number beyond float32": (sound("1e39"), 400, 200),  # Triton takes it for infinite
    "no classes": (wanting(classification=0), 400, 200),
    "text that is not UTF-8": (raw(_GOOD[:-1] + b', "id": "\xff"}'), 400, 200),
    "a name twice in one object": (raw(_GOOD[:-1] + b', "inputs": []}'), 400, 200),
    "a version in words": (sent(path="/v2/models/digits/versions/one/infer"), 400, 404),
    "a version below 0": (sent(path="/v2/models/digits/versions/-1/infer"), 400, 404),
    "whether a version in words is ready": (get("/v2/models/digits/versions/one/ready"), 400, 404),
    "numbers, and shared memory": (sent([tensor(parameters=_REGION)]), 404, 400),
    "shared memory of no size": (sent([tensor(data=LEFT_OUT, parameters={"shared_memory_region": "mine"})]), 400, 404),
    "a compression that is not known": (Request(body=_GOOD, headers={"Content_Encoding": "br"}), 400, 501),
    "the extension for texts": (post("/v2/models/digits/generate"), 404, 400),
    "the state of shared memory": (get("/v2/systemsharedmemory/status"), 404, 200),
    "a model to load": (post("/v2/repository/models/digits/load"), 404, 200),
}
