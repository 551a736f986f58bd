"""Give code that runs in a thread an engine, through which the batches of one call take turns with those of others."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_request
from avizor_inference.errors import DeadlineExceeded
from avizor_service.catalogue import OpenVersion
from avizor_service.inference import Inference
from avizor_service.leaving import leave
from avizor_service.threads import Threads

Result = TypeVar("Result")


class EngineTurns(Engine):
    """Runs batches of one model for one call. It has one batch at the engine at a time, so that others get their turns.

    Each goes the way of every other call's rows, on the event loop that creates this object: it counts as work of the model and
    as memory, and has the time that the call has left. rows: how many have run, or wait to.
    """

    def __init__(
        self, inference: Inference, model: OpenVersion, threads: Threads, time_remaining_s: Callable[[], float | None]
    ) -> None:
        self._inference, self._model, self._threads = inference, model, threads
        self._time_remaining_s, self._loop = time_remaining_s, asyncio.get_running_loop()
        self._turn = asyncio.Semaphore(1)
        self._running: set[asyncio.Task[dict[str, Array]]] = set()
        self._is_left = False
        self.rows = 0

    def is_left(self) -> bool:
        """Return whether the caller was cancelled: what is done for it is done in vain. Any thread may ask."""
        return self._is_left

    async def in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Return `function(*arguments)`, run by one of the threads. The function may use this engine.

        If the caller is cancelled, so is what waits at the engine; no more is run, and the function is waited for.
        """
        # The thread works for the same call, as do the batches that it asks for.
        running = self._threads.waiting.submit(copy_context().run, function, *arguments)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            self._is_left = True
            for task in self._running:
                task.cancel()
            await leave(running)
            raise
        finally:
            del running, arguments  # an error's traceback holds this frame

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec. It is that of the only model, whatever is asked for."""
        return self._model.spec

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit: for a thread. Raises CancelledError of concurrent.futures if the caller was cancelled."""
        if self._is_left:
            raise concurrent.futures.CancelledError
        remaining = self._time_remaining_s()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded("the deadline passed before the explanation was done; allow more time, or ask for less")
        self.rows += check_request(self._model.spec, request)
        return asyncio.run_coroutine_threadsafe(self._run(request), self._loop)

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready."""
        return True

    def close(self) -> None:
        """Do nothing: the engine is the gateway's."""

    async def _run(self, request: InferRequest) -> dict[str, Array]:
        task = asyncio.current_task()
        assert task is not None, "run_coroutine_threadsafe makes one"
        if self._is_left:
            raise asyncio.CancelledError
        self._running.add(task)
        try:
            (rows,) = request.inputs.values()
            run = self._inference.run_turn(self._model, rows, request.outputs, self._time_remaining_s, self._turn)
            return dict(await run)
        finally:
            self._running.discard(task)
