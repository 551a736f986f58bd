"""Decode the items of a request, run them together through the engine, and split the results by item."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.items.decode import Item, decode_item
from avizor_service import wire
from avizor_service.catalogue import OpenVersion
from avizor_service.metrics import Metrics
from avizor_service.threads import Threads


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
        self._engine, self._threads, self._metrics, self._max_windows = engine, threads, metrics, max_windows

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
        decoded = await asyncio.gather(*(self._threads.decode(self._decode, item, model) for item in items))
        good = [item for item in decoded if isinstance(item, Item)]
        self._metrics.clipped.labels(model.version.name).inc(sum(item.level.beyond > 0 for item in good))
        if not good:
            return [item for item in decoded if isinstance(item, BadItem)]
        together = np.concatenate([item.rows for item in good])
        result = await self._threads.wait_for(self._infer, model, together, outputs, time_remaining_s())
        shares = iter(_split(result, [len(item.rows) for item in good]))
        return [ItemResult(item, next(shares)) if isinstance(item, Item) else item for item in decoded]

    async def run_rows(
        self, model: OpenVersion, rows: Array, outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Return the named outputs for rows of the model's tensor, [n, *item_shape]. Raises what Engine.infer raises."""
        return await self._threads.wait_for(self._infer, model, rows, outputs, timeout_s)

    def note_clipped(self, model: OpenVersion) -> None:
        """Count a stream with samples beyond full scale."""
        self._metrics.clipped.labels(model.version.name).inc()

    def _decode(self, item: pb.Item, model: OpenVersion) -> Item | BadItem:
        try:
            return decode_item(wire.content(item), model.manifest.input, self._max_windows)
        except Exception as error:
            return BadItem(error)

    def _infer(self, model: OpenVersion, rows: Array, outputs: Sequence[str], timeout_s: float | None) -> dict[str, Array]:
        (input_name,) = model.spec.inputs
        request = InferRequest(model.spec.name, {input_name: rows}, outputs, model.spec.version, timeout_s)
        return infer_rows(self._engine, request)


def _split(outputs: Mapping[str, Array], sizes: Sequence[int]) -> list[dict[str, Array]]:
    """Split outputs of [rows, ...] into one share for each item, of as many rows as `sizes` says."""
    ends = np.cumsum([0, *sizes])
    return [{name: array[start:end] for name, array in outputs.items()} for start, end in pairwise(ends)]
