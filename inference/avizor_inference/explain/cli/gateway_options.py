"""Define the options by which a gateway makes the maps of a sub-command, and write what it answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from avizor_inference.caller_options import CALLER_OPTIONS, caller_options
from avizor_inference.cli_option_groups import with_options
from avizor_inference.explain.cli.each_item import each_item
from avizor_inference.explain.cli.map_output import MapOutput, name_of_maps
from avizor_inference.explain.heat_map import Kind
from avizor_inference.explain.hiding.settings import DEFAULT, HidingSettings
from avizor_inference.finite_range import FiniteRange
from avizor_inference.gateway_connection import Caller, GatewayAddress, check_installed

GATEWAY_OPTIONS = ("gateway", *CALLER_OPTIONS, "timeout_s")

# What a gateway decides, or cannot do.
_NOT_WITH_GATEWAY = {
    "models": "--models",
    "engine": "--engine",
    "device": "--device",
    "judge": "--curves",
    "compare": "--compare",
}


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add GATEWAY_OPTIONS. The command gets `gateway`: a GatewayAddress, or None for a repository."""

    @functools.wraps(command)
    def with_gateway(
        *,
        gateway: str | None,
        token_file: Path | None,
        ca_file: Path | None,
        certificate: Path | None,
        key: Path | None,
        timeout_s: float,
        **options: Any,
    ) -> None:
        caller = Caller(token_file, ca_file, certificate, key)
        command(gateway=_address(gateway, caller, timeout_s) if gateway else None, **options)

    options = (
        click.option(
            "--gateway",
            metavar="HOST:PORT",
            help="A gateway that computes the maps, in place of a repository. The files are sent to it.",
        ),
        click.option(
            "--timeout-s",
            metavar="SECONDS",
            type=FiniteRange(min=0, min_open=True),
            default=300.0,
            show_default=True,
            help="Seconds to wait for an answer of the gateway.",
        ),
    )
    return with_options(caller_options(with_gateway), *options)


def write_maps_of_gateway(
    gateway: GatewayAddress,
    kind: Kind,
    model: str,
    version: int | None,
    items: Sequence[Path],
    number: int | None,
    out: Path,
    *,
    as_json: bool,
    label: str | None = None,
    hiding: HidingSettings = DEFAULT,
) -> None:
    """Write the maps of items that a gateway computes, as those of a repository are written.

    number: of the window or row; None for the window that tells most. Raises SettingsError, InvalidInput, DatasetError.
    """
    from avizor_inference.explain.gateway_client import GatewayClient, Wanted

    wanted = Wanted(kind, model, version, label, hiding)
    output = MapOutput(out, name_of_maps(model, version, label, hiding.by), None, as_json=as_json)
    with GatewayClient(gateway) as client:

        def look_at(item: Path) -> None:
            found, png = client.map(wanted, item, number)
            output.write([(found, None)], png)

        each_item(items, look_at)


def _address(gateway: str, caller: Caller, timeout_s: float) -> GatewayAddress:
    context = click.get_current_context()
    for name, option in _NOT_WITH_GATEWAY.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} is for a repository, and --gateway takes its place; leave one of them out")
    check_installed()
    return GatewayAddress(gateway, caller, timeout_s)
