"""Run `avizor models load` and `avizor models rollback`: change which version of a model is served."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from avizor_inference.caller_options import caller_options
from avizor_inference.cli_option_groups import with_options
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import runs_here
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import SettingsError
from avizor_inference.finite_range import FiniteRange
from avizor_inference.gateway_connection import Caller, GatewayAddress
from avizor_inference.load_version import load_embedded, load_on_triton, served_version, version_before
from avizor_inference.model_options import engine_options, models_option, version_option
from avizor_inference.repository.models import ModelRepository
from avizor_inference.wait_for_gateway import wait_until_served

_LOAD_EXAMPLES = """\b
Examples:
  avizor models load pumps --gateway localhost:50051
  avizor models load pumps --version 3 --engine triton://127.0.0.1:8001
"""
_ROLLBACK_EXAMPLES = """\b
Examples:
  avizor models rollback pumps --gateway localhost:50051
  avizor models rollback pumps --engine triton://127.0.0.1:8001
"""
# A header as gRPC sends it, in small letters. Those whose names end with -bin are bytes, and no line of text.
_HEADER = re.compile(rb"\s*([\w.-]+)\s*:\s*([\x20-\x7e]*[\x21-\x7e])\s*")
_MOST_BYTES = 64 << 10
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_headers = click.option(
    "--triton-headers",
    "headers_file",
    type=_FILE,
    metavar="FILE",
    help="Lines `NAME: VALUE`, sent to a Triton that restricts who may load models.",
)


def _gateway(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --gateway and what goes with it. The command gets `gateway`: a GatewayAddress, or None."""

    @functools.wraps(command)
    def with_gateway(
        *,
        gateway: str | None,
        token_file: Path | None,
        ca_file: Path | None,
        certificate: Path | None,
        key: Path | None,
        wait_s: float,
        **options: Any,
    ) -> None:
        caller = Caller(token_file, ca_file, certificate, key)
        command(gateway=GatewayAddress(gateway, caller, wait_s) if gateway else None, **options)

    return with_options(
        caller_options(with_gateway),
        click.option("--gateway", metavar="HOST:PORT", help="Wait until this gateway serves the version, or put all back."),
        click.option(
            "--wait-s",
            metavar="SECONDS",
            type=FiniteRange(min=0.1),
            default=60.0,
            show_default=True,
            help="Longest wait for the gateway. It looks at its repository every --scan-s, and on SIGHUP.",
        ),
    )


@click.command(short_help="Prove a version, and let it be served.", epilog=_LOAD_EXAMPLES)
@click.argument("name")
@models_option
@version_option("the newest")
@engine_options
@_headers
@_gateway
def load(
    name: str,
    models: Path,
    version: int | None,
    engine: str,
    device: Device,
    headers_file: Path | None,
    gateway: GatewayAddress | None,
) -> None:
    """Let MODEL be served in its newest version, or in --version, after its stored probe items have been computed rightly.

    config.pbtxt keeps the choice, so that a restart serves the same. A Triton loads the version, and the one before again if it
    does not answer rightly. A gateway on ONNX Runtime finds the choice at its next look (--scan-s, SIGHUP): with --gateway the
    command ends when it serves the version, or puts everything back.
    """
    _load(ModelRepository(models), name, version, engine, device, headers_file, gateway)


@click.command(short_help="Let the version before be served again.", epilog=_ROLLBACK_EXAMPLES)
@click.argument("name")
@models_option
@version_option("the one before")
@engine_options
@_headers
@_gateway
def rollback(
    name: str,
    models: Path,
    version: int | None,
    engine: str,
    device: Device,
    headers_file: Path | None,
    gateway: GatewayAddress | None,
) -> None:
    """Let MODEL be served in the version before the one that is served, or in --version. It may be repeated.

    It lasts, also after a restart, until `avizor models load` or the next export. It proves the version as `load` does.
    """
    repository = ModelRepository(models)
    target = version or version_before(repository, name, served_version(repository, name, engine))
    _load(repository, name, target, engine, device, headers_file, gateway)


def _load(
    repository: ModelRepository,
    name: str,
    version: int | None,
    engine: str,
    device: Device,
    headers_file: Path | None,
    gateway: GatewayAddress | None,
) -> None:
    wanted = repository.version(name, version)
    chosen = None if wanted.version == repository.versions(name)[-1] else wanted.version

    def confirm() -> None:
        if gateway:
            wait_until_served(gateway, name, wanted.version)

    if runs_here(engine):
        load_embedded(repository, wanted, engine, device, chosen, confirm)
        where = "" if gateway else "is chosen; a gateway serves it after its next look at the repository"
    else:
        load_on_triton(wanted, engine, chosen, _read_headers(headers_file), confirm)
        where = f"is served by {engine}"
    if gateway:
        where += f"{' and ' if where else 'is served by '}the gateway {gateway.address}"
    click.echo(f"{name}: version {wanted.version} {where}")


def _read_headers(path: Path | None) -> dict[str, str]:
    """Return the headers in a file. Messages show nothing of it: it holds a secret."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:  # a pipe, too: `<(...)` of a shell
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({reason(error)}); {remedy(error, 'name another file')}") from error
    if len(content) > _MOST_BYTES:
        raise SettingsError(f"{path} has more than {_MOST_BYTES >> 10} KiB, and holds no headers; name another file")
    headers = {}
    for number, line in enumerate(content.splitlines(), 1):
        found = _HEADER.fullmatch(line)
        if found and not found[1].lower().endswith(b"-bin"):
            headers[found[1].lower().decode()] = found[2].decode()
        elif line.strip():
            raise SettingsError(
                f"{path}: line {number} is not `NAME: VALUE`, with a name of letters, digits and -_. which does not end with "
                "-bin, and a value in ASCII; correct it"
            )
    return headers
