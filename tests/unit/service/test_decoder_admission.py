"""Calls that wait for decoders: a real server on a real connection, with one decoder and pictures that take long to decode."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from integration.gateway import png
from unit.service.gateways import open_gateway
from unit.service.test_admission import refusal, retry_delay_s

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc
from avizor_service.calls import Calls
from avizor_service.metrics import Metrics
from avizor_service.servicer import handlers
from avizor_service.streams import Streams

SLOW = pb.Item(image=png(np.zeros((3000, 3000), np.uint8)))  # some 30 ms
REQUEST = pb.ClassifyRequest(model="digits", items=[SLOW])
PLAIN = pb.Item(tensor=pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=bytes(32 * 32)))


@contextlib.asynccontextmanager
async def served(models: Path, max_wait_s: float, metrics: Metrics) -> AsyncIterator[inference_pb2_grpc.InferenceServiceStub]:
    """Yield a client of a gateway that knows how long the pictures take."""
    with open_gateway(models, metrics, max_wait_s=max_wait_s, decoders=1) as gateway:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((handlers(gateway, Calls(metrics, 64), Streams(metrics, 1)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            await stub.Classify(pb.ClassifyRequest(model="digits", items=[SLOW] * 15))
            yield stub
        await server.stop(grace=5)


def rejected(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("avizor_rejected_total", {"reason": "decoders"}) or 0.0


async def first_refusal(calls: list[Any]) -> grpc.aio.AioRpcError:
    """The error of the first call that fails, without waiting for the others."""
    for ended in asyncio.as_completed(calls):
        try:
            await ended
        except grpc.aio.AioRpcError as error:
            return error
    raise AssertionError("no call was refused")


def test_a_call_that_would_wait_too_long_for_a_decoder_is_refused_with_the_wait_and_not_decoded(models: Path) -> None:
    metrics = Metrics()

    async def run() -> None:
        async with served(models, 0.3, metrics) as stub:
            calls = [stub.Classify(REQUEST) for _ in range(100)]
            error = await first_refusal(calls)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "over the 0.3 s of --max-wait-s" in (error.details() or "")
            assert retry_delay_s(error) > 0.3
            assert not all(call.done() for call in calls)  # it did not wait for those that were let in
            assert (await stub.Classify(pb.ClassifyRequest(model="digits", items=[PLAIN]))).items[0].windows
            ended = await asyncio.gather(*calls, return_exceptions=True)
            answered = [each for each in ended if isinstance(each, pb.ClassifyResponse)]
            assert all(each.items[0].windows for each in answered)
            assert 0 < len(answered) == 100 - rejected(metrics)
            assert (await stub.Classify(REQUEST)).items[0].windows  # nothing is waited for, so it is let in

    asyncio.run(run())


def test_a_call_whose_items_would_be_decoded_after_its_deadline_is_refused_before(models: Path) -> None:
    async def run() -> grpc.aio.AioRpcError:
        async with served(models, 60, Metrics()) as stub:
            others = [stub.Classify(REQUEST) for _ in range(2)]
            await asyncio.sleep(0.01)
            late = await refusal(stub.Classify(pb.ClassifyRequest(model="digits", items=[SLOW] * 60), timeout=1))
            await asyncio.gather(*others)
            return late

    error = asyncio.run(run())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "but the deadline is in" in (error.details() or "")


@pytest.mark.parametrize("items", [1, 12])
def test_a_call_that_finds_a_free_decoder_is_let_in_however_large_it_is(models: Path, items: int) -> None:
    async def run() -> None:
        async with served(models, 0.001, Metrics()) as stub:
            answer = await stub.Classify(pb.ClassifyRequest(model="digits", items=[SLOW] * items))
            assert len(answer.items) == items

    asyncio.run(run())
