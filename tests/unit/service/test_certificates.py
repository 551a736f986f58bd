"""certificates.py: which files are refused and why, what is warned of, and what new connections get, on real TLS servers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from support.certificates import Files, certificate_files

from avizor_inference.errors import CertificateFileError
from avizor_service.certificates import Certificates, TlsFiles
from avizor_service.metrics import Metrics

ROOT, OTHER_ROOT = trustme.CA(), trustme.CA()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return certificate_files(tmp_path, ROOT)


def opened(files: Files, client_ca: Path | None = None, metrics: Metrics | None = None) -> Certificates:
    return Certificates(TlsFiles(files.certificate, files.key, client_ca), metrics or Metrics())


def without_the_key(files: Files) -> None:
    files.key.unlink()


def without_the_certificate(files: Files) -> None:
    files.certificate.unlink()


def with_the_key_of_another(files: Files) -> None:
    files.key.write_bytes(ROOT.issue_cert("localhost").private_key_pem.bytes())


def with_a_key_in_the_place_of_the_certificate(files: Files) -> None:
    files.certificate.write_bytes(files.key.read_bytes())


def with_a_certificate_in_the_place_of_the_key(files: Files) -> None:
    files.key.write_bytes(files.certificate.read_bytes())


def with_a_passphrase(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame")))


def cut_off(files: Files) -> None:
    files.certificate.write_bytes(files.certificate.read_bytes()[:300])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_the_key, "server.key: cannot be read (no such file or directory); name a PEM file in --tls-key"),
        (
            without_the_certificate,
            "server.crt: cannot be read (no such file or directory); name a PEM file in --tls-certificate",
        ),
        (with_the_key_of_another, "server.key: is not the key of the first certificate in"),
        (
            with_a_key_in_the_place_of_the_certificate,
            "server.crt: holds no certificate that can be read (no line of it is -----BEGIN CERTIFICATE",
        ),
        (with_a_certificate_in_the_place_of_the_key, "server.key: holds no private key that can be read; it has to be in PEM"),
        (with_a_passphrase, "server.key: the key has a passphrase; write it without one"),
        (cut_off, "server.crt: holds no certificate that can be read (it was cut off or changed); it has to be in PEM"),
    ],
)
def test_files_that_cannot_be_used_are_refused_and_named_and_keep_what_was_in_use(
    files: Files, spoil: Callable[[Files], None], message: str
) -> None:
    certificates = opened(files)
    before = certificates._pair
    spoil(files)
    for use in (lambda: opened(files), certificates.renew):
        with pytest.raises(CertificateFileError) as error:
            use()
        assert message in str(error.value)
        assert "PRIVATE KEY" not in str(error.value)
    assert certificates._pair is before


def test_a_file_of_roots_that_holds_none_is_refused(files: Files, tmp_path: Path) -> None:
    (tmp_path / "roots").write_text("none")
    with pytest.raises(CertificateFileError, match="roots: holds no certificate that can be read"):
        opened(files, tmp_path / "roots")
    with pytest.raises(CertificateFileError, match=r"nowhere: cannot be read \(no such file or directory\).*--client-ca"):
        opened(files, tmp_path / "nowhere")


@pytest.mark.parametrize(("days", "warning"), [(-1, "a certificate has expired at"), (3, "a certificate expires at"), (60, "")])
def test_when_a_certificate_expires_is_shown_and_warned_of_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int, warning: str
) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    metrics = Metrics()
    with caplog.at_level(logging.WARNING):
        opened(certificate_files(tmp_path, ROOT, expires=expires), metrics=metrics)
    shown = metrics.registry.get_sample_value("avizor_certificate_expiry_timestamp_seconds", {"file": "certificate"})
    assert shown == expires.timestamp()
    assert [warning in record.message for record in caplog.records] == [True] * bool(warning)


def test_a_python_server_hands_each_new_connection_to_the_newest_certificate(files: Files) -> None:
    certificates = opened(files)

    async def peer(port: int, root: trustme.CA, name: str | None) -> str:
        context = ssl.create_default_context()
        root.configure_trust(context)
        context.check_hostname = name is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        answer = await reader.read()
        writer.close()
        return answer.decode()

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    async def check() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=certificates.ssl_context())
        port = server.sockets[0].getsockname()[1]
        assert await peer(port, ROOT, "localhost") == "hello"
        files.write(OTHER_ROOT)
        certificates.renew()
        for name in ("localhost", "127.0.0.1"):
            assert await peer(port, OTHER_ROOT, name) == "hello"
            with pytest.raises(ssl.SSLCertVerificationError):
                await peer(port, ROOT, name)
        server.close()

    asyncio.run(check())


def test_a_python_server_asks_for_a_certificate_of_the_newest_roots(files: Files, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    roots.write_bytes(ROOT.cert_pem.bytes())
    certificates = opened(files, roots)

    async def is_let_in(port: int, client: trustme.CA | None) -> bool:
        context = ssl.create_default_context()
        ROOT.configure_trust(context)
        if client:
            client.issue_cert("client@example.org").configure_cert(context)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
            answer = await reader.read()
        except OSError:
            return False
        writer.close()
        return answer == b"hello"

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    async def check() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=certificates.ssl_context())
        port = server.sockets[0].getsockname()[1]
        assert [await is_let_in(port, client) for client in (None, ROOT, OTHER_ROOT)] == [False, True, False]
        roots.write_bytes(OTHER_ROOT.cert_pem.bytes())
        certificates.renew()
        assert [await is_let_in(port, client) for client in (None, ROOT, OTHER_ROOT)] == [False, False, True]
        server.close()

    asyncio.run(check())


async def _nothing(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
    return b""


def test_grpc_hands_each_new_connection_to_the_newest_certificate_and_roots(files: Files, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    roots.write_bytes(ROOT.cert_pem.bytes())
    certificates = opened(files, roots)

    async def is_let_in(port: int, root: trustme.CA, client: trustme.CA | None) -> bool:
        issued = client.issue_cert("client@example.org") if client else None
        credentials = grpc.ssl_channel_credentials(
            root.cert_pem.bytes(),
            issued and issued.private_key_pem.bytes(),
            issued and issued.cert_chain_pems[0].bytes(),
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            try:
                await channel.unary_unary("/test/Call")(b"", timeout=20)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE
                return False
        return True

    async def check() -> None:
        server = grpc.aio.server()
        methods = {"Call": grpc.unary_unary_rpc_method_handler(_nothing)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
        port = server.add_secure_port("127.0.0.1:0", certificates.grpc_credentials())
        await server.start()
        assert await is_let_in(port, ROOT, ROOT)
        assert not await is_let_in(port, ROOT, None)
        assert not await is_let_in(port, ROOT, OTHER_ROOT)
        files.write(OTHER_ROOT)
        roots.write_bytes(OTHER_ROOT.cert_pem.bytes())
        certificates.renew()
        assert await is_let_in(port, OTHER_ROOT, OTHER_ROOT)
        assert not await is_let_in(port, OTHER_ROOT, ROOT)
        assert not await is_let_in(port, ROOT, OTHER_ROOT)
        await server.stop(0)

    asyncio.run(check())
