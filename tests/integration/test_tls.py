"""A gateway speaks TLS, asks for certificates of clients, and takes new ones without a restart and without a failed call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import trustme
from integration.gateway import AVIZOR, Gateway, Stub, gateway, wav
from support.certificates import certificate_files
from support.sounds import tone
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb

ROOT, OTHER_ROOT = trustme.CA(), trustme.CA()
ALONE = [("grpc.use_local_subchannel_pool", 1)]  # a channel with connections of its own


def trusting(root: trustme.CA, client: trustme.CA | None = None) -> grpc.ChannelCredentials:
    """Return what a client needs that trusts a root, and shows a certificate of `client`."""
    issued = client.issue_cert("client@example.org") if client else None
    return grpc.ssl_channel_credentials(
        root.cert_pem.bytes(), issued and issued.private_key_pem.bytes(), issued and issued.cert_chain_pems[0].bytes()
    )


def is_answered(running: Gateway, credentials: grpc.ChannelCredentials | None) -> bool:
    """Return whether a call on a new connection is answered. credentials: None for plain text."""
    if credentials:
        channel = grpc.secure_channel(running.address, credentials, ALONE)
    else:
        channel = grpc.insecure_channel(running.address, ALONE)
    with channel:
        try:
            return bool(Stub(channel).ListModels(pb.ListModelsRequest(), timeout=20).models)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.1)


def test_certificates_are_renewed_while_calls_are_answered_and_broken_ones_are_named(models: Path, tmp_path: Path) -> None:
    files, log = certificate_files(tmp_path, ROOT), tmp_path / "log"
    options = ["--tls-certificate", files.certificate, "--tls-key", files.key]
    failed: list[grpc.RpcError] = []
    answered = 0
    ended = threading.Event()

    def call_all_the_time(running: Gateway) -> None:
        nonlocal answered
        with grpc.secure_channel(running.address, trusting(ROOT), ALONE) as channel:
            while not ended.is_set():
                try:
                    Stub(channel).ListModels(pb.ListModelsRequest(), timeout=20)
                    answered += 1
                except grpc.RpcError as error:
                    failed.append(error)

    with gateway(models, "--alpha", 0.05, *options, log=log) as running:
        assert is_answered(running, trusting(ROOT))
        assert not is_answered(running, trusting(OTHER_ROOT))
        assert not is_answered(running, None)
        caller = threading.Thread(target=call_all_the_time, args=[running])
        caller.start()
        try:
            files.key.write_bytes(b"broken")
            wait_until(lambda: running.metrics()['avizor_reload_ok{part="certificates"}'] == 0)
            assert is_answered(running, trusting(ROOT))
            files.write(OTHER_ROOT)
            wait_until(lambda: running.metrics()['avizor_reload_ok{part="certificates"}'] == 1)
            assert is_answered(running, trusting(OTHER_ROOT))
            assert not is_answered(running, trusting(ROOT))
        finally:
            before = answered
            wait_until(lambda: answered > before or bool(failed))  # the connection that was open goes on
            ended.set()
            caller.join()
        assert failed == []
        assert running.metrics()['avizor_certificate_expiry_timestamp_seconds{file="certificate"}'] > time.time()
    assert f"{files.key}: holds no private key that can be read; it has to be in PEM" in log.read_text()
    assert log.read_text().count("not read again") == 1


def test_a_client_without_a_certificate_of_the_roots_is_not_let_in(models: Path, tmp_path: Path) -> None:
    files = certificate_files(tmp_path, ROOT)
    clients = tmp_path / "clients.crt"
    clients.write_bytes(OTHER_ROOT.cert_pem.bytes())
    options = ["--tls-certificate", files.certificate, "--tls-key", files.key, "--client-ca", clients]
    with gateway(models, "--alpha", 0.05, *options) as running:
        assert is_answered(running, trusting(ROOT, client=OTHER_ROOT))
        assert not is_answered(running, trusting(ROOT, client=ROOT))
        assert not is_answered(running, trusting(ROOT))


def test_commands_show_a_certificate_to_a_gateway_that_asks_for_one(models: Path, tmp_path: Path) -> None:
    files, root = certificate_files(tmp_path, ROOT), tmp_path / "root.crt"
    ROOT.cert_pem.write_to_path(str(root))
    issued = ROOT.issue_cert("client@example.org")
    certificate, key, sound = tmp_path / "client.crt", tmp_path / "client.key", tmp_path / "sound.wav"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    sound.write_bytes(wav(tone(1.0)))
    options = ["--tls-certificate", files.certificate, "--tls-key", files.key, "--client-ca", root]
    with gateway(models, "--alpha", 0.05, *options) as running:
        there = ["explain", "error-map", "normal", sound, "--out", tmp_path, "--gateway", running.address, "--ca", root]
        shown = warm_run([str(AVIZOR), *map(str, [*there, "--certificate", certificate, "--key", key])])
        assert shown.returncode == 0, shown.stderr
        refused = warm_run([str(AVIZOR), *map(str, [*there, "--timeout-s", 10])])
        assert (refused.returncode, "no connection to the gateway" in refused.stderr) == (1, True), refused.stderr
    half = warm_run([str(AVIZOR), "models", "load", "normal", "--gateway", "localhost:1", "--certificate", str(certificate)])
    assert (half.returncode, half.stderr) == (1, "Error: --certificate and --key go together; give both, or neither\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tls-certificate", "CRT"], "--tls-certificate and --tls-key belong together"),
        (["--tls-key", "KEY"], "--tls-certificate and --tls-key belong together"),
        (["--client-ca", "ROOT"], "--client-ca asks clients for certificates, which needs TLS"),
        (["--tls-certificate", "CRT", "--tls-key", "nowhere.key"], "nowhere.key: cannot be read (no such file or directory)"),
        (["--tls-certificate", "CRT", "--tls-key", "OTHER"], "is not the key of the first certificate in"),
        (["--host", "0.0.0.0"], "other machines reach it, and without tokens anyone could call; give --tokens or --client-ca"),
        (["--host", "::", "--tls-certificate", "CRT", "--tls-key", "KEY"], "without tokens anyone could call"),
    ],
)
def test_a_gateway_that_would_not_be_safe_does_not_start(
    models: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    files, other = certificate_files(tmp_path, ROOT), certificate_files(tmp_path, ROOT, "other")
    paths = {"CRT": files.certificate, "KEY": files.key, "ROOT": files.root, "OTHER": other.key}
    command = [AVIZOR, "serve", "--models", models, "--port", 0, "--metrics-port", 0, "--alpha", 0.05]
    command += [paths.get(option, option) for option in options]
    result = warm_run([str(part) for part in command], timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
