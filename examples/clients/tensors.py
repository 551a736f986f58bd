"""Send raw tensors with NVIDIA's client, over gRPC and over HTTP: python tensors.py HOST:PORT CA TOKEN_FILE MODEL [grpc|http]

Of any model's input it sends zeros, and prints the sum of each output. It needs `pip install 'tritonclient[grpc,http]'`, and
nothing of Avizor.
"""

from __future__ import annotations

import asyncio
import queue
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def zeros(library: Any, metadata: dict[str, Any]) -> list[Any]:
    """Return one row of zeros for each input. library: tritonclient.grpc or tritonclient.http."""
    inputs = []
    for each in metadata["inputs"]:
        values = np.zeros([1, *(int(size) for size in each["shape"][1:])], triton_to_np_dtype(each["datatype"]))
        tensor = library.InferInput(each["name"], list(values.shape), each["datatype"])
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs


def sums(answer: Any, metadata: dict[str, Any]) -> str:
    """Return the sum of each output."""
    return ", ".join(f"{each['name']} {answer.as_numpy(each['name']).sum():.3f}" for each in metadata["outputs"])


def over_grpc(target: str, ca: str, headers: dict[str, str], model: str) -> None:
    """Ask once, and then twice in a stream."""
    with tritonclient.grpc.InferenceServerClient(target, ssl=True, root_certificates=ca) as client:
        metadata = client.get_model_metadata(model, headers=headers, as_json=True)
        inputs = zeros(tritonclient.grpc, metadata)
        print("gRPC:", sums(client.infer(model, inputs, headers=headers), metadata))
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        for number in range(2):
            client.async_stream_infer(model, inputs, request_id=str(number))
        for _ in range(2):
            result, error = answers.get(timeout=30)
            if error:
                raise error
            print(f"stream, answer {result.get_response().id}:", sums(result, metadata))
        client.stop_stream()


async def in_an_event_loop(target: str, ca: str, headers: dict[str, str], model: str) -> None:
    """Ask four times at once."""
    async with tritonclient.grpc.aio.InferenceServerClient(target, ssl=True, root_certificates=ca) as client:
        metadata = await client.get_model_metadata(model, headers=headers, as_json=True)
        inputs = zeros(tritonclient.grpc, metadata)
        answers = await asyncio.gather(*(client.infer(model, inputs, headers=headers) for _ in range(4)))
        print("asyncio:", *{sums(answer, metadata) for answer in answers})


def over_http(target: str, ca: str, headers: dict[str, str], model: str) -> None:
    """Ask once, with tensors as bytes."""
    with tritonclient.http.InferenceServerClient(target, ssl=True, ssl_options={"ca_certs": ca}) as client:
        metadata = client.get_model_metadata(model, headers=headers)
        print("HTTP:", sums(client.infer(model, zeros(tritonclient.http, metadata), headers=headers), metadata))


def main() -> None:
    """Say in one line what is wrong."""
    if len(sys.argv) < 5:
        print("usage: python tensors.py HOST:PORT CA TOKEN_FILE MODEL [grpc|http]", file=sys.stderr)
        sys.exit(2)
    try:
        ask(*sys.argv[1:])
    except (OSError, InferenceServerException) as error:
        sys.exit(str(error))


def ask(target: str, ca: str, token_file: str, model: str, *ways: str) -> None:
    """Ask in each way."""
    headers = {"authorization": f"Bearer {Path(token_file).read_text().strip()}"}
    if "http" not in ways:
        over_grpc(target, ca, headers, model)
        asyncio.run(in_an_event_loop(target, ca, headers, model))
    if "grpc" not in ways:
        over_http(target, ca, headers, model)


if __name__ == "__main__":
    main()
