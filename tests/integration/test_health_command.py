"""`avizor health` asks over TLS, with certificates on both sides, and sends a token."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from click.testing import CliRunner, Result
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support.certificates import Files, certificate_files

from avizor_client.cli import call
from avizor_inference.errors import SettingsError
from avizor_inference.explain.cli.cam import cam
from avizor_inference.load_cli import load, rollback
from avizor_service.health import health as command


class Health(health.HealthServicer):
    """Serves, and keeps the tokens that it was asked with."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[Any] = []

    def Check(self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.tokens.append(dict(context.invocation_metadata()).get("authorization"))
        return super().Check(request, context)


@pytest.fixture(scope="module")
def root() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(root: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificate_files(tmp_path_factory.mktemp("tls"), root)


@pytest.fixture
def servicer() -> Health:
    return Health()


@pytest.fixture
def target(files: Files, servicer: Health) -> Iterator[str]:
    """A server that wants a certificate of its clients."""
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    pair = [(files.key.read_bytes(), files.certificate.read_bytes())]
    credentials = grpc.ssl_server_credentials(pair, files.root.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def ask(target: str, *options: object) -> Result:
    return CliRunner().invoke(command, ["--target", target, *map(str, options)], catch_exceptions=False)


def with_certificate(files: Files) -> list[object]:
    return ["--ca", files.root, "--client-certificate", files.certificate, "--client-key", files.key]


@pytest.mark.parametrize("text", ["0a1b\n", '# ours\n"Bearer 0a1b" "someone models=digits";\n"Bearer 2c3d" "other";\n'])
def test_it_shows_its_certificate_and_sends_a_token(
    target: str, files: Files, servicer: Health, tmp_path: Path, text: str
) -> None:
    token = tmp_path / "token"
    token.write_text(text)
    result = ask(target, *with_certificate(files), "--token-file", token)
    assert (result.exit_code, result.stdout) == (0, "SERVING\n")
    assert servicer.tokens == ["Bearer 0a1b"]


def test_without_a_token_none_is_sent(target: str, files: Files, servicer: Health) -> None:
    assert ask(target, *with_certificate(files)).exit_code == 0
    assert servicer.tokens == [None]


@pytest.mark.parametrize("options", [[], ["--tls"], ["--ca", "ROOT"]])
def test_who_shows_no_certificate_is_not_answered(target: str, files: Files, servicer: Health, options: list[str]) -> None:
    named = [files.root if option == "ROOT" else option for option in options]
    result = ask(target, *named, "--timeout-s", 2)
    assert result.exit_code == 1
    assert target in result.stderr
    assert servicer.tokens == []


def test_the_name_in_the_certificate_may_be_another(target: str, files: Files) -> None:
    assert ask(target, *with_certificate(files), "--server-name", "localhost").exit_code == 0
    assert ask(target, *with_certificate(files), "--server-name", "elsewhere", "--timeout-s", 2).exit_code == 1


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("two words\n")
    with pytest.raises(SettingsError, match="empty: holds no token"):
        ask("127.0.0.1:1", "--token-file", tmp_path / "empty")
    with pytest.raises(SettingsError, match="absent: cannot be read"):
        ask("127.0.0.1:1", "--ca", tmp_path / "absent")
    result = ask("127.0.0.1:1", "--client-certificate", tmp_path / "empty")
    assert (result.exit_code, "--client-key" in result.stderr) == (2, True)


def test_files_of_tls_have_the_same_names_as_in_other_commands() -> None:
    wanted = {"--ca", "--ca-file", "--certificate", "--client-certificate", "--key", "--client-key", "--token-file"}
    for each in (command, call.commands["models"]):
        assert wanted <= {name for parameter in each.params for name in parameter.opts}
    for each in (load, rollback, cam):  # these have no certificate of their own
        assert {"--ca", "--ca-file", "--token-file"} <= {name for parameter in each.params for name in parameter.opts}
