"""Serve a model with nothing but gRPC and ONNX Runtime: the floor. Bytes of one float32 item in, bytes of the answer out.

    python bare.py KIND MODEL_FILE SHAPE        KIND: inline, batching or sync; SHAPE: of one item, e.g. 1,32,32

It prints its address. There is no parsing, no check, no metric and no limit. `inline` runs each request on the event loop;
`batching` runs what has come together in a thread; `sync` is gRPC's server of threads.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import onnxruntime as ort

METHOD = "/bare.Bare/Run"
LARGEST_BATCH = 32


class Model:
    """Runs batches of one model on one thread."""

    def __init__(self, path: str, shape: tuple[int, ...]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input, self._shape = self._session.get_inputs()[0].name, shape

    def run(self, items: list[bytes]) -> list[bytes]:
        """Return the first output of each item."""
        batch = np.frombuffer(b"".join(items), np.float32).reshape(-1, *self._shape)
        (answers,) = self._session.run(["probabilities"], {self._input: batch})
        return [answer.tobytes() for answer in answers]


class Batcher:
    """Runs requests that wait at the same time as one batch, in two threads."""

    def __init__(self, model: Model) -> None:
        self._model, self._running = model, 0
        self._waiting: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._pool = ThreadPoolExecutor(2)

    async def run(self, item: bytes) -> bytes:
        """Return the answer for one item."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._running < 2:
            asyncio.get_running_loop().call_soon(self._start)
        return await answer

    def _start(self) -> None:
        if not self._waiting or self._running == 2:
            return
        batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
        self._running += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, self._model.run, [item for item, _ in batch])
        running.add_done_callback(lambda done: self._finish(batch, done.result()))

    def _finish(self, batch: list[tuple[bytes, asyncio.Future[bytes]]], answers: list[bytes]) -> None:
        self._running -= 1
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.cancelled():
                future.set_result(answer)
        self._start()


async def serve_aio(model: Model, *, batching: bool) -> None:
    """Serve with grpc.aio until killed."""
    batcher = Batcher(model)

    async def inline(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return model.run([request])[0]

    async def batched(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return await batcher.run(request)

    server = grpc.aio.server()
    port = _add(server, batched if batching else inline)
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def serve_sync(model: Model) -> None:
    """Serve with threads until killed."""
    server = grpc.server(ThreadPoolExecutor(16))
    port = _add(server, lambda request, _context: model.run([request])[0])
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


def _add(server: grpc.Server | grpc.aio.Server, function: object) -> int:
    _, service, method = METHOD.split("/")
    handler = grpc.unary_unary_rpc_method_handler(function)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    return int(server.add_insecure_port("127.0.0.1:0"))


if __name__ == "__main__":
    kind, path, shape = sys.argv[1:]
    served = Model(path, tuple(int(size) for size in shape.split(",")))
    if kind == "sync":
        serve_sync(served)
    else:
        asyncio.run(serve_aio(served, batching=kind == "batching"))
