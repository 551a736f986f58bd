"""Run a real server of S3 (moto's) on this machine, and name it in the environment as its users do."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "results"


@dataclass(frozen=True)
class ObjectServer:
    """A server that runs. environment: what a process needs to reach it."""

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_REGION": "us-east-1",
        }

    @property
    def client(self) -> Any:
        """Another client than the one that is tested."""
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
        )

    def digests(self, prefix: str) -> dict[str, str]:
        """The sha256 of every object below a prefix, by what follows the prefix."""
        names = [each["Key"] for each in self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])]
        return {name.removeprefix(f"{prefix}/"): sha256(self.read(name)).hexdigest() for name in names}

    def read(self, name: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        return content


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Run a server with the bucket BUCKET; the environment of this process names it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = ObjectServer(f"http://{host}:{port}")
    before = dict(os.environ)
    os.environ.update(found.environment)
    try:
        found.client.create_bucket(Bucket=BUCKET)
        yield found
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
