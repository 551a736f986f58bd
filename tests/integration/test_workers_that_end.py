"""Workers that end again and again: those that serve go on, the log says why, and a gateway of which none serves ends."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.gateway import Gateway, gateway
from support.waiting import wait_until

from avizor.v1 import inference_pb2 as pb

SERVING = health_pb2.HealthCheckResponse.SERVING
TOKEN = "5d" * 16
GOOD = f'"Bearer {TOKEN}" "caller";\n'


def workers(running: Gateway) -> list[psutil.Process]:
    children = psutil.Process(running.process.pid).children()
    return [each for each in children if "avizor_service.workers.worker" in each.cmdline()]


def is_answered(running: Gateway) -> bool:
    """Whether a call, and a health check, over a new connection are answered."""
    with grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        metadata = [("authorization", f"Bearer {TOKEN}")]
        models = running.stub(channel).ListModels(pb.ListModelsRequest(), metadata=metadata, timeout=20).models
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        return bool(models) and health.status == SERVING


@pytest.mark.slow  # waits for the pauses between starts
def test_a_worker_that_cannot_start_again_does_not_end_the_one_that_serves_and_without_any_the_gateway_ends(
    models: Path, tmp_path: Path
) -> None:
    tokens, log = tmp_path / "tokens", tmp_path / "log"
    tokens.write_text(GOOD)
    with gateway(models, "--alpha", 0.05, "--workers", 2, "--tokens", tokens, log=log) as running:
        tokens.write_text("broken\n")
        workers(running)[0].kill()
        wait_until(lambda: running.metrics().get('avizor_workers_ended_total{reason="crash"}', 0) >= 6)
        assert running.metrics()["avizor_workers"] == 1
        assert is_answered(running)
        events = [str(line["event"]) for line in map(json.loads, log.read_text().splitlines()) if line["level"] == "warning"]
        why = f"{tokens}, line 1: not of the form"
        pauses = [float(found[1]) for event in events if why in event and (found := re.search(r"place in ([\d.]+) s", event))]
        assert len(pauses) >= 4
        assert all(later == pytest.approx(2 * earlier) for earlier, later in itertools.pairwise(pauses[:4]))

        tokens.write_text(GOOD)
        wait_until(lambda: running.metrics()["avizor_workers"] == 2)
        assert is_answered(running)

        tokens.write_text("broken\n")
        for each in workers(running):
            each.kill()
        assert running.process.wait(timeout=60) == 1
    said = log.read_text()
    # One that was killed within 5 s of its return has failed once more.
    assert re.search(r"worker \d ended \d+ times, each within 5 s: (SIGKILL|.*line 1: not of the form)", said.splitlines()[-1])
    assert "Traceback" not in said
