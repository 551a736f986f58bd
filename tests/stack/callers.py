"""Clients that call the gateway and Triton through the front door, without a pause and on old and new connections."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from stack.compose import Stack

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc

REQUEST = pb.ClassifyRequest(
    model="cached", items=[pb.Item(tensor=pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=bytes(32 * 32)))]
)
CALLS_OF_A_CONNECTION = 50


class Callers:
    """They begin with `with`, and end at its end. `token` may be changed meanwhile; `ended` counts calls by status.

    trusted: file of the certificates that they trust. Every second caller keeps its first connection.
    """

    def __init__(self, running: Stack, trusted: Path, callers: int = 4) -> None:
        self.token = running.token
        self.ended: Counter[str] = Counter()
        self._running, self._credentials = running, grpc.ssl_channel_credentials(trusted.read_bytes())
        self._quit, self._number = threading.Event(), callers

    def __enter__(self) -> Callers:
        self._pool = ThreadPoolExecutor(self._number)
        self._callers = [self._pool.submit(self._call, keeps=number % 2 == 0) for number in range(self._number)]
        return self

    def __exit__(self, *_: object) -> None:
        self._quit.set()
        for caller in self._callers:
            caller.result()

    def _call(self, keeps: bool) -> None:
        while not self._quit.is_set():
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.secure_channel(self._running.front, self._credentials, options) as channel:
                stub, sent = inference_pb2_grpc.InferenceServiceStub(channel), 0
                ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
                while not self._quit.is_set() and (keeps or sent < CALLS_OF_A_CONNECTION):
                    metadata = [("authorization", self.token)]
                    try:
                        stub.Classify(REQUEST, metadata=metadata, timeout=20)
                        ready(b"", metadata=metadata, timeout=20)
                        self.ended["OK"] += 2
                    except grpc.RpcError as error:
                        self.ended[f"{error.code().name}: {error.details()}"] += 1
                    sent += 1
