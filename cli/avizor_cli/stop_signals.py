"""End a command in the same way on Ctrl-C, SIGTERM and a closed terminal: it cleans up; its exit code is 128 + the signal."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from avizor_inference.stop_signals import STOP_SIGNALS

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

# Seconds within which a second signal is ignored: `timeout` and some service managers send one signal twice, to the process and
# to its group.
_SAME_S = 0.5
# Seconds until a stop is tried again that came where Python ignores exceptions.
_AGAIN_S = 0.01

# The command that does not end with SIGHUP. It lets the signal through once it serves.
_READS_AGAIN = "serve"

_stopped_at: float | None = None


def clean_up_when_stopped() -> None:
    """Make the first of these signals raise SystemExit from now on, and a second one end the process at once."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored already by nohup, or by the `&` of a shell
            signal.signal(number, _stop)
    sys.unraisablehook = _not_raised


def hold_hangup(arguments: Sequence[str]) -> None:
    """Keep SIGHUP waiting if the arguments name a command that reads files again then, until it is ready to."""
    if arguments[:1] == [_READS_AGAIN]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def stop_behind(error: BaseException | None) -> int:
    """Return the exit code of the stop from which an error came; 0 for none.

    Libraries in C raise an error of their own for what is raised while they are imported.
    """
    while error is not None and not isinstance(error, SystemExit):
        error = error.__cause__ or error.__context__
    return int(error.code or 0) if isinstance(error, SystemExit) and _stopped_at is not None else 0


def _stop(number: int, frame: FrameType | None) -> None:
    global _stopped_at
    if _is_finalizer(frame):
        _stop_again(number)
        return
    now = time.monotonic()
    if _stopped_at is None:
        _stopped_at = now
        raise SystemExit(128 + number)
    if now - _stopped_at > _SAME_S:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _is_finalizer(frame: FrameType | None) -> bool:
    """Tell whether an object is being deleted, where Python ignores exceptions, and libraries catch all of them."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _not_raised(ignored: UnraisableHookArgs) -> None:
    """Stop a moment later if the signal came in other code whose exceptions Python ignores, such as a callback of a weakref."""
    global _stopped_at
    if _stopped_at is not None and isinstance(ignored.exc_value, SystemExit):
        _stopped_at = None
        _stop_again(int(ignored.exc_value.code or 0) - 128)
    else:
        sys.__unraisablehook__(ignored)


def _stop_again(number: int) -> None:
    signal.signal(signal.SIGALRM, lambda _, frame: _stop(number, frame))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
