"""Try things in a process of its own: a library may crash as it is loaded, wait for ever, or write to the terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from avizor_inference.error_text import shortened
from avizor_inference.stop_signals import signals_blocked

# Seconds for all steps of a process. A GPU takes some of them when it is first used.
_LIMIT_S = 60.0


class Tried:
    """Holds a process that takes the steps of steps.py, from its start to its end. It is ended with the block.

    kind: which steps. arguments: what they are taken with.
    """

    def __init__(self, kind: str, *arguments: str) -> None:
        self._started = time.monotonic()
        self._answers: dict[str, dict[str, Any]] | None = None
        self._failure = self.log = ""
        command = [sys.executable, "-P", "-m", "avizor_cli.doctor.steps", kind, *arguments]
        with signals_blocked():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def answer(self, step: str) -> dict[str, Any]:
        """Return what a step has found; `error` in it says why it failed. Waits until all steps are done."""
        found = self.answers().get(step)
        return {"error": self._failure} if found is None else found

    def answers(self) -> dict[str, dict[str, Any]]:
        """Return what each step has found that was finished, in their order."""
        if self._answers is None:
            printed, self.log, self._failure = self._ended()
            self._answers = {}
            for line in printed.splitlines():
                with suppress(ValueError):  # the last one may be cut off
                    self._answers |= json.loads(line)
        return self._answers

    def _ended(self) -> tuple[str, str, str]:
        """Return output, log, and why the process has not done all: used only for steps that are not among its answers."""
        left = self._started + _LIMIT_S - time.monotonic()
        try:
            printed, log = self._process.communicate(timeout=max(left, 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            printed, log = self._process.communicate()
            return printed, log, f"it did not end within {_LIMIT_S:g} s"
        code = self._process.returncode
        if code < 0:
            with suppress(ValueError):
                return printed, log, f"it crashed the process that tried it ({signal.Signals(-code).name})"
        last = (log.strip().splitlines() or ["it says no reason"])[-1]
        return printed, log, f"it ended the process that tried it (exit code {code}): {shortened(last)}"


def load_errors(modules: Sequence[str]) -> dict[str, str]:
    """Return for each module why it cannot be loaded; "" if it can. One that crashes costs no other its answer."""
    found: dict[str, str] = {}
    while left := [each for each in modules if each not in found]:
        with Tried("load", *left) as tried:
            found |= {step: answer.get("error", "") for step, answer in tried.answers().items()}
            if crashed := next((each for each in left if each not in found), None):
                found[crashed] = tried.answer(crashed)["error"]
    return found
