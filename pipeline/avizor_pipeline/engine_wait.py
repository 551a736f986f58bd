"""Wait for an engine that is away for a while: a server that is started again, a machine that reboots."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from avizor_inference.errors import EngineMismatch, EngineUnavailable, ModelNotFound, VersionNotLoaded
from avizor_pipeline.watch import Watch

T = TypeVar("T")

# Seconds in which an engine may be away. A server that loads large models takes minutes.
ENGINE_WAIT_S = 300.0

_ASK_EVERY_S = 0.5

_START = "start it, or mend what is between, and run the same command again to go on"
_MEND = "mend that, and run the same command again to go on"
_LOAD = (
    "load that version again (`avizor models load NAME --version N`), and run the same command again to go on, or name another "
    "--out to begin anew with the version that is served"
)


def wait_line(waits: bool) -> str:
    """Return what the log says when a job begins to wait for its engine, and when it goes on."""
    if not waits:
        return "the engine is back"
    return (
        "the engine is away, or does not answer with the job's version of a model; it is waited for (--engine-wait-s), and if "
        "that does not help, an error says what is wrong"
    )


@dataclass(frozen=True)
class EngineWait:
    """Asks an engine again while it is away. limit_s: for how many seconds, each time. watch: shows that a worker waits."""

    limit_s: float = 0.0
    watch: Watch = field(default_factory=Watch)

    def answer(self, ask: Callable[[], T]) -> T:
        """Return what `ask` returns. Raises EngineUnavailable if the engine stays away for too long, and what `ask` raises."""
        try:
            return ask()
        except EngineUnavailable as error:
            if not self.limit_s:
                raise
            return self.answer_later(ask, error)

    def answer_later(self, ask: Callable[[], T], error: EngineUnavailable) -> T:
        """Do this for an engine that has just been away. error: what it said."""
        if not self.limit_s:
            raise error
        deadline = time.monotonic() + self.limit_s
        self.watch.waits = True
        try:
            while time.monotonic() < deadline:
                time.sleep(_ASK_EVERY_S)
                try:
                    return ask()
                except EngineUnavailable as again:
                    error = again
                except ModelNotFound as loading:  # a server that has just come back has not loaded its models
                    error = EngineUnavailable(str(loading))
        finally:
            self.watch.waits = False
        advice = _LOAD if isinstance(error, VersionNotLoaded) else _MEND if isinstance(error, EngineMismatch) else _START
        raise EngineUnavailable(
            f"{error}; that lasted {self.limit_s:g} s (--engine-wait-s), and finished shards are kept: {advice}"
        ) from error
