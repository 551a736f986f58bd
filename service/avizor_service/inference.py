"""Decode the items of a request, run them together through the engine, and split the results by item."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine
from avizor_inference.errors import EngineError, ModelNotFound
from avizor_inference.items.decode import Item, decode_item
from avizor_service import wire
from avizor_service.catalogue import OpenVersion
from avizor_service.engine_runs import EngineRuns
from avizor_service.metrics import Metrics
from avizor_service.threads import LIGHT_BYTES, Threads


@dataclass(frozen=True)
class ItemResult:
    """Holds one item, and each output of the model for it: [windows, *item_shape]."""

    item: Item
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class BadItem:
    """Holds an item that cannot be served, and why. It must not cost the other items their answer."""

    error: Exception


class Inference:
    """Runs items through the models of an engine. max_windows: of one recording; a longer one is a bad item."""

    def __init__(self, engine: Engine, threads: Threads, metrics: Metrics, max_windows: int) -> None:
        self._runs, self._threads, self._metrics, self._max_windows = EngineRuns(engine, threads), threads, metrics, max_windows

    async def run(
        self,
        model: OpenVersion,
        items: Sequence[pb.Item],
        outputs: Sequence[str],
        time_remaining_s: Callable[[], float | None],
    ) -> list[ItemResult | BadItem]:
        """Return the named outputs for each item, in the order of the items. Each item is decoded, then all run together.

        time_remaining_s is asked after decoding: the seconds that the engine gets, None for no limit. Raises what
        Engine.infer raises.
        """
        decoded = await self._decoded(model, items)
        good = [item for item in decoded if isinstance(item, Item)]
        if clipped := sum(item.level.beyond > 0 for item in good):
            self._metrics.clipped.labels(model.version.name).inc(clipped)
        if not good:
            return [item for item in decoded if isinstance(item, BadItem)]
        try:
            result = await self._runs.run(model.spec, [item.rows for item in good], outputs, time_remaining_s)
        except (EngineError, ModelNotFound):  # it is away, or has come back with other versions
            model.forget_newest()
            raise
        if len(decoded) == 1:
            return [ItemResult(good[0], result)]
        shares = iter(_split(result, [len(item.rows) for item in good]))
        return [ItemResult(item, next(shares)) if isinstance(item, Item) else item for item in decoded]

    async def _decoded(self, model: OpenVersion, items: Sequence[pb.Item]) -> Sequence[Item | BadItem]:
        """Return each item decoded. Small tensors and rows are decoded here: that takes less time than the way to a thread."""
        if all(map(wire.is_plain, items)) and sum(item.ByteSize() for item in items) <= LIGHT_BYTES:
            return [self._decode(item, model) for item in items]
        return await asyncio.gather(*(self._decode_in_thread(item, model) for item in items))

    async def _decode_in_thread(self, item: pb.Item, model: OpenVersion) -> Item | BadItem:
        run = self._threads.wait_for if wire.is_plain(item) else self._threads.decode  # a tensor does not queue behind files
        return await run(self._decode, item, model)

    def _decode(self, item: pb.Item, model: OpenVersion) -> Item | BadItem:
        try:
            return decode_item(wire.content(item), model.manifest.input, self._max_windows)
        except Exception as error:
            return BadItem(error)


def _split(outputs: Mapping[str, Array], sizes: Sequence[int]) -> list[dict[str, Array]]:
    """Split outputs of [rows, ...] into one share for each item, of as many rows as `sizes` says."""
    ends = np.cumsum([0, *sizes])
    return [{name: array[start:end] for name, array in outputs.items()} for start, end in pairwise(ends)]
