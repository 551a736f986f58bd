"""servicer.py: the steps of a call, through a real server on a real connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from unit.service.gateways import open_gateway
from unit.service.unanswered_engine import UnansweredEngine

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_service.calls import Calls
from avizor_service.metrics import Metrics
from avizor_service.servicer import handlers
from avizor_service.streams import Streams

ANSWERED = {"rpc": "Classify", "model": "digits", "code": "OK"}
CLASSIFY = "/avizor.v1.InferenceService/Classify"
PICTURE = pb.Item(tensor=pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=bytes(32 * 32)))
REQUEST = pb.ClassifyRequest(model="digits", items=[PICTURE])


@contextlib.asynccontextmanager
async def served(
    models: Path, engine: UnansweredEngine | None = None, max_in_flight: int = 4, metrics: Metrics | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    metrics = metrics or Metrics()
    with open_gateway(models, metrics, engine) as gateway:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1 << 20)])
        server.add_generic_rpc_handlers((handlers(gateway, Calls(metrics, max_in_flight), Streams(metrics, 1)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        unread = [("grpc.http2.lookahead_bytes", 1 << 14), ("grpc.http2.bdp_probe", 0)]  # little comes before it is read
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", unread) as channel:
            yield channel
        await server.stop(grace=5)


async def refusal(call: grpc.aio.Call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def until_submitted(engine: UnansweredEngine, count: int) -> None:
    while len(engine.submitted) < count:
        await asyncio.sleep(0.001)


def test_other_calls_are_answered_while_a_model_runs(models: Path) -> None:
    async def run() -> pb.ClassifyResponse:
        with EmbeddedEngine(models) as engine:
            held = UnansweredEngine(engine)
            async with served(models, held) as channel:
                stub = inference_pb2_grpc.InferenceServiceStub(channel)
                running = stub.Classify(REQUEST)
                await until_submitted(held, 1)
                assert len((await stub.ListModels(pb.ListModelsRequest())).models) == 4
                assert not running.done()
                held.release()
                answer: pb.ClassifyResponse = await running
                return answer

    (item,) = asyncio.run(run()).items
    assert len(item.classes) == 1


def test_a_cancelled_call_leaves_the_engine(models: Path) -> None:
    async def run() -> bool:
        with EmbeddedEngine(models) as engine:
            held = UnansweredEngine(engine)
            async with served(models, held) as channel:
                running = inference_pb2_grpc.InferenceServiceStub(channel).Classify(REQUEST)
                await until_submitted(held, 1)
                running.cancel()
                (_, future), cancelled = held.submitted[0], asyncio.Event()
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(cancelled.set))
                await cancelled.wait()
                return future.cancelled()

    assert asyncio.run(run())


def test_a_full_gateway_refuses_a_call_whose_message_has_not_come(models: Path) -> None:
    async def run() -> tuple[grpc.StatusCode, str]:
        with EmbeddedEngine(models) as engine:
            held, ended = UnansweredEngine(engine), asyncio.Event()

            async def message() -> AsyncIterator[bytes]:
                await ended.wait()
                yield b""

            async with served(models, held, max_in_flight=1) as channel:
                running = inference_pb2_grpc.InferenceServiceStub(channel).Classify(REQUEST)
                await until_submitted(held, 1)
                call = channel.stream_unary(CLASSIFY)(message())
                refused = await refusal(call)
                ended.set()
                held.release()
                await running
                return refused

    code, details = asyncio.run(run())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1 calls are in progress" in details


def test_what_is_no_request_is_refused_and_not_logged(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    metrics = Metrics()

    async def run() -> list[tuple[grpc.StatusCode, str]]:
        async with served(models, metrics=metrics) as channel:
            return [
                await refusal(channel.unary_unary(CLASSIFY)(b"\xff\xff")),
                await refusal(channel.stream_unary(CLASSIFY)(nothing())),
                await refusal(channel.unary_unary(CLASSIFY)(bytes(2 << 20))),
            ]

    broken, empty, large = asyncio.run(run())
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert broken == (invalid, "the message is not an avizor.v1.ClassifyRequest; send one in the wire format of protobuf")
    assert empty == (invalid, "the call holds no message; send one")
    assert large[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in large[1]
    counted = {
        sample.labels["code"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "avizor_requests_total"
    }
    assert counted == {"INVALID_ARGUMENT": 2, "CANCELLED": 1}  # gRPC itself answers what is too large
    assert not caplog.text


def test_large_tensors_and_small_ones_of_one_request_have_their_answers(models: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 1)).astype(np.uint8)
    items = [pb.Item(tensor=pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=each.tobytes())) for each in pixels]

    async def run() -> tuple[list[pb.Classification], list[pb.Classification]]:
        async with served(models) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            together = await stub.Classify(pb.ClassifyRequest(model="digits", items=items, top_k=3))
            alone = [await stub.Classify(pb.ClassifyRequest(model="digits", items=[item], top_k=3)) for item in items[:20]]
            return list(together.items), [answer.items[0] for answer in alone]

    together, alone = asyncio.run(run())
    assert len(together) == 200
    for one, other in zip(together, alone, strict=False):
        assert [each.label for each in one.classes] == [each.label for each in other.classes]


def test_an_answer_that_is_not_read_keeps_its_place_until_the_client_has_it_or_leaves(models: Path) -> None:
    request = pb.ClassifyRequest(model="digits", items=[PICTURE] * 200, outputs=["activations"])  # 0.3 MB come back
    metrics = Metrics()

    def in_flight() -> float | None:
        return metrics.registry.get_sample_value("avizor_in_flight_requests")

    async def run() -> list[float | None]:
        async with served(models, metrics=metrics) as channel:
            ask = channel.unary_stream(CLASSIFY)  # reads when it is told to
            unread, read = ask(request.SerializeToString()), ask(request.SerializeToString())
            while metrics.registry.get_sample_value("avizor_requests_total", ANSWERED) != 2:
                await asyncio.sleep(0.01)
            seen = [in_flight()]
            await read.read()
            while in_flight() == seen[0]:
                await asyncio.sleep(0.01)
            seen.append(in_flight())
            unread.cancel()
            while in_flight() == seen[1]:
                await asyncio.sleep(0.01)
            return [*seen, in_flight()]

    assert asyncio.run(asyncio.wait_for(run(), 60)) == [2, 1, 0]
