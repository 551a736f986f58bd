"""The way to Triton is slow: requests that take long on it do not make Triton seem to be away."""

from __future__ import annotations

import numpy as np
from integration.far_network import far_network

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.triton import TritonEngine

BATCH = np.zeros((16, 4096), np.float32)  # 256 KiB


def test_triton_is_up_while_large_requests_are_on_their_way(triton_address: str) -> None:
    port = int(triton_address.rpartition(":")[2])
    with far_network(port, seconds=0.05, bytes_per_s=100_000) as slow:
        engine = TritonEngine(f"127.0.0.1:{slow}")
        try:
            assert engine.ready(timeout_s=10)
            request = InferRequest("normal", {"waveform": BATCH}, ("score",))
            running = [engine.submit(request) for _ in range(8)]  # 20 s of bytes
            assert engine.ready(timeout_s=3)
            assert not running[-1].done()
            for each in running:
                each.cancel()
        finally:
            engine.close()
