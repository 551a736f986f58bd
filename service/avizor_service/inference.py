"""Run the items of a request together through the engine, and split the results by item."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine
from avizor_inference.errors import (
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    EngineUnavailable,
    ModelNotFound,
    VersionNotLoaded,
)
from avizor_inference.items.decode import Item
from avizor_service import wire
from avizor_service.call_record import call_part
from avizor_service.catalogue import OpenVersion
from avizor_service.decoded_memory import CallMemory, DecodedMemory
from avizor_service.decoding import BadItem, decode_items
from avizor_service.engine_runs import EngineRuns
from avizor_service.item_errors import ItemErrors
from avizor_service.media_decoders import MediaDecoders
from avizor_service.metrics import Metrics
from avizor_service.model_loads import ModelLoads
from avizor_service.outputs import WINDOW_BYTES, bytes_of, check_answer
from avizor_service.threads import Threads

__all__ = ["BadItem", "Inference", "ItemResult"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class ItemResult:
    """Holds one item, and each output of the model for it: [windows, *item_shape]."""

    item: Item
    outputs: Mapping[str, Array]


class Inference:
    """Runs items through the models of an engine. max_answer_mib: of the outputs for all items of a request."""

    def __init__(
        self,
        engine: Engine,
        threads: Threads,
        metrics: Metrics,
        decoders: MediaDecoders,
        memory: DecodedMemory,
        max_answer_mib: int = 64,
        max_wait_s: float = 2.0,
    ) -> None:
        self.loads = ModelLoads(max_wait_s, metrics)
        self.item_errors = ItemErrors(metrics)
        self._engine = engine
        self._runs, self._threads, self._metrics = EngineRuns(engine, threads), threads, metrics
        self._decoders, self._memory, self._max_answer_mib = decoders, memory, max_answer_mib

    async def run(
        self,
        model: OpenVersion,
        items: Sequence[pb.Item],
        outputs: Sequence[str],
        time_remaining_s: Callable[[], float | None],
        window_bytes: int = WINDOW_BYTES,
    ) -> list[ItemResult | BadItem]:
        """Return the named outputs for each item, in the order of the items. Each item is decoded, then all run together.

        time_remaining_s: the seconds that decoding, and then the engine, get; None for no limit. window_bytes: of the answer
        for each window, besides these outputs. Raises AnswerTooLarge before anything runs, and what decode_items and
        Engine.infer raise; if a run fails at some items only, these are bad items. Decoded windows count as work of the
        model until the end.
        """
        with self._memory.of_call() as memory:
            return await self._run_in(memory, model, items, outputs, time_remaining_s, window_bytes)

    async def run_then(
        self,
        model: OpenVersion,
        items: Sequence[pb.Item],
        outputs: Sequence[str],
        time_remaining_s: Callable[[], float | None],
        then: Callable[[list[ItemResult | BadItem]], Result],
    ) -> Result:
        """Return what `then` makes of the results of `run`, in a thread. Until it has, items and outputs count as memory."""
        with self._memory.of_call() as memory:
            results = await self._run_in(memory, model, items, outputs, time_remaining_s, WINDOW_BYTES)
            return await self._threads.wait_for(then, results)

    def memory_of_call(self) -> CallMemory:
        """Return the memory of one call, for `decode`: `with inference.memory_of_call() as memory: ...`."""
        return self._memory.of_call()

    async def decode(
        self,
        memory: CallMemory,
        model: OpenVersion,
        items: Sequence[pb.Item],
        time_remaining_s: Callable[[], float | None],
    ) -> list[Item | BadItem]:
        """Return each item as rows of the model's tensor, in the order of the items. They count as memory of the call.

        Raises what decode_items raises.
        """
        name = model.version.name
        self.item_errors.asked(name, len(items))
        with call_part("decode"):
            decoded = await decode_items(items, model.manifest.input, self._decoders, self._threads, memory, time_remaining_s)
        for item in decoded:
            if isinstance(item, BadItem):
                self.item_errors.count(name, item.error)
        if clipped := sum([item.level.beyond > 0 for item in decoded if isinstance(item, Item)]):
            self._metrics.clipped.labels(name).inc(clipped)
        return decoded

    async def _run_in(
        self,
        memory: CallMemory,
        model: OpenVersion,
        items: Sequence[pb.Item],
        outputs: Sequence[str],
        time_remaining_s: Callable[[], float | None],
        window_bytes: int,
    ) -> list[ItemResult | BadItem]:
        decoded = await self.decode(memory, model, items, time_remaining_s)
        good = [item for item in decoded if isinstance(item, Item)]
        windows = sum([len(item.rows) for item in good])
        size = bytes_of(model.spec.outputs, outputs)
        check_answer(size + window_bytes, windows, outputs, self._max_answer_mib)
        if not good:
            return [item for item in decoded if isinstance(item, BadItem)]
        memory.take_answer(size * windows)
        if not all(map(wire.is_plain, items)):  # other calls came to the model while these waited for a decoder
            self.loads.admit(model.version.name, time_remaining_s())
        # Not before: items that wait for a decoder must not hold up those that need none.
        with self.loads.of(model.version.name).work(windows):
            if len(decoded) == 1:
                return [ItemResult(good[0], await self._infer(model, [good[0].rows], outputs, time_remaining_s))]
            results = await self._of_each(model, [item.rows for item in good], outputs, time_remaining_s)
        errors = [result for result in results if isinstance(result, EngineError)]
        if len(errors) == len(results):  # then it is not about one item
            raise errors[0]
        for error in errors:
            self.item_errors.count(model.version.name, error)
        shares = iter(map(_result_of, good, results))
        return [next(shares) if isinstance(item, Item) else item for item in decoded]

    async def _of_each(
        self,
        model: OpenVersion,
        items: Sequence[Array],
        outputs: Sequence[str],
        time_remaining_s: Callable[[], float | None],
    ) -> list[Mapping[str, Array] | EngineError]:
        """Return the named outputs for the rows of each item, or the error with which its run failed.

        All run together. If that fails, each half of them does, until the items are alone that make a run fail: some graphs
        do at some values, such as an index that a table does not have. Raises what holds for the whole call.
        """
        try:
            return [*_split(await self._infer(model, items, outputs, time_remaining_s), [len(rows) for rows in items])]
        except (EngineUnavailable, DeadlineExceeded, EngineBusy):
            raise
        except EngineError as error:
            if len(items) == 1:
                return [error.with_traceback(None)]  # which would hold the rows
        half = len(items) // 2
        first = await self._of_each(model, items[:half], outputs, time_remaining_s)
        return first + await self._of_each(model, items[half:], outputs, time_remaining_s)

    def statistics(self, model: str = "", version: int | None = None) -> list[Any]:
        """See Engine.statistics."""
        return self._engine.statistics(model, version)

    async def run_tensor(
        self, model: OpenVersion, rows: Array, outputs: Sequence[str], time_remaining_s: Callable[[], float | None]
    ) -> Mapping[str, Array]:
        """Return the named outputs for the only tensor of a call, [n, *item_shape], as many rows as one batch has at most.

        Rows and outputs count as memory, and the rows as work of the model, until the end. Raises AnswerTooLarge before
        anything runs, GatewayFull, and what Engine.infer raises.
        """
        size = bytes_of(model.spec.outputs, outputs)
        check_answer(size, len(rows), outputs, self._max_answer_mib)
        with self._memory.of_call() as memory:
            memory.take(rows.nbytes)
            memory.take_answer(size * len(rows))
            with self.loads.of(model.version.name).work(len(rows)):
                return await self._infer(model, [rows], outputs, time_remaining_s)

    async def run_rows(
        self, model: OpenVersion, rows: Array, outputs: Sequence[str], timeout_s: float | None
    ) -> Mapping[str, Array]:
        """Return the named outputs for rows of the model's tensor, [n, *item_shape]. Raises what Engine.infer raises."""
        return await self._infer(model, [rows], outputs, lambda: timeout_s)

    async def run_turn(
        self,
        model: OpenVersion,
        rows: Array,
        outputs: Sequence[str],
        time_remaining_s: Callable[[], float | None],
        turn: asyncio.Semaphore,
    ) -> Mapping[str, Array]:
        """Return the named outputs for a part of a call's rows, [n, *item_shape], when the call has its `turn`.

        Rows and outputs count as memory until the end, and from the turn on as work of the model, which others have to wait
        for. Raises GatewayFull if there is no memory, and what Engine.infer raises.
        """
        with self._memory.of_call() as memory:
            memory.take_answer(rows.nbytes + bytes_of(model.spec.outputs, outputs) * len(rows))
            async with turn:
                with self.loads.of(model.version.name).work(len(rows)):
                    return await self._infer(model, [rows], outputs, time_remaining_s)

    def note_clipped(self, model: OpenVersion) -> None:
        """Count a stream with samples beyond full scale."""
        self._metrics.clipped.labels(model.version.name).inc()

    async def _infer(
        self,
        model: OpenVersion,
        items: Sequence[Array],
        outputs: Sequence[str],
        time_remaining_s: Callable[[], float | None],
    ) -> Mapping[str, Array]:
        try:
            with call_part("engine"):  # its queue, and its runs
                return await self._runs.run(model.spec, items, outputs, time_remaining_s)
        except EngineUnavailable:  # it is away, or another version has taken over
            model.forget_newest()
            raise
        except ModelNotFound as error:  # it has come back with other versions
            model.forget_newest()
            raise VersionNotLoaded(str(error)) from error


def _result_of(item: Item, outputs: Mapping[str, Array] | EngineError) -> ItemResult | BadItem:
    return BadItem(outputs) if isinstance(outputs, EngineError) else ItemResult(item, outputs)


def _split(outputs: Mapping[str, Array], sizes: Sequence[int]) -> list[dict[str, Array]]:
    """Split outputs of [rows, ...] into one share for each item, of as many rows as `sizes` says."""
    ends = np.cumsum([0, *sizes])
    return [{name: array[start:end] for name, array in outputs.items()} for start, end in pairwise(ends)]
