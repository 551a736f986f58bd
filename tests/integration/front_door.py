"""Run deploy/nginx/nginx.conf in a real nginx before a real gateway and a real Triton: the front door of the stack."""

from __future__ import annotations

import contextlib
import http.client
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from support.environment import ROOT

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass(frozen=True)
class FrontDoor:
    """A running front door, and the folder of its secrets."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def channel(self) -> grpc.Channel:
        roots = (self.folder / "ca.pem").read_bytes()
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(roots))

    def get(self, path: str, token: str = "", **given: Any) -> tuple[int, bytes]:
        """Return status and body of an HTTP request. given: `method`, `data` or `headers`."""
        headers = dict(given.pop("headers", {})) | ({"authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(f"https://{self.address}{path}", headers=headers, **given)
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def id_of(self, path: str, token: str = "", request_id: str = "") -> list[str]:
        """Return the request ids in the headers of an answer over HTTP, whatever its status. request_id: that is sent."""
        address, context = ("localhost", self.port), ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        connection = http.client.HTTPSConnection(*address, context=context, timeout=20)
        try:
            sent = {"authorization": f"Bearer {token}"} | ({"x-request-id": request_id} if request_id else {})
            connection.request("GET", path, headers=sent)
            return connection.getresponse().headers.get_all("x-request-id") or []
        finally:
            connection.close()

    def log(self) -> str:
        return (self.folder / "access.log").read_text()

    def read_tokens_again(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


def token_file(folder: Path, **clients: str) -> dict[str, str]:
    """Write a token file, for nginx and gateway; return the tokens. clients: what follows each name on its line."""
    tokens = {name: secrets.token_hex(32) for name in clients}
    lines = [f'"Bearer {token}" "{f"{name} {clients[name]}".strip()}";' for name, token in tokens.items()]
    (folder / "tokens").write_text("\n".join(lines) + "\n")
    return tokens


def write_certificate(folder: Path, authority: trustme.CA) -> None:
    """Write a new certificate, its key, and the authority's own certificate; files that are there are written in place."""
    certificate = authority.issue_cert("localhost", "door.example.com")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "tls_key")
    (folder / "tls_certificate").write_bytes(certificate.cert_chain_pems[0].bytes())


@contextlib.contextmanager
def front_door(
    folder: Path, workers: int | str = 2, *, authority: trustme.CA | None = None, background: bool = False, **servers: str
) -> Iterator[FrontDoor]:
    """Start nginx with the configuration of the stack and the token file in `folder`.

    workers: processes, or "auto" for as many as the stack has. authority: that issues the certificate. background: as a
    service of the system runs, which can be followed by a new master; whoever asks for it stops it. servers: host:port for
    each one in the configuration.
    """
    if NGINX is None:
        pytest.skip("nginx is not installed")
    write_certificate(folder, authority or trustme.CA())
    port = _free_port()
    (folder / "nginx.conf").write_text(_configuration(folder, port, servers))
    process = start_nginx(folder, workers, background=background)
    try:
        _wait_until_it_listens(port, process)
        yield FrontDoor(process, port, folder)
    finally:
        process.terminate()
        process.wait(timeout=20)


def start_nginx(folder: Path, workers: int | str = 2, *, background: bool = False) -> subprocess.Popen[bytes]:
    """Start nginx with the configuration in a folder. background: it leaves this process, and its id is in `nginx.pid`."""
    assert NGINX
    how = f"daemon {'on' if background else 'off'}; worker_processes {workers};"
    return subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-g", how])


def _configuration(folder: Path, port: int, servers: dict[str, str]) -> str:
    """The configuration of the stack, with other addresses and folders."""
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    unknown = "127.0.0.1:9"  # where nobody listens
    defaults = ("triton:8001", "triton:8000", "gateway:50051", "gateway:8080", "pushgateway:9091")
    named = dict.fromkeys(defaults, unknown) | {name.replace("_", ":"): address for name, address in servers.items()}
    for name, address in named.items():
        assert f"server {name};" in text
        text = text.replace(f"server {name};", f"server {address};")
    text = text.replace("worker_processes auto;", "").replace("127.0.0.1:8081", f"127.0.0.1:{_free_port()}")
    text = text.replace("/dev/stdout", "/tmp/access.log").replace("/tmp/", f"{folder}/")
    for path, name in (("clients/tokens", "tokens"), ("certificate/tls.crt", "tls_certificate"), ("key/tls.key", "tls_key")):
        assert f"/run/secrets/{path};" in text
        text = text.replace(f"/run/secrets/{path};", f"{folder}/{name};")
    text = text.replace("listen 8443 ssl so_keepalive=on;", f"listen 127.0.0.1:{port} ssl so_keepalive=on;")
    if _version() < (1, 25, 1):  # http2 was a part of listen
        text = re.sub(r"(listen .* ssl) (so_keepalive=on;)\s+http2 on;", r"\1 http2 \2", text)
    return text


def _version() -> tuple[int, ...]:
    assert NGINX
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/([\d.]+)", said)
    assert found, said
    return tuple(int(part) for part in found[1].split("."))


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert not process.poll(), "nginx did not start; its errors are above"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, "nginx does not listen"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
