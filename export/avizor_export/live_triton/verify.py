"""Run a graph through a live server (`--verify-with triton://HOST:PORT`), to compare it there before it is published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import tritonclient.grpc as triton

from avizor_export.parity.soundness import Run
from avizor_inference.arrays import Items
from avizor_inference.engines.temporary_model import TIMEOUT_S, temporary_model, temporary_name
from avizor_inference.engines.triton import triton_client
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.triton_config import TRITON_TYPES, parse_config


@contextmanager
def run_on_server(address: str, proto: onnx.ModelProto, config: str, tensor: TensorSpec) -> Iterator[Run]:
    """Load the graph on the Triton at host:port `address` for the duration of the block; yield a function that runs it.

    config: the text of its config.pbtxt. tensor: its input. The function takes raw items [n, *item_shape] and returns the
    outputs by name; more items than max_batch_size go in several calls. Raises ExportError if the server cannot serve it.
    """
    settings = parse_config(config, "the configuration written by export")
    with (
        triton_client(address) as client,
        temporary_model(address, proto.SerializeToString(), settings, temporary_name("verify")) as name,
    ):
        yield lambda items: _run_in_calls(client, name, tensor, items, settings.max_batch_size)


def _run_in_calls(
    client: triton.InferenceServerClient, name: str, tensor: TensorSpec, items: Items, limit: int
) -> dict[str, Items]:
    """Send the items in calls of at most `limit`; return the outputs of all items, by name."""
    answers = [_infer(client, name, tensor, items[start : start + limit]) for start in range(0, len(items), limit)]
    return {output: np.concatenate([answer[output] for answer in answers]) for output in answers[0]}


def _infer(client: triton.InferenceServerClient, name: str, tensor: TensorSpec, items: Items) -> dict[str, Items]:
    request = triton.InferInput(tensor.name, list(items.shape), TRITON_TYPES[tensor.dtype].removeprefix("TYPE_"))
    request.set_data_from_numpy(np.ascontiguousarray(items))
    answer = client.infer(name, [request], client_timeout=TIMEOUT_S)
    outputs = [output.name for output in answer.get_response().outputs]
    return {output: answer.as_numpy(output) for output in outputs}
