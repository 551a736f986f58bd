"""`--verify-with triton://HOST:PORT`: the comparison once more, through a live server, before anything is published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import tritonclient.grpc as triton

from avizor_export.live_triton.temporary_model import TIMEOUT_S, temporary_model, temporary_name
from avizor_export.parity.soundness import Run
from avizor_inference.arrays import Items
from avizor_inference.engines.triton import triton_client
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.triton_config import TRITON_TYPES, parse_config


@contextmanager
def run_on_server(address: str, proto: onnx.ModelProto, config: str, tensor: TensorSpec) -> Iterator[Run]:
    """Load the graph on a Triton for the duration of the block; yield what runs it. Raises ExportError.

    More items than the configuration's max_batch_size go in several calls.
    """
    settings = parse_config(config, "the configuration written by export")
    with (
        triton_client(address) as client,
        temporary_model(address, proto.SerializeToString(), settings, temporary_name("verify")) as name,
    ):
        yield lambda items: _in_calls(client, name, tensor, items, settings.max_batch_size)


def _in_calls(
    client: triton.InferenceServerClient, name: str, tensor: TensorSpec, items: Items, limit: int
) -> dict[str, Items]:
    answers = [_infer(client, name, tensor, items[start : start + limit]) for start in range(0, len(items), limit)]
    return {output: np.concatenate([answer[output] for answer in answers]) for output in answers[0]}


def _infer(client: triton.InferenceServerClient, name: str, tensor: TensorSpec, items: Items) -> dict[str, Items]:
    wire = triton.InferInput(tensor.name, list(items.shape), TRITON_TYPES[tensor.dtype].removeprefix("TYPE_"))
    wire.set_data_from_numpy(np.ascontiguousarray(items))
    answer = client.infer(name, [wire], client_timeout=TIMEOUT_S)
    outputs = [output.name for output in answer.get_response().outputs]
    return {output: answer.as_numpy(output) for output in outputs}
