"""Run `avizor COMMAND`, and report errors in one line."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

import click

from avizor_cli.always_needed import module_of
from avizor_cli.standard_files import forget_unwritten, open_standard_files, written_out
from avizor_cli.stop_signals import clean_up_when_stopped, hold_hangup, stop_behind
from avizor_cli.subcommands import SubCommands, runs_code_of_users
from avizor_cli.warning_lines import WarningLines
from avizor_inference.error_text import lacks_open_files, printable_lines, reason, remedy
from avizor_inference.errors import AvizorError
from avizor_inference.no_pandas import leave_out_pandas


@click.group(cls=SubCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="avizor", prog_name="avizor")
def avizor() -> None:
    """Take trained CNN classifiers and autoencoders from PyTorch to production, and flag what looks wrong."""


def main() -> None:
    """Run the command. Exit code: 1 and one line for an error, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP."""
    hold_hangup(sys.argv[1:])
    if not runs_code_of_users(sys.argv[1:]):
        leave_out_pandas()
    open_standard_files()
    clean_up_when_stopped()
    # Waiting threads of torch sleep instead of spinning. Spinning costs several times the computation's own time on a busy
    # machine (docs/decisions/0027). Set before any sub-command imports torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # gRPC writes to standard error by itself, a line for each TLS handshake that fails: strangers could fill a gateway's log,
    # and where nobody reads it, all calls would wait. What matters is raised as an error. Set before gRPC is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # gRPC for Python logs what it raises, with a traceback: a message that is not of the protocol.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    lines = logging.StreamHandler()
    lines.setFormatter(WarningLines())
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    try:
        with written_out():
            avizor()
    except AvizorError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"not enough memory ({error}); choose smaller sizes, or use a machine with more memory")
    except OSError as error:
        named = "" if lacks_open_files(error) else error.filename  # then it is no matter of that file
        _fail(f"{named or 'a file or a connection'}: {reason(error)}; {remedy(error, 'fix that')}, and run the command again")
    except Exception as error:
        if code := stop_behind(error):
            sys.exit(code)
        package = module_of(error).partition(".")[0] if isinstance(error, ImportError) else ""
        if not package or package.startswith("avizor"):
            raise
        _fail(f"{package} cannot be loaded ({error}); `avizor doctor` says what to install")
    finally:
        forget_unwritten()


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {printable_lines(message)}", err=True)  # it may quote the name of a file
    sys.exit(1)
