"""Wrap an engine so that a test decides when its runs end, and sees what was run."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec


class HeldEngine(Engine):
    """Passes each run on to a real engine once the test lets it: between `hold()` and `let_go()` runs begin, and wait."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self._held = False
        self._ends, self._begins = threading.Semaphore(0), threading.Semaphore(0)
        self.runs: list[InferRequest] = []
        self.threads: list[threading.Thread] = []  # of each run

    @property
    def sizes(self) -> list[int]:
        """Return the rows of each run, in the order in which the runs began."""
        return [len(next(iter(request.inputs.values()))) for request in self.runs]

    def hold(self) -> None:
        """Hold runs from now on."""
        self._held = True

    def let_one_go(self) -> None:
        """Let one run end; others are still held."""
        self._ends.release()

    def let_go(self) -> None:
        """Let all runs end."""
        self._held = False
        self._ends.release(1000)

    def wait_for_run(self) -> None:
        """Wait until one more run has begun."""
        assert self._begins.acquire(timeout=30)

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec."""
        return self._inner.spec(model, version)

    def infer(self, request: InferRequest) -> dict[str, Array]:
        """See Engine.infer."""
        self.runs.append(request)
        self.threads.append(threading.current_thread())
        self._begins.release()
        if self._held:
            assert self._ends.acquire(timeout=30)
        return self._inner.infer(request)

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit. Not held."""
        return self._inner.submit(request)

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready."""
        return self._inner.ready(timeout_s)

    def close(self) -> None:
        """See Engine.close."""
        self._inner.close()
