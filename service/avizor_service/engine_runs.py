"""Run rows through an engine without holding up the event loop, and leave the engine when the caller is cancelled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from avizor_inference.arrays import Array, Items
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_unchanged
from avizor_service.call_record import current_id, current_traceparent
from avizor_service.engine_results import EngineResults
from avizor_service.leaving import leave, result_of
from avizor_service.light_runs import LightRuns
from avizor_service.outputs import bytes_of
from avizor_service.threads import LIGHT_BYTES, Threads

Outputs = Mapping[str, Array]
TimeRemaining = Callable[[], float | None]

# Batches of one request that the engine has at once, if its rows are more than one batch.
_BATCHES_IN_FLIGHT = 4


class EngineRuns:
    """Runs rows of any number through an engine, for callers on the event loop."""

    def __init__(self, engine: Engine, threads: Threads) -> None:
        self._engine, self._threads = engine, threads
        self._of_loop: tuple[EngineResults, LightRuns] | None = None

    async def run(
        self, spec: ModelSpec, items: Sequence[Items], outputs: Sequence[str], time_remaining_s: TimeRemaining
    ) -> Outputs:
        """Return the named outputs for the rows of all items, [rows, ...] by name, in the order of the rows.

        items: the rows of each item, [rows >= 1, *item_shape]; at least one item. spec: of a version that the engine has
        opened. time_remaining_s: returns the seconds that the engine gets from now on, None for no limit.
        Rows that are more than one batch run in several. Raises what Engine.infer raises.
        """
        rows = items[0] if len(items) == 1 else await self._together(items)
        size = spec.max_batch_size
        if len(rows) <= size:
            return await self._batch(spec, rows, outputs, time_remaining_s)
        running: deque[asyncio.Task[Outputs]] = deque()
        done: list[Outputs] = []
        try:
            for start in range(0, len(rows), size):
                if len(running) == _BATCHES_IN_FLIGHT:
                    done.append(await running.popleft())
                batch = self._batch(spec, rows[start : start + size], outputs, time_remaining_s)
                running.append(asyncio.create_task(batch))
            while running:
                done.append(await running.popleft())
        finally:  # of the batches that are left after an error
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return {name: np.concatenate([part[name] for part in done]) for name in outputs}

    async def _together(self, items: Sequence[Items]) -> Items:
        if sum(rows.nbytes for rows in items) <= LIGHT_BYTES:
            return np.concatenate(items)
        return await self._threads.wait_for(np.concatenate, items)

    async def _batch(self, spec: ModelSpec, rows: Items, outputs: Sequence[str], time_remaining_s: TimeRemaining) -> Outputs:
        (name,) = spec.inputs
        if self._engine.answers_on_loop and (now := self._engine.spec(spec.name, spec.version)) is not spec:
            check_unchanged(now, spec)  # a server may have loaded another model under the name
            if len(rows) > now.max_batch_size:  # or the same one, for smaller batches
                return await self.run(now, [rows], outputs, time_remaining_s)
        said = (current_id(), current_traceparent())
        request = InferRequest(spec.name, {name: rows}, outputs, spec.version, time_remaining_s(), *said)
        if self._engine.answers_on_loop and max(rows.nbytes, bytes_of(spec.outputs, outputs) * len(rows)) <= LIGHT_BYTES:
            return await self._engine.infer_on_loop(request)
        results, light = self._on_this_loop()
        if rows.nbytes <= LIGHT_BYTES:
            answer = await light.run(request, spec.max_batch_size)
            if answer is not None:
                return answer
            if request.timeout_s is not None:  # it may have waited for others
                request = replace(request, timeout_s=time_remaining_s())
            future = self._engine.submit(request)
        else:  # to submit a batch to a server is to copy it, which takes time if it is large
            future = await self._submitted_in_thread(request)
        return await results.result(future)

    async def _submitted_in_thread(self, request: InferRequest) -> Future[dict[str, Array]]:
        submitting = self._threads.waiting.submit(self._engine.submit, request)
        try:
            return await result_of(submitting)
        except asyncio.CancelledError:
            if not submitting.cancelled() and submitting.exception() is None:
                await leave(submitting.result())
            raise

    def _on_this_loop(self) -> tuple[EngineResults, LightRuns]:
        """Return the results that come to this event loop, and the runs on it. Tests use one gateway from several loops."""
        if self._of_loop is None or self._of_loop[0].loop is not asyncio.get_running_loop():
            self._of_loop = EngineResults(), LightRuns(self._engine)
        return self._of_loop
