"""decoding.py and decoded_memory.py: every item keeps its place, and what all of them take in memory is bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from integration.gateway import png, wav
from support.sounds import SOUND, tone

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import DeadlineExceeded, DecoderEnded, GatewayFull, MediaError
from avizor_inference.items.decode import Item
from avizor_inference.items.kinds.audio import SoundFile
from avizor_service.decoded_memory import DecodedMemory
from avizor_service.decoders.messages import MOST_HEAD_BYTES, PREFIX, Answer, Limits, Request, pack_error
from avizor_service.decoding import BadItem, decode_items
from avizor_service.media_decoders import MediaDecoders, open_media_decoders
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings
from avizor_service.threads import open_threads

WINDOW = 4096 * 4  # bytes of a row of SOUND
TENSOR = pb.Item(tensor=pb.Tensor(dtype="float32", shape=[4096], data=np.zeros(4096, np.float32).tobytes()))


@pytest.fixture(scope="module")
def decoders() -> Iterator[MediaDecoders]:
    with open_media_decoders(Settings(Path("models")), Metrics()) as decoders:
        yield decoders


def decode(
    decoders: MediaDecoders, items: list[pb.Item], memory: DecodedMemory, timeout_s: float | None = None
) -> list[Item | BadItem]:
    async def run() -> list[Item | BadItem]:
        with memory.of_call() as call, open_threads(1) as threads:
            return await decode_items(items, SOUND, decoders, threads, call, lambda: timeout_s)

    return asyncio.run(run())


@pytest.mark.parametrize("character", ["x", "\0", "\N{GRINNING FACE}", "\udcff"])
def test_an_error_of_the_longest_text_is_told_whole(character: str) -> None:
    message, _ = pack_error(RuntimeError(4000 * character), 4000 * character)
    assert len(message) <= MOST_HEAD_BYTES
    request = Request(SoundFile(b""), SOUND, Limits(windows=3, bytes=1 << 20))
    with pytest.raises(RuntimeError) as caught:
        Answer(request, bytes(message[PREFIX.size :]), 0).item()
    assert str(caught.value).count(character) >= 8000


def test_every_item_keeps_its_place_whatever_decodes_it(decoders: MediaDecoders) -> None:
    items: list[pb.Item] = []
    for windows in (3, 1, 2, 4, 1):
        items += [pb.Item(audio=wav(tone(windows * 0.512))), TENSOR, pb.Item(image=png(np.zeros((4, 4), np.uint8))), pb.Item()]
    decoded = decode(decoders, items, DecodedMemory(64))
    assert [len(item.rows) for item in decoded[::4] if isinstance(item, Item)] == [3, 1, 2, 4, 1]
    assert [len(item.rows) for item in decoded[1::4] if isinstance(item, Item)] == [1] * 5
    for bad, message in ((decoded[2::4], "the item holds image; the model takes audio"), (decoded[3::4], "holds nothing")):
        assert all(isinstance(item, BadItem) and message in str(item.error) for item in bad)


def test_a_call_beyond_its_share_of_memory_loses_only_what_is_too_much(decoders: MediaDecoders) -> None:
    items = [TENSOR] * 60 + [pb.Item(audio=wav(tone(5 * 0.512))), TENSOR]
    decoded = decode(decoders, items, DecodedMemory(4))  # MiB: a call may have 64 rows
    assert all(isinstance(item, Item) for item in decoded[:60] + decoded[61:])
    refused = decoded[60]
    assert isinstance(refused, BadItem)
    assert isinstance(refused.error, MediaError)
    assert "send shorter recordings, or fewer items in one request" in str(refused.error)


def test_a_request_past_its_deadline_ends_as_a_whole(decoders: MediaDecoders) -> None:
    items = [pb.Item(audio=wav(tone(1.0)))] * 5
    with pytest.raises(DeadlineExceeded):
        decode(decoders, items, DecodedMemory(64), timeout_s=1e-9)
    assert all(isinstance(item, Item) for item in decode(decoders, items, DecodedMemory(64), timeout_s=60))


def test_the_memory_of_all_calls_is_free_again_after_them() -> None:
    memory = DecodedMemory(1)
    share = 2**18
    with memory.of_call() as one, memory.of_call() as two, memory.of_call() as three, memory.of_call() as four:
        for call in (one, two, three, four):
            call.take(share)
            assert call.left == 0
            with pytest.raises(MediaError, match="the items of the request decode to more than 0 MiB together"):
                call.take(1)
        with memory.of_call() as late, pytest.raises(GatewayFull, match="take 1 MiB of the 1 MiB that this gateway allows"):
            late.take(1)
    with memory.of_call() as call:
        call.take(share)


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize(
    ("head", "body_bytes"),
    [
        (b"{", 0),
        (b"[]", 0),
        (b'{"rows": "many"}', 0),
        (b'{"rows": Infinity}', 0),
        (b"[" * 50_000, 0),
        (json.dumps({"rows": 5, "spans": True}).encode(), 5 * (WINDOW + 24)),  # more windows than allowed
        (json.dumps({"rows": 4, "spans": True}).encode(), 4 * (WINDOW + 24)),  # more bytes than allowed
        (json.dumps({"rows": 2, "spans": True}).encode(), 2 * WINDOW),
        (json.dumps({"rows": -1}).encode(), 0),
        (json.dumps({"rows": 0}).encode(), 0),
        (json.dumps({"rows": 2}).encode(), 2 * WINDOW),  # and no level
        (json.dumps({"error": "MediaError", "offset": "x"}).encode(), 0),
        (b'{"error": "MediaError", "offset": Infinity}', 0),
    ],
)
def test_a_decoder_cannot_make_the_gateway_take_what_the_item_may_not_have(head: bytes, body_bytes: int) -> None:
    request = Request(SoundFile(b""), SOUND, Limits(windows=4, bytes=3 * WINDOW))
    with pytest.raises(DecoderEnded, match="it gave no valid answer"):
        Answer(request, head, body_bytes).item()
