"""Take the steps of one kind in this process, and print what each has found: a line of JSON. tries.py starts the process."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from traceback import walk_tb
from typing import Any

from avizor_inference.error_text import shortened
from avizor_inference.no_pandas import leave_out_pandas

# Its name, and the function that takes it. The function may raise anything.
Step = tuple[str, Callable[[], dict[str, Any]]]

# Seconds in which a Triton answers each question.
_ANSWER_S = 10.0

# How lines of OpenVINO's errors begin that say where in its code it failed.
_OPENVINOS_PLACE = "Exception from "

_SIDE = 8  # of the picture that is convolved
_SUM = 9.0  # of the ones below a kernel of 3 by 3 ones


def load(*modules: str) -> Iterator[Step]:
    """Load each module."""
    for module in modules:
        yield module, partial(_load, module)


def _load(module: str) -> dict[str, Any]:
    import_module(module)
    return {}


def ort() -> Iterator[Step]:
    """Load ONNX Runtime, and compute with it: on the CPU, and on a GPU."""
    yield "version", partial(_version, "onnxruntime")
    yield "cpu", partial(_on_ort, on_gpu=False)
    yield "gpus", _gpus
    yield "cuda", partial(_on_ort, on_gpu=True)


def _version(engine: str) -> dict[str, Any]:
    import_module("numpy")  # an engine would not say why that fails
    return {"version": import_module(engine).__version__}


def _on_ort(on_gpu: bool) -> dict[str, Any]:
    import numpy as np

    from avizor_inference.engines.ort_session import open_session

    session = open_session(_convolution(), "a convolution", on_gpu=on_gpu)
    (answer,) = session.run(None, {"x": np.ones((1, 1, _SIDE, _SIDE), np.float32)})
    return _checked(answer)


def _gpus() -> dict[str, Any]:
    import onnxruntime

    from avizor_inference.engines.ort_session import gpus

    return {"providers": onnxruntime.get_available_providers(), "gpus": gpus()}


def openvino() -> Iterator[Step]:
    """Load OpenVINO, and compute with it: in fp32, and in bf16 where the processor has it."""
    yield "version", partial(_version, "openvino")
    yield "fp32", partial(_on_openvino, "f32")
    yield "bf16", partial(_on_openvino, "bf16")


def _on_openvino(precision: str) -> dict[str, Any]:
    import io

    import numpy as np

    from avizor_inference.engines.openvino import computes_bf16, open_core

    if precision == "bf16" and not computes_bf16():
        return {"lacks_bf16": True}
    core = open_core()
    compiled = core.compile_model(core.read_model(io.BytesIO(_convolution())), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return _checked(compiled({"x": np.ones((1, 1, _SIDE, _SIDE), np.float32)})[0])


def _convolution() -> bytes:
    """Return a graph that adds up each 3 by 3 pixels of a picture: x float32[1, 1, 8, 8] to y float32[1, 1, 6, 6]."""
    from onnx import TensorProto, helper

    end = _SIDE - 2
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, _SIDE, _SIDE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, end, end])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3, 3], [1.0] * 9)
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "convolution", [x], [y], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def _checked(answer: Any) -> dict[str, Any]:
    """Raise ValueError unless the answer is the right one: each number is exact in bf16, too."""
    if (answer != _SUM).any():
        raise ValueError(f"it computes {answer[answer != _SUM][0]} where {_SUM} is right")
    return {}


def triton(address: str) -> Iterator[Step]:
    """Ask the Triton at host:port who it is, and which models it has."""
    about: dict[str, Any] = {}

    def server() -> dict[str, Any]:
        about.update(_server(address))
        return about

    yield "server", server
    if about:  # it answers
        yield "models", partial(_models, address)


def _server(address: str) -> dict[str, Any]:
    from avizor_inference.engines.triton import TritonEngine, triton_client

    with triton_client(address) as client:
        live = client.is_server_live(client_timeout=_ANSWER_S)
        about = client.get_server_metadata(client_timeout=_ANSWER_S)
    engine = TritonEngine(address)
    try:
        ready = engine.ready(_ANSWER_S)
    finally:
        engine.close()
    return {"live": live, "ready": ready, "server": about.name, "version": about.version}


def _models(address: str) -> dict[str, Any]:
    from avizor_inference.engines.triton import triton_client

    with triton_client(address) as client:
        index = client.get_model_repository_index(client_timeout=_ANSWER_S).models
    return {
        "models": [
            {"name": each.name, "version": each.version, "state": each.state, "reason": shortened(each.reason)}
            for each in index
        ]
    }


def _taken(name: str, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return step()
    except BaseException as error:  # a library that is loaded may even end the process
        return {"error": _reason(error, name)}


def _reason(error: BaseException, step: str) -> str:
    """Return the first line of the error from which this one came, with its kind: a library may say much around it.

    The package that raised it is named, too, where it is another one than the step loads.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    said = getattr(error, "message", None)  # tritonclient puts the code before its text
    text = said() if callable(said) else str(error)
    line = next((line for line in text.splitlines() if line.strip() and not line.startswith(_OPENVINOS_PLACE)), "")
    kind, place = type(error).__name__, _place(error)
    kind += f" in {place}" if place and place != step.partition(".")[0] else ""
    return shortened(f"{kind}: {line}" if line and not callable(said) else line or kind)


def _place(error: BaseException) -> str:
    """Return the name of the package that raised an error; "" for Avizor's own, and for what loads modules."""
    names = (frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__))
    others = [name for name in names if name not in ("importlib", "__main__") and not name.startswith("avizor")]
    return others[-1] if others else ""


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # some libraries print
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    leave_out_pandas()
    kinds: dict[str, Callable[..., Iterator[Step]]] = {"load": load, "ort": ort, "openvino": openvino, "triton": triton}
    for name, step in kinds[sys.argv[1]](*sys.argv[2:]):
        print(json.dumps({name: _taken(name, step)}), file=answers, flush=True)
    os._exit(0)  # what is loaded is not taken apart, which takes time, and at which some libraries crash


if __name__ == "__main__":
    _main()
