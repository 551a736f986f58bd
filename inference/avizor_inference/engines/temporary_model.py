"""Load a model on a live Triton for the duration of a block, under a separate name.

The call that loads the model sends the graph and its configuration, so that the server's repository does not change. The server
has to allow such calls: `--model-control-mode=explicit`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from avizor_inference.engines.triton import triton_client
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import MODEL_FILE

TIMEOUT_S = 60.0
# Seconds that Triton may take to load a model: on a GPU an engine may have to be built.
LOAD_S = 600.0
# What a command that was killed has left on the server: those that make such names end within minutes. A name of `tune` is in
# use for as long as it measures, which may be hours: what it left is unloaded by hand (docs/targets.md).
_OF_A_COMMAND = re.compile(r"avizor-(?:load|verify)-(\d{19})")
_LEFT_AFTER_S = 3600.0
_NOT_REACHED = re.compile("connect|resolution failed|socket closed|unreachable", re.IGNORECASE)


@contextmanager
def temporary_model(
    address: str, model: bytes, config: ModelConfig, name: str, headers: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Load a model on the Triton at host:port `address`, and yield its name there; unload it after the block.

    model: the bytes of an ONNX file. name: as `temporary_name` returns. headers: sent with what changes models. Raises
    ExportError if the server cannot load the model, or fails at a call within the block.
    """
    client = triton_client(address)
    settings = MessageToDict(_for_one_caller(config, name), preserving_proto_field_name=True)
    try:
        client.load_model(
            name,
            headers=dict(headers or {}),
            config=json.dumps(settings),
            files={f"file:1/{MODEL_FILE}": model},
            client_timeout=LOAD_S,
        )
        _unload_left(client, headers or {})
        yield name
    except InferenceServerException as error:
        raise ExportError(f"Triton at {address} cannot serve the model as {name}: {error.message()}{_advice(error)}") from error
    finally:
        # If the model was never loaded, or the server is gone, there is nothing to undo.
        with suppress(InferenceServerException):
            client.unload_model(name, headers=dict(headers or {}), client_timeout=TIMEOUT_S)
        client.close()


def temporary_name(purpose: str) -> str:
    """Return a name that no other model has. purpose: a word that becomes part of it, such as `verify`."""
    return f"avizor-{purpose}-{time.time_ns()}"


def _unload_left(client: InferenceServerClient, headers: Mapping[str, str]) -> None:
    """Unload what commands have left that were killed: it takes memory, and nothing else ends it but a restart."""
    old = time.time_ns() - int(_LEFT_AFTER_S * 1e9)
    with suppress(InferenceServerException):  # no command needs this
        for model in client.get_inference_statistics(client_timeout=TIMEOUT_S).model_stats:
            found = _OF_A_COMMAND.fullmatch(model.name)
            if found and int(found[1]) < old:
                client.unload_model(model.name, headers=dict(headers), client_timeout=TIMEOUT_S)


def _for_one_caller(config: ModelConfig, name: str) -> ModelConfig:
    """Return the configuration under another name, without what serves several callers or needs other files."""
    settings = ModelConfig()
    settings.CopyFrom(config)
    settings.name = name
    # These would falsify a measurement: a queue policy rejects calls, the cache answers without running the model.
    if settings.HasField("dynamic_batching"):
        settings.dynamic_batching.ClearField("default_queue_policy")
        settings.dynamic_batching.ClearField("priority_queue_policy")
    settings.ClearField("response_cache")
    # These refer to the model's folder, of which one file is sent along, as version 1.
    settings.ClearField("version_policy")
    settings.ClearField("default_model_filename")
    for output in settings.output:
        output.ClearField("label_filename")
    warmups = [warmup for warmup in settings.model_warmup if not any(data.input_data_file for data in warmup.inputs.values())]
    del settings.model_warmup[:]
    settings.model_warmup.extend(warmups)
    return settings


def _advice(error: InferenceServerException) -> str:
    """Return what to do about an error, to follow its text; empty if that is not known."""
    if "explicit model load / unload is not allowed" in error.message():
        return "; start it with --model-control-mode=explicit"
    # Detected by gRPC's text: a model that is not ready, or a request that waited too long, has the same status code.
    if _NOT_REACHED.search(error.message()):
        return "; start it, and check that gRPC reaches it at that port"
    return ""
