"""Ask a gateway over HTTP, with the standard library's client."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What a gateway has answered."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, path: str, body: bytes | None = None, method: str = "", **headers: str) -> Answer:
    """Send one request: GET without a body, POST with one. In the names of headers `_` stands for `-`."""
    address = urlsplit(url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def raw(url: str, request: bytes) -> bytes:
    """Send bytes as they are; return all that comes until the gateway ends the connection."""
    address = urlsplit(url)
    received = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            while piece := one.recv(65_536):
                received += piece
    return received


def ask_json(url: str, path: str, message: Any, **headers: str) -> Answer:
    """Send a value as JSON."""
    return ask(url, path, json.dumps(message).encode(), Content_Type="application/json", **headers)


def form(*parts: tuple[str, bytes | str]) -> tuple[bytes, str]:
    """Return a body of multipart/form-data, and its type. Bytes are files, texts are fields."""
    boundary = uuid.uuid4().hex
    body = b""
    for name, content in parts:
        file = '; filename="file"' if isinstance(content, bytes) else ""
        data = content if isinstance(content, bytes) else content.encode()
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def ask_form(url: str, path: str, *parts: tuple[str, bytes | str], **headers: str) -> Answer:
    """Send a form."""
    body, kind = form(*parts)
    return ask(url, path, body, Content_Type=kind, **headers)
