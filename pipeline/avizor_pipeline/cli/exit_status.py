"""How a job ends: its exit codes, and that every end is pushed, whatever it is."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress

import click

from avizor_inference.errors import SettingsError
from avizor_inference.stop_signals import STOP_SIGNALS
from avizor_pipeline.reporting.metrics import BatchMetrics, check_gateway

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DEAD_LETTERS = 3
_EXIT_SIGNAL = 128

_GATEWAY, _JOB = "--pushgateway", "--push-job"
DEFAULT_JOB = "avizor-batch"


class Ends:
    """Tells the Pushgateway how a job ended, if there is one.

    Used as a context over the whole job. Whatever is raised within is pushed and goes on: an error with exit code 1, a signal
    (SystemExit, see avizor_cli) with its own. That a push failed never hides why the job did.
    """

    def __init__(self, metrics: BatchMetrics, gateway: str | None, job: str) -> None:
        self._metrics, self._gateway, self._job = metrics, gateway, job

    def push(self, code: int) -> str:
        """Push that the job has ended with this exit code, now; return why that failed, or nothing."""
        self._metrics.finish(code)
        return self._metrics.push(self._gateway, self._job) if self._gateway else ""

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            # Its success has been told: a signal that comes as the process ends is too late to change that.
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            return
        code = exit_code(error)
        stopped = code > _EXIT_SIGNAL
        with suppress(OSError):  # a terminal that is gone
            if stopped:
                name = signal.Signals(code - _EXIT_SIGNAL).name
                click.echo(f"\nstopped by {name}; finished shards are kept: run the same command again to go on", err=True)
        problem = self.push(code)
        with suppress(OSError):
            _warn(self._gateway, code, problem)
        if stopped:  # also where a terminal that is gone has raised something since
            raise SystemExit(code) from None


class PushedCommand(click.Command):
    """A command whose wrong usage is pushed as well, as far as the command line says where."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError:
            gateway = _value(given, _GATEWAY)
            if gateway and "--dry-run" not in given:
                _push_wrong_usage(gateway, _value(given, _JOB) or DEFAULT_JOB)
            raise


def exit_code(error: BaseException) -> int:
    """The exit code of a job that ends with this error: that of a signal if it was stopped, else 1."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return _EXIT_SIGNAL + signal.SIGINT
        if isinstance(cause, SystemExit) and isinstance(cause.code, int) and cause.code > _EXIT_SIGNAL:
            return cause.code
        cause = cause.__context__
    return EXIT_FAILED


def _push_wrong_usage(gateway: str, job: str) -> None:
    with suppress(SettingsError):
        check_gateway(gateway)
        _warn(gateway, EXIT_USAGE, Ends(BatchMetrics(), gateway, job).push(EXIT_USAGE))


def _warn(gateway: str | None, code: int, problem: str) -> None:
    if problem:
        click.echo(f"Warning: exit code {code} could not be pushed to {gateway}: {problem}.", err=True)


def _value(args: Sequence[str], option: str) -> str:
    """The option's value on a command line that could not be parsed; nothing if it is not there."""
    for index, argument in enumerate(args):
        name, equals, value = argument.partition("=")
        if name == option:
            return value if equals else " ".join(args[index + 1 : index + 2])
    return ""
