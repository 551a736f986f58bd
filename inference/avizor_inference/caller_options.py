"""Define the options by which a command says who calls a gateway, and by which it checks whom it has reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from avizor_inference.cli_option_groups import with_options

# The names under which a command gets them: those of `gateway_connection.Caller`.
CALLER_OPTIONS = ("token_file", "ca_file", "certificate", "key")

_FILE = click.Path(path_type=Path)


def caller_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add CALLER_OPTIONS."""
    return with_options(
        command,
        click.option("--token-file", type=_FILE, help="File with the token that the gateway wants."),
        click.option(
            "--ca",
            "--ca-file",
            "ca_file",
            type=_FILE,
            help="Certificates (PEM) by which the gateway's is checked. The connection is then TLS.",
        ),
        click.option(
            "--certificate",
            "--client-certificate",
            "certificate",
            type=_FILE,
            help="Certificate (PEM) of the caller, for mutual TLS; needs --key.",
        ),
        click.option("--key", "--client-key", "key", type=_FILE, help="Its key (PEM)."),
    )
