"""`--verify-with triton://HOST:PORT`: the comparison once more, through a live server, before anything is published.

The graph and its config are sent along with the call that loads them, under a name of their own, and unloaded afterwards. So
nothing of the server's repository changes, and the server has to allow that call: `--model-control-mode=explicit`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import onnx
import tritonclient.grpc as triton
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

from avizor_export.parity import Items, Run
from avizor_inference.config import LABELS_FILE, TRITON_TYPES, parse_config
from avizor_inference.errors import ExportError
from avizor_inference.manifest import TensorSpec

SCHEME = "triton://"
_TIMEOUT_S = 60.0


def parse_address(text: str) -> str:
    """host:port of `triton://HOST[:PORT]`; Triton's gRPC port 8001 where none is given. Raises ExportError."""
    if not text.startswith(SCHEME) or not text.removeprefix(SCHEME):
        raise ExportError(f"{text!r} is no server; write triton://HOST:PORT")
    host = text.removeprefix(SCHEME)
    return host if ":" in host else f"{host}:8001"


@contextmanager
def on_server(address: str, proto: onnx.ModelProto, config: str, tensor: TensorSpec) -> Iterator[Run]:
    """Load the graph on a Triton for the time of the block; gives how to run it. Raises ExportError."""
    client = triton.InferenceServerClient(address)
    name = f"avizor-verify-{time.time_ns()}"
    settings = parse_config(config, "the configuration written by export")
    settings.name = name
    for output in settings.output:
        if output.label_filename == LABELS_FILE:
            output.ClearField("label_filename")
    try:
        client.load_model(
            name,
            config=json.dumps(MessageToDict(settings, preserving_proto_field_name=True)),
            files={"file:1/model.onnx": proto.SerializeToString()},
            client_timeout=_TIMEOUT_S,
        )
        yield lambda items: _infer(client, name, tensor, items)
    except InferenceServerException as error:
        raise ExportError(
            f"Triton at {address} cannot verify the model: {error.message()}; it has to be up, and started with "
            "--model-control-mode=explicit"
        ) from error
    finally:
        _unload(client, name)
        client.close()


def _infer(client: triton.InferenceServerClient, name: str, tensor: TensorSpec, items: Items) -> dict[str, Items]:
    wire = triton.InferInput(tensor.name, list(items.shape), TRITON_TYPES[tensor.dtype].removeprefix("TYPE_"))
    wire.set_data_from_numpy(np.ascontiguousarray(items))
    answer = client.infer(name, [wire], client_timeout=_TIMEOUT_S)
    outputs = [output.name for output in answer.get_response().outputs]
    return {output: answer.as_numpy(output) for output in outputs}


def _unload(client: triton.InferenceServerClient, name: str) -> None:
    # It was never loaded, or the server is gone: then there is nothing to undo.
    with suppress(InferenceServerException):
        client.unload_model(name)
