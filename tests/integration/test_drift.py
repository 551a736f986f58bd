"""A gateway shows that the scores of a source have drifted, also where nothing is flagged."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from integration.gateway import Gateway, gateway, normal

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.drift import ALERT


def judge(running: Gateway, sounds: list[bytes], source: str) -> list[pb.Verdict]:
    items = [pb.Item(source=source, audio=sound) for sound in sounds]
    with grpc.insecure_channel(running.address) as channel:
        return list(running.stub(channel).DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items)).items)


def drift(running: Gateway, source: str) -> float:
    return running.metrics()[f'avizor_drift_log_martingale{{model="normal",source="{source}"}}']


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_that_is_stuck_is_seen_although_nothing_is_flagged(models: Path, workers: int) -> None:
    """It sends one normal sound again and again, as a recorder that hangs; another source is healthy."""
    sounds = [normal(seed) for seed in range(1000, 1060)]
    with gateway(models, "--alpha", 0.05, "--workers", workers) as running:
        assert drift(running, "a") == 0
        verdicts = judge(running, sounds[:30], "b") + judge(running, sounds[30:], "b")
        _, stuck = max(zip((verdict.p_value for verdict in verdicts), sounds, strict=True))
        ends = time.monotonic() + 60
        while drift(running, "a") <= ALERT and time.monotonic() < ends:
            assert not any(verdict.is_anomaly for verdict in judge(running, [stuck] * 20, "a"))
        assert drift(running, "a") > ALERT
        assert drift(running, "b") < ALERT / 2
