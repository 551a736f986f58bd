"""A model on a live Triton for the time of a block, under a name of its own.

The graph and its config are sent along with the call that loads them, and unloaded afterwards. So nothing of the server's
repository changes, and the server has to allow that call: `--model-control-mode=explicit`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import tritonclient.grpc as triton
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from avizor_inference.config import LABELS_FILE
from avizor_inference.errors import ExportError
from avizor_inference.manifest import MODEL_FILE

TIMEOUT_S = 60.0
_UNLOAD_S = 10.0
_POLL_S = 0.02
_NOT_REACHED = re.compile("connect|resolution failed|socket closed|unreachable", re.IGNORECASE)


@contextmanager
def temporary_model(address: str, model: bytes, config: ModelConfig, purpose: str) -> Iterator[str]:
    """Load an ONNX file's bytes on the Triton at host:port `address`; gives the name it has there.

    purpose: the verb for messages and the name, such as `verify`. Raises ExportError if the server cannot load it, or fails at
    a call within the block.
    """
    client = triton.InferenceServerClient(address)
    settings = ModelConfig()
    settings.CopyFrom(config)
    settings.name = f"avizor-{purpose}-{time.time_ns()}"
    # Of no use to the one caller there is, and turned to harm: calls that are refused, and answers that nothing computed.
    settings.dynamic_batching.ClearField("default_queue_policy")
    settings.ClearField("response_cache")
    for output in settings.output:
        if output.label_filename == LABELS_FILE:  # it is not sent along
            output.ClearField("label_filename")
    try:
        client.load_model(
            settings.name,
            config=json.dumps(MessageToDict(settings, preserving_proto_field_name=True)),
            files={f"file:1/{MODEL_FILE}": model},
            client_timeout=TIMEOUT_S,
        )
        yield settings.name
    except InferenceServerException as error:
        raise ExportError(f"Triton at {address} cannot {purpose} the model: {error.message()}{_advice(error)}") from error
    finally:
        # It was never loaded, or the server is gone: then there is nothing to undo.
        with suppress(InferenceServerException):
            _unload(client, settings.name)
        client.close()


def _advice(error: InferenceServerException) -> str:
    """What mends an error whose own words do not say it."""
    if "explicit model load / unload is not allowed" in error.message():
        return "; start it with --model-control-mode=explicit"
    # By gRPC's words: the status of these is also that of a model that is not ready, and of a request that waited too long.
    if _NOT_REACHED.search(error.message()):
        return "; it has to be up, and to be reached at that port by gRPC"
    return ""


def _unload(client: triton.InferenceServerClient, name: str) -> None:
    """Unload, and wait until it is gone: what comes next shall have its cores and memory."""
    client.unload_model(name)
    deadline = time.monotonic() + _UNLOAD_S
    while time.monotonic() < deadline:
        states = {model.name: model.state for model in client.get_model_repository_index(client_timeout=TIMEOUT_S).models}
        if states.get(name, "UNAVAILABLE") == "UNAVAILABLE":
            return
        time.sleep(_POLL_S)
