"""Decode the items of a request: media in processes with limits, all others where they were received."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import AvizorError, DeadlineExceeded, GatewayFull
from avizor_inference.items.decode import Item, decode_item
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content
from avizor_service import wire
from avizor_service.decoded_memory import CallMemory
from avizor_service.media_decoders import MediaDecoders
from avizor_service.threads import LIGHT_BYTES, Threads

# They end the whole request, and do not become an item's error.
_OF_THE_REQUEST = (DeadlineExceeded, GatewayFull)


# To take a byte of a row out of a message takes so many times as long as to copy and check one of a tensor.
_BYTES_OF_ROW = 16


@dataclass(frozen=True)
class BadItem:
    """Holds an item that cannot be served, and why. It must not cost the other items their answer."""

    error: Exception


async def decode_items(
    items: Sequence[pb.Item],
    spec: InputSpec,
    decoders: MediaDecoders,
    threads: Threads,
    memory: CallMemory,
    time_remaining_s: Callable[[], float | None],
) -> list[Item | BadItem]:
    """Return each item as rows of the model's tensor, or why it cannot be, in the order of the items.

    Raises DeadlineExceeded and GatewayFull, which hold for the whole request.
    """
    decoded: dict[int, Item | BadItem] = {}
    bytes_here = 0  # that this request has decoded on the event loop
    media: list[tuple[int, Content]] = []
    for place, item in enumerate(items):
        try:
            if not wire.is_plain(item):
                content = wire.content(item)
                if content.is_media and spec.takes(content):
                    media.append((place, content))
                    continue
            bytes_here += item.ByteSize() * (_BYTES_OF_ROW if item.HasField("row") else 1)
            if bytes_here <= LIGHT_BYTES:
                found = _decode(item, spec, decoders.max_windows, memory.left)
            else:
                found = await threads.wait_for(_decode, item, spec, decoders.max_windows, memory.left)
            memory.take(found.rows.nbytes)
            decoded[place] = found
        except _OF_THE_REQUEST:
            raise
        except Exception as error:
            decoded[place] = _bad(error)
    if media:
        await _decode_media(media, spec, decoders, memory, time_remaining_s, decoded)
    return [decoded[place] for place in range(len(items))]


async def _decode_media(
    media: Sequence[tuple[int, Content]],
    spec: InputSpec,
    decoders: MediaDecoders,
    memory: CallMemory,
    time_remaining_s: Callable[[], float | None],
    decoded: dict[int, Item | BadItem],
) -> None:
    """Add each item to `decoded` at its place."""
    waiting = iter(media)

    async def decode() -> None:
        for place, content in waiting:
            try:
                item = await decoders.decode(content, spec, time_remaining_s(), memory.left)
                memory.take(item.rows.nbytes)
                decoded[place] = item
            except _OF_THE_REQUEST:
                raise
            except Exception as error:
                decoded[place] = _bad(error)

    decoders.admit(len(media), time_remaining_s())
    # Not more than there are decoders: the rest of this request queues behind what other requests have waiting.
    await _together([decode() for _ in range(min(decoders.count, len(media)))])


def _decode(item: pb.Item, spec: InputSpec, max_windows: int, max_bytes: int) -> Item:
    return decode_item(wire.content(item), spec, max_windows, max_bytes)


def _bad(error: Exception) -> BadItem:
    """Return an item's error. The traceback of one that is told to the caller would hold the request; it is not logged."""
    return BadItem(error.with_traceback(None) if isinstance(error, AvizorError) else error)


async def _together(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Wait until all is done. If a part fails, the others are cancelled."""
    if len(work) == 1:
        await work[0]
        return
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
