"""What the stack's gateway flags is kept on a volume of its own, and seen on the review page by who has the token, over TLS."""

from __future__ import annotations

import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import numpy as np
import pytest
from integration.gateway import wav
from stack.compose import Stack

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc

pytestmark = pytest.mark.stack

# Of a kept sound of `pump-1`, as the list shows it.
NAME = re.compile(r"items/pump-1-[0-9a-f]{8}/[\w.-]+\.wav(?=<)")


@pytest.fixture(scope="module")
def page(running: Stack) -> Iterator[str]:
    """The address of the page."""
    running.compose("--profile", "review", "up", "--build", "--detach", "review", timeout_s=1500)
    running.wait_until_healthy()
    yield f"https://localhost:{running.environment['AVIZOR_REVIEW_PORT']}/"
    running.compose("--profile", "review", "rm", "--stop", "--force", "review")


def browser(running: Stack) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=str(running.certificate))
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPCookieProcessor(CookieJar()),
    )


def text(opener: urllib.request.OpenerDirector, address: str, form: dict[str, str] | None = None) -> str:
    data = urllib.parse.urlencode(form).encode() if form else None
    answer: bytes = opener.open(address, data, timeout=60).read()
    return answer.decode()


def test_a_flagged_sound_is_seen_by_who_has_the_token_and_its_answer_outlives_the_containers(
    running: Stack, machines: Path, page: str
) -> None:
    noise = np.clip(0.3 * np.random.default_rng(0).standard_normal(3 * 16_000), -1, 1)
    item = pb.Item(source="pump-1", audio=wav(noise, 16_000))
    with running.channel() as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        request = pb.DetectAnomalyRequest(model="machine-sound", items=[item])
        (verdict,) = stub.DetectAnomaly(request, metadata=[("authorization", running.token)], timeout=60).items
    assert verdict.is_anomaly
    someone = browser(running)
    assert "Token of this page" in text(someone, page)
    assert "pump-1" not in text(someone, page + "?source=pump-1")
    reviewer = browser(running)
    token = (running.secrets / "review" / "token").read_text().strip()
    text(reviewer, page + "login", {"token": token})
    deadline = time.monotonic() + 60
    while not (found := set(NAME.findall(text(reviewer, page + "?source=pump-1&model=machine-sound")))):
        assert time.monotonic() < deadline
        time.sleep(1)
    (uri,) = found
    named = {"uri": uri, "model": "machine-sound"}
    shown = text(reviewer, f"{page}item?{urllib.parse.urlencode(named)}")
    picture = reviewer.open(f"{page}picture?{urllib.parse.urlencode(named)}", timeout=60).read()
    assert picture.startswith(b"\x89PNG")
    assert "No error map" not in shown
    answered = urllib.request.Request(
        page + "answer", urllib.parse.urlencode({**named, "answer": "abnormal", "reviewer": "ana"}).encode()
    )
    answered.add_header("Origin", page.rstrip("/"))
    assert "abnormal" in reviewer.open(answered, timeout=60).read().decode()

    running.compose("--profile", "review", "up", "--detach", "--force-recreate", "--no-deps", "gateway", "review")
    running.wait_until_healthy()
    running.compose("exec", "-T", "nginx", "nginx", "-s", "reload")
    again = browser(running)
    text(again, page + "login", {"token": token})
    assert "abnormal" in text(again, f"{page}item?{urllib.parse.urlencode(named)}")


def test_its_container_can_write_the_volume_alone_and_reaches_no_server(running: Stack, page: str) -> None:
    container = running.containers()["review"]
    assert {mount["Destination"] for mount in container["Mounts"] if mount["RW"]} == {"/flagged"}
    assert {mount["Destination"] for mount in container["Mounts"] if "secrets" in mount["Source"]} == {
        f"/run/secrets/{name}" for name in ("certificate", "key", "review")
    }
    assert set(container["NetworkSettings"]["Networks"]) == {f"{running.project}_pages"}
    modes = running.compose(
        "exec", "-T", "review", "find", "/flagged", "-type", "f", "-not", "-name", "answers.jsonl", "-printf", "%m %U\\n"
    )
    assert set(modes.split("\n")) - {""} == {"600 10001"}
