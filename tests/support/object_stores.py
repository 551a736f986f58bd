"""Start a real server of S3 (moto's) that notes the requests, and that can be made to fail; and one of files over http."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

from avizor_inference import object_store

# What a request is answered with instead: a status, a body and, if the rest of it does not come, its size; None: by the store.
Fault = Callable[[dict[str, Any]], tuple[str, bytes] | tuple[str, bytes, int] | None]


@dataclass
class S3:
    """A server of S3 with one bucket. env: what a client needs. requests: method, path and range of each request, in order."""

    address: str
    client: Any
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    fault: Fault | None = None
    bucket: str = "recordings"

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "secret-key",
            "AWS_REGION": "us-east-1",
        }

    def url(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}".rstrip("/")

    def put(self, key: str, data: bytes) -> str:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)
        return self.url(key)

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Upload the files of a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return self.url(prefix)

    def about(self, key: str) -> list[tuple[str, str]]:
        """Method and range of the requests for an object; the range is "" for all of it."""
        return [(method, range) for method, path, range in self.requests if path == f"/{self.bucket}/{key}"]


@contextmanager
def s3_server() -> Iterator[S3]:
    application = DomainDispatcherApplication(create_backend_app)
    store: S3

    def answer(environ: dict[str, Any], start: Any) -> Any:
        store.requests.append((environ["REQUEST_METHOD"], _text(environ["PATH_INFO"]), environ.get("HTTP_RANGE", "")))
        if store.fault and environ.get("HTTP_USER_AGENT", "").startswith("object_store") and (wrong := store.fault(environ)):
            size = wrong[2] if len(wrong) > 2 else len(wrong[1])
            start(wrong[0], [("Content-Type", "application/xml"), ("Content-Length", str(size))])
            return [wrong[1]]
        return application(environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    store = S3(address, client)
    client.create_bucket(Bucket=store.bucket)
    store.requests.clear()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()


@contextmanager
def reached(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Let this process, and those that it starts, use a server, and no store of a test before or after."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    object_store._store.cache_clear()
    server.requests.clear()
    try:
        yield server
    finally:
        server.fault = None
        object_store._store.cache_clear()


def _text(path: str) -> str:
    """A path as WSGI gives it, whose bytes are UTF-8."""
    return path.encode("latin-1").decode()


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        pass


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def http_files(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files, which gives no parts of them."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
