"""Triton, or the way to it, is slow: that does not make it seem to be away."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from integration.far_network import far_network
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.temporary_model import temporary_model, temporary_name
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.repository.models import ModelRepository

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


@pytest.mark.slow
def test_a_model_that_takes_minutes_to_load_is_loaded_for_a_command(models: Path, triton_address: str) -> None:
    version = ModelRepository(models).served("digits")
    config = ModelConfig()
    config.CopyFrom(version.config)
    assert config.model_warmup

    def loaded_in_s(runs: int) -> float:
        for warmup in config.model_warmup:
            warmup.count = runs
        begun = time.monotonic()
        with temporary_model(triton_address, version.model_path.read_bytes(), config, temporary_name("tune")):
            return time.monotonic() - begun

    runs, seconds = 2000, 0.0
    for _ in range(6):  # finds how many runs take as long as an engine of TensorRT that is built
        seconds = loaded_in_s(runs)
        if seconds > 65:
            break
        runs = int(runs * min(10, 80 / seconds))
    assert seconds > 65, "no number of warm-ups took longer than any other call may"
