"""Callers that keep a gateway busy with small requests, and count how their calls end."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from integration.gateway import Gateway

from avizor.v1 import inference_pb2 as pb

ROWS = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), np.uint8)
REQUEST = pb.ClassifyRequest(
    model="digits", items=[pb.Item(tensor=pb.Tensor(shape=ROWS.shape[1:], dtype="uint8", data=ROWS.tobytes()))]
)

# Longer than any call takes that neither waits for something nor is forgotten.
TIMEOUT_S = 10.0


class Load:
    """Callers with a connection each, who send the next call when the last one has ended.

    until: the status after which a caller leaves; empty for none. `ended` counts the calls by status.
    """

    def __init__(self, running: Gateway, callers: int, until: str = "") -> None:
        self.ended: Counter[str] = Counter()
        self._running, self._until, self._quit = running, until, threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self._callers = [self._pool.submit(self._call) for _ in range(callers)]

    def _call(self) -> None:
        with grpc.insecure_channel(self._running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub, status = self._running.stub(channel), ""
            while not self._quit.is_set() and (not status or status != self._until):
                try:
                    stub.Classify(REQUEST, timeout=TIMEOUT_S)
                    status = "OK"
                except grpc.RpcError as error:
                    status = error.code().name
                self.ended[status] += 1
                if status != "OK":
                    self._quit.wait(0.01)

    def wait(self) -> Counter[str]:
        """Wait until all callers have left."""
        for caller in self._callers:
            caller.result()
        return self.ended

    def stop(self) -> Counter[str]:
        """Let the callers leave after the call that they wait for."""
        self._quit.set()
        return self.wait()
