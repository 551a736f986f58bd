"""Define the options that say which gateway is called, and how."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from avizor_client.cli.finite_range import FiniteRange
from avizor_client.cli.output import printable
from avizor_client.client import Client
from avizor_client.connection import MAX_ANSWER_MIB, Tls
from avizor_client.errors import BadAnswer, CallFailed, ClientError

_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option(
        "--target",
        metavar="HOST:PORT",
        default="127.0.0.1:50051",
        envvar="AVIZOR_CALL_TARGET",
        show_default=True,
        show_envvar=True,
        help="Address of the gateway or its front door; or unix:PATH.",
    ),
    click.option("--tls", is_flag=True, help="TLS, with the authorities that gRPC brings. The next options imply it."),
    click.option(
        "--ca",
        "--ca-file",
        "ca",
        type=_FILE,
        envvar="AVIZOR_CALL_CA",
        show_envvar=True,
        help="Certificates (PEM) by which the gateway's is checked.",
    ),
    click.option(
        "--certificate",
        "--client-certificate",
        "certificate",
        type=_FILE,
        help="Certificate (PEM) of the caller, for mutual TLS; needs --key.",
    ),
    click.option("--key", "--client-key", "key", type=_FILE, help="Its key (PEM)."),
    click.option("--server-name", default="", help="Name in the gateway's certificate, if that is not the address."),
    click.option(
        "--token-file",
        type=_FILE,
        envvar="AVIZOR_CALL_TOKEN_FILE",
        show_envvar=True,
        help="File with the token that the gateway wants.",
    ),
    click.option(
        "--timeout-s",
        metavar="SECONDS",
        type=FiniteRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        help="Seconds to wait for an answer, with all tries.",
    ),
    click.option(
        "--max-answer-mib",
        metavar="MIB",
        type=click.IntRange(1, 2047),
        default=MAX_ANSWER_MIB,
        show_default=True,
        help="Largest answer that is taken, in MiB.",
    ),
)


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options. The command gets `connect`: a function that returns a Client as a context manager."""

    @functools.wraps(command)
    def with_connection(
        *,
        target: str,
        tls: bool,
        ca: Path | None,
        certificate: Path | None,
        key: Path | None,
        server_name: str,
        token_file: Path | None,
        timeout_s: float,
        max_answer_mib: int,
        **options: Any,
    ) -> None:
        encrypted = Tls(ca, certificate, key, server_name) if tls or ca or certificate or key or server_name else None

        logging.getLogger("grpc").setLevel(logging.CRITICAL)  # it writes a traceback for an answer that is none

        @contextlib.contextmanager
        def connect() -> Iterator[Client]:
            with (
                _in_words(target),
                Client(
                    target, tls=encrypted, token_file=token_file, timeout_s=timeout_s, max_answer_mib=max_answer_mib
                ) as client,
            ):
                yield client

        command(connect=connect, **options)

    for option in reversed(_OPTIONS):
        with_connection = option(with_connection)
    return with_connection


@contextlib.contextmanager
def _in_words(target: str) -> Iterator[None]:
    """Let the command end with one line, and exit code 1, for an error of the client."""
    try:
        yield
    except CallFailed as error:
        place = f"; field {error.field}" if error.field else ""
        later = f"; try again in {error.retry_after_s:g} s" if error.retry_after_s else ""
        text = f"{target}: {error}{place}{later} (request id {error.request_id})"
        raise click.ClickException(printable(text)) from error
    except BadAnswer as error:
        raise click.ClickException(printable(f"{target}: {error}")) from error
    except UnicodeEncodeError as error:  # an argument, or a name of a file, that is not UTF-8
        raise click.ClickException(f"{error.object!r} is not UTF-8; write it otherwise, or rename the file") from error
    except ClientError as error:
        raise click.ClickException(printable(str(error))) from error
