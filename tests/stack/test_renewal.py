"""Certificate and tokens are renewed by the recipe of docs/operations.md, with files renamed into place, and no call fails."""

from __future__ import annotations

import secrets as random
import ssl
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from stack.callers import REQUEST, Callers
from stack.compose import Stack

from avizor.v1 import inference_pb2_grpc

pytestmark = pytest.mark.stack

GATEWAY_READS_S = 6.0


def shown(running: Stack) -> str:
    host, port = running.front.split(":")
    return ssl.get_server_certificate((host, int(port)))


def new_pair(folder: Path) -> None:
    """tls.crt and tls.key, for the names that the front door has; the key is for its owner only, as openssl writes it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90"]
    named = ["-subj", "/CN=renewed", "-addext", "subjectAltName=DNS:localhost,DNS:nginx,IP:127.0.0.1"]
    subprocess.run([*command, *named, "-keyout", "tls.key", "-out", "tls.crt"], cwd=folder, check=True, capture_output=True)


def status_with(running: Stack, authorization: str, trusted: Path) -> list[str]:
    """How a call of the gateway, and one of Triton, end with this token."""
    found = []
    with grpc.secure_channel(running.front, grpc.ssl_channel_credentials(trusted.read_bytes())) as channel:
        classify = inference_pb2_grpc.InferenceServiceStub(channel).Classify
        ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        for call, request in ((classify, REQUEST), (ready, b"")):
            try:
                call(request, metadata=[("authorization", authorization)], timeout=20)
                found.append("OK")
            except grpc.RpcError as error:
                found.append(error.code().name)
    return found


def test_a_certificate_that_is_moved_into_place_is_shown_and_no_call_fails(
    running: Stack, secrets: Path, tmp_path: Path
) -> None:
    before = shown(running)
    new_pair(tmp_path)
    trusted = tmp_path / "both.crt"
    trusted.write_text(before + (tmp_path / "tls.crt").read_text())
    with Callers(running, trusted) as callers:
        time.sleep(2)
        (tmp_path / "tls.crt").rename(secrets / "certificate" / "tls.crt")
        (tmp_path / "tls.key").rename(secrets / "key" / "tls.key")
        running.read_secrets_again()
        time.sleep(5)
        assert shown(running) == (secrets / "certificate" / "tls.crt").read_text()
    assert set(callers.ended) == {"OK"}, callers.ended
    assert callers.ended["OK"] > 100
    probe = running.compose("exec", "-T", "prometheus", "wget", "-qO-", "http://probe:9115/metrics")
    assert 'avizor_front_door_up{to="gateway"} 1.0' in probe
    assert 'avizor_front_door_up{to="triton"} 1.0' in probe


def test_a_token_is_replaced_without_a_failed_call_and_the_old_one_ends_with_an_edit(
    running: Stack, secrets: Path, tmp_path: Path
) -> None:
    old, new = running.token, f"Bearer {random.token_hex(32)}"
    tokens = secrets / "clients" / "tokens"
    with Callers(running, running.certificate) as callers:
        time.sleep(1)
        (tmp_path / "tokens").write_text(tokens.read_text() + f'"{new}" "local";\n')
        (tmp_path / "tokens").rename(tokens)
        running.read_secrets_again()
        time.sleep(GATEWAY_READS_S)
        callers.token = new
        time.sleep(2)
        subprocess.run(["sed", "-i", f"/{old}/d", tokens], check=True)
        running.read_secrets_again()
        time.sleep(GATEWAY_READS_S)
    assert set(callers.ended) == {"OK"}, callers.ended
    assert callers.ended["OK"] > 100
    assert status_with(running, old, running.certificate) == ["UNAUTHENTICATED"] * 2
    assert status_with(running, new, running.certificate) == ["OK"] * 2
    # the gateway itself, behind the front door, has read it too
    code = (
        "import sys, urllib.request, urllib.error\n"
        "request = urllib.request.Request('http://localhost:8080/v1/models', headers={'authorization': sys.argv[1]})\n"
        "try: print(urllib.request.urlopen(request).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    asked = [running.compose("exec", "-T", "gateway", "python", "-c", code, token).strip() for token in (old, new)]
    assert asked == ["401", "200"]


def test_files_that_cannot_be_used_are_told_and_change_nothing(running: Stack, secrets: Path) -> None:
    before = shown(running)
    with (secrets / "clients" / "tokens").open("a") as tokens:
        tokens.write("nonsense\n")
    with pytest.raises(AssertionError, match="/run/secrets/clients/tokens:"):
        running.read_secrets_again()
    time.sleep(GATEWAY_READS_S)
    assert status_with(running, running.token, running.certificate) == ["OK"] * 2
    assert shown(running) == before
    log = running.compose("logs", "--no-color", "gateway")
    assert "not read again" in log
    assert running.token.removeprefix("Bearer ") not in log


def test_the_front_door_starts_again_by_itself_after_it_was_told_to_read_again(running: Stack) -> None:
    """A signal sent by `docker kill` would have Docker leave it ended."""
    running.read_secrets_again()
    running.compose("exec", "-T", "nginx", "sh", "-c", "kill -QUIT $(cat /tmp/nginx.pid)")
    deadline = time.monotonic() + 60
    while status_with(running, running.token, running.certificate) != ["OK"] * 2:
        assert time.monotonic() < deadline, "the front door did not come back"
        time.sleep(1)
