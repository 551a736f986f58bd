"""Set the exit code of a job, and push to the Pushgateway that it runs, and every end, whatever it is."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.errors import SettingsError
from avizor_inference.stop_signals import STOP_SIGNALS
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.pushgateway import Heartbeat, PushAccess, Pushgateway, check_gateway

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DEAD_LETTERS = 3
_EXIT_SIGNAL = 128
_SUCCESSES = (0, EXIT_DEAD_LETTERS)

_GATEWAY, _JOB, _TOKEN, _CA = "--pushgateway", "--push-job", "--push-token-file", "--push-ca-file"
DEFAULT_JOB = "avizor-batch"


class PushedEnd:
    """Pushes that a job runs, and how it ends, if there is a Pushgateway.

    Used as a context around the whole job. Whatever is raised inside is pushed and raised again: an error with exit code 1, a
    signal (SystemExit, see avizor_cli) with its own. A push that fails never hides why the job failed. runs_every_s: time
    between two runs in seconds, for the alert on a job that does not run; None: not known.
    """

    def __init__(
        self,
        metrics: BatchMetrics,
        gateway: str | None,
        job: str,
        runs_every_s: float | None = None,
        access: PushAccess | None = None,
    ) -> None:
        self._metrics, self._runs_every_s = metrics, runs_every_s
        self._gateway = Pushgateway(gateway, job, access or PushAccess()) if gateway else None
        self._heartbeat: Heartbeat | None = None
        self._code = EXIT_FAILED

    def leave_at_once(self) -> None:
        """End this process with its exit code when all is said: threads of a library would keep it, or end it otherwise."""
        atexit.register(self._leave)

    def _leave(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(self._code)

    def push(self, code: int) -> str:
        """Push that the job ends now with this exit code; return why that failed, or ""."""
        self._code = code
        self._metrics.finish(code)
        if self._gateway is None:
            return ""
        if self._heartbeat:
            self._heartbeat.stop()
        problem = self._gateway.push_end(self._metrics)
        if problem or code not in _SUCCESSES:
            return problem
        self._metrics.succeed(self._runs_every_s)
        return self._gateway.push_success(self._metrics)

    def __enter__(self) -> PushedEnd:
        if self._gateway:
            self._heartbeat = Heartbeat(self._gateway, self._metrics)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            # Success has been pushed. A signal that arrives while the process ends is too late to change that.
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            return
        code = exit_code(error)
        was_stopped = code > _EXIT_SIGNAL
        with suppress(OSError):  # the terminal may be gone
            if was_stopped:
                name = signal.Signals(code - _EXIT_SIGNAL).name
                click.echo(f"\nstopped by {name}; finished shards are kept: run the same command again to go on", err=True)
        problem = self.push(code)
        with suppress(OSError):
            _warn(self._gateway.address if self._gateway else None, code, problem)
        if was_stopped:  # also if the missing terminal has raised another error since
            raise SystemExit(code) from None


class PushedCommand(GroupedCommand):
    """Runs as a command does, and also pushes wrong usage if the command line says where to."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command."""
        arguments = list(args)  # click empties its own list
        try:
            return super().parse_args(ctx, args)
        except click.UsageError:
            gateway = _value(arguments, _GATEWAY)
            if gateway and "--dry-run" not in arguments:
                token, ca = (Path(value) if (value := _value(arguments, option)) else None for option in (_TOKEN, _CA))
                _push_wrong_usage(gateway, _value(arguments, _JOB) or DEFAULT_JOB, PushAccess(token, ca))
            raise


def exit_code(error: BaseException) -> int:
    """Return the exit code of a job that ends with this error: that of a signal if one stopped it, else 1."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return _EXIT_SIGNAL + signal.SIGINT
        if isinstance(cause, SystemExit) and isinstance(cause.code, int) and cause.code > _EXIT_SIGNAL:
            return cause.code
        cause = cause.__context__
    return EXIT_FAILED


def _push_wrong_usage(gateway: str, job: str, access: PushAccess) -> None:
    with suppress(SettingsError):
        check_gateway(gateway, access)
        _warn(gateway, EXIT_USAGE, PushedEnd(BatchMetrics(), gateway, job, access=access).push(EXIT_USAGE))


def _warn(gateway: str | None, code: int, problem: str) -> None:
    if problem:
        click.echo(f"Warning: exit code {code} could not be pushed to {gateway}: {problem}.", err=True)


def _value(arguments: Sequence[str], option: str) -> str:
    """Return an option's value on a command line that could not be parsed; "" if it is not there."""
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == option:
            return value if equals else " ".join(arguments[index + 1 : index + 2])
    return ""
