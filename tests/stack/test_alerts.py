"""What an operator has to be told arrives at the webhook: from the real servers, through Prometheus and Alertmanager."""

from __future__ import annotations

import json
import re
import secrets as random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import tritonclient.grpc
from stack.compose import Stack

pytestmark = pytest.mark.stack

AVIZOR = Path(sys.executable).with_name("avizor")


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(2)


def received(running: Stack, alertname: str, **labels: str) -> list[str]:
    """Whether it fired or was resolved, each time that the webhook was told of this alert."""
    wanted = {"alertname": alertname, **labels}.items()
    return [alert["status"] for alert in running.alerts() if wanted <= alert["labels"].items()]


def test_what_is_no_good_model_is_named_everywhere_and_costs_the_others_nothing(running: Stack) -> None:
    client = tritonclient.grpc.InferenceServerClient(running.front, ssl=True, root_certificates=str(running.certificate))
    headers = {"authorization": running.token}
    index = {model.name: model.state for model in client.get_model_repository_index(headers=headers).models}
    ready = {"cached", "machine-sound", "machine-type"}
    assert {name for name, state in index.items() if state == "READY"} == ready
    assert set(index) == ready | {"damaged", "lost+found"}
    assert all(client.is_model_ready(name, headers=headers) for name in ready)

    logs = running.compose("logs", "--no-color", "triton")
    assert re.search(r"^triton.*E\d{4}.*lost\+found", logs, re.MULTILINE)
    assert re.search(r"^triton.*damaged.*(UNAVAILABLE|failed|Fail|error)", logs, re.MULTILINE)
    logs = running.compose("logs", "--no-color", "gateway")
    assert "model 'lost+found', refused" in logs
    assert "'damaged'" in logs
    for name in ("damaged", "lost+found"):
        wait_for(f"a ticket for {name}", lambda name=name: received(running, "AvizorModelDown", model=name) == ["firing"])  # type: ignore[misc]
    assert {each for each in running.firing() if each.startswith("AvizorModelDown")} == {
        "AvizorModelDown damaged",
        "AvizorModelDown lost+found",
    }


def test_a_failed_job_is_told_and_a_restart_of_the_pushgateway_resolves_nothing(running: Stack, tmp_path: Path) -> None:
    data = tmp_path / "sounds"
    data.mkdir()
    (data / "broken.wav").write_bytes(b"no sound")
    job: list[str | Path] = [
        AVIZOR,
        "batch",
        data,
        "--models",
        running.environment["AVIZOR_MODELS"],
        "--model",
        "machine-sound",
    ]
    job += ["--out", tmp_path / "out", "--alpha", "0.05", "--max-failed", "0.05", "--push-job", "night"]
    job += ["--pushgateway", f"https://{running.front}/pushgateway", "--push-token-file", running.secrets / "token"]
    job += ["--push-ca-file", running.certificate]
    done = subprocess.run(job, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "push" not in done.stderr, done.stderr
    wait_for("a ticket for the job", lambda: received(running, "AvizorBatchJobFailed", job="night") == ["firing"])

    running.compose("restart", "-t", "5", "pushgateway")
    running.compose("kill", "pushgateway")
    time.sleep(20)  # several scrapes fail
    running.compose("up", "--detach", "pushgateway")
    time.sleep(75)  # Alertmanager tells what was resolved within 35 s
    assert received(running, "AvizorBatchJobFailed", job="night") == ["firing"]
    pushed = running.compose("exec", "-T", "prometheus", "wget", "-qO-", "http://pushgateway:9091/metrics")
    assert re.search(r'^avizor_batch_last_exit_code\{.*job="night".*\} 1$', pushed, re.MULTILINE), "it was not kept"

    # the webhook's lines of it
    lines = running.compose("logs", "--no-color", "alerts").splitlines()
    (at,) = (number for number, line in enumerate(lines) if re.search("FIRING.*AvizorBatchJobFailed.*job=night", line))
    assert "ended with exit code 1" in lines[at + 1]
    assert "First read the end of its log" in lines[at + 1]
    link = re.search(r"graph: (http://localhost:\d+)/graph\?", lines[at + 3])
    assert link, lines[at + 3]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert json.load(opener.open(f"{link[1]}/api/v1/status/buildinfo", timeout=20))["status"] == "success"


def test_a_front_door_that_is_down_is_told(running: Stack) -> None:
    running.compose("stop", "-t", "5", "nginx")
    try:
        for server in ("gateway", "triton"):
            wait_for(f"a page for {server}", lambda to=server: "firing" in received(running, "AvizorFrontDoorDown", to=to))  # type: ignore[misc]
        assert "no TLS" in running.compose("logs", "--no-color", "--tail", "2", "probe")
    finally:
        running.compose("start", "nginx")
    wait_for("its end", lambda: received(running, "AvizorFrontDoorDown", to="gateway")[-1:] == ["resolved"])


def test_one_that_refuses_every_token_is_told(running: Stack, secrets: Path) -> None:
    """Its port is open and its certificate right. The alert before has ended, so one that fires is new."""
    assert not any(each.startswith("AvizorFrontDoorDown") for each in running.firing())
    (secrets / "clients" / "tokens").write_text(f'"Bearer {random.token_hex(32)}" "somebody-else";\n')
    running.compose("exec", "-T", "nginx", "nginx", "-s", "reload")
    for server in ("gateway", "triton"):
        wait_for(f"a page for {server}", lambda to=server: f"AvizorFrontDoorDown {to}" in running.firing())  # type: ignore[misc]
    assert "UNAUTHENTICATED" in running.compose("logs", "--no-color", "--tail", "2", "probe")
