"""Start the Triton that this run tests: from its wheel, or from an image where AVIZOR_TRITON_IMAGE names one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from triton_server.container import triton_container
from triton_server.server import TritonServer

from support.environment import on_gpu


def triton_image() -> str:
    """Return the image that Triton is taken from; empty for the wheel."""
    return os.environ.get("AVIZOR_TRITON_IMAGE", "")


@contextlib.contextmanager
def serving_triton(request: pytest.FixtureRequest, models: Path) -> Iterator[str]:
    """Yield host:port of the gRPC of a Triton that serves a repository."""
    if image := triton_image():
        with triton_container(image, models, gpu=on_gpu()) as address:
            yield address
        return
    with TritonServer(request.getfixturevalue("triton_install"), models) as server:
        yield server.grpc_url
