"""Start all that is replaced: Triton, a gateway before it, nginx before both, and a gateway that computes itself."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import trustme
from integration.front_door import FrontDoor, front_door, write_certificate
from integration.gateway import Gateway, gateway
from replacements.callers import Door
from support.small_models import export_small_models
from support.sounds import SAMPLE_RATE, tone, write_wav
from triton_server.install import install
from triton_server.server import TritonServer

PATIENCE_S = 120.0
GRACE_S = 5  # of a gateway's streams when it stops


@dataclass
class Pair:
    """A Triton and the gateway before it."""

    triton: TritonServer
    gateway: Gateway

    def servers(self) -> dict[str, str]:
        """Return the addresses by the names of the servers in nginx.conf."""
        return {
            "triton_8001": self.triton.grpc_url,
            "triton_8000": self.triton.http_url.removeprefix("http://"),
            "gateway_50051": self.gateway.address,
            "gateway_8080": self.gateway.http_url.removeprefix("http://"),
        }


@dataclass
class Site:
    """What runs. `own` is the folder of the gateway that computes itself: models, certificate, tokens."""

    folder: Path
    authority: trustme.CA
    nginx: FrontDoor
    pair: Pair
    embedded: Gateway
    pairs: contextlib.ExitStack

    @property
    def models(self) -> Path:
        """The repository of Triton and the gateway before it."""
        return self.folder / "models"

    @property
    def own(self) -> Path:
        """The folder of the gateway that computes itself."""
        return self.folder / "own"

    @property
    def door(self) -> Door:
        """Where nginx listens."""
        return Door(self.nginx.address, self.folder)

    @property
    def own_door(self) -> Door:
        """Where the gateway that computes itself listens."""
        return Door(f"localhost:{self.embedded.address.rsplit(':', 1)[1]}", self.own)

    def nginx_pid(self) -> int:
        """Return the id of nginx's newest master."""
        return int((self.folder / "nginx.pid").read_text())

    def new_pair(self) -> Pair:
        """Start a Triton and a gateway on ports of their own."""
        return self.pairs.enter_context(_pair(self.folder, f"{time.monotonic_ns()}"))


def new_tokens(folder: Path, *, keep: str = "") -> str:
    """Write tokens for the callers into the file of the servers, with the lines of `keep`; return the new lines.

    The callers know them when `use_tokens` has been called.
    """
    lines = f'"Bearer {secrets.token_hex(32)}" "caller";\n"Bearer {secrets.token_hex(32)}" "limited models=digits,normal";\n'
    (folder / "tokens").write_text(keep + lines)
    return lines


def use_tokens(folder: Path, lines: str) -> None:
    """Let the callers use these tokens from their next call on."""
    for name, line in zip(("token", "limited-token"), lines.splitlines(), strict=True):
        staged = folder / f".{name}"
        staged.write_text(line.split('"')[1].removeprefix("Bearer "))
        staged.rename(folder / name)


def workers(running: Gateway) -> list[psutil.Process]:
    """The processes of a gateway that serve."""
    children = psutil.Process(running.process.pid).children()
    return sorted((each for each in children if "avizor_service.workers.worker" in each.cmdline()), key=lambda each: each.pid)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return when it holds. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE_S:g} s: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Start everything in a folder, and stop it."""
    own, authority = folder / "own", trustme.CA()
    own.mkdir()
    export_small_models(folder / "models")
    shutil.copytree(folder / "models", own / "models")
    for source in ("a", "b"):
        for seed in range(30):
            write_wav(folder / "sounds" / source / f"{seed}.wav", tone(3 * 4096 / SAMPLE_RATE, seed=seed))
    for place in (folder, own):
        use_tokens(place, new_tokens(place))
        write_certificate(place, authority)
    tls = ("--tls-certificate", own / "tls_certificate", "--tls-key", own / "tls_key")
    options = ("--alpha", 0.05, "--workers", 2, "--grace-s", GRACE_S)
    with contextlib.ExitStack() as stack:
        pair = stack.enter_context(_pair(folder, "first"))
        embedded = stack.enter_context(
            gateway(own / "models", *options, "--tokens", own / "tokens", *tls, log=own / "gateway.log")
        )
        nginx = stack.enter_context(front_door(folder, authority=authority, background=True, **pair.servers()))
        running = Site(folder, authority, nginx, pair, embedded, stack.enter_context(contextlib.ExitStack()))
        try:
            yield running
        finally:
            for file in folder.glob("nginx.pid*"):
                os.kill(int(file.read_text()), signal.SIGTERM)


@contextlib.contextmanager
def _pair(folder: Path, name: str) -> Iterator[Pair]:
    with TritonServer(install(), folder / "models", extra_args=["--exit-on-error=false", "--strict-readiness=false"]) as triton:
        options = ("--engine", f"triton://{triton.grpc_url}", "--tokens", folder / "tokens")
        more = ("--alpha", 0.05, "--workers", 2, "--grace-s", GRACE_S)
        with gateway(folder / "models", *options, *more, log=folder / f"gateway-{name}.log") as before:
            yield Pair(triton, before)
