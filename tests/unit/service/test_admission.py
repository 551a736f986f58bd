"""Which calls are let in, and until when they count: a real server on a real connection, whose engine the tests hold back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from unit.service.gateways import Caller, open_gateway
from unit.service.gateways import served as answered
from unit.service.unanswered_engine import UnansweredEngine

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_service.calls import Calls
from avizor_service.leaving import result_of
from avizor_service.message_memory import MessageMemory
from avizor_service.metrics import Metrics
from avizor_service.servicer import handlers
from avizor_service.streams import Streams

PICTURE = pb.Item(tensor=pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=bytes(32 * 32)))
REQUEST = pb.ClassifyRequest(model="digits", items=[PICTURE])
MIB = 1 << 20


class Served:
    """A gateway of `digits` whose engine is held back, with room for messages of 1 MiB."""

    def __init__(self, channel: grpc.aio.Channel, engine: UnansweredEngine, metrics: Metrics) -> None:
        self.stub, self.engine, self.metrics = inference_pb2_grpc.InferenceServiceStub(channel), engine, metrics

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def submitted(self, count: int) -> None:
        while len(self.engine.submitted) < count:
            await asyncio.sleep(0.001)

    async def slow_answers(self) -> None:
        """Let the gateway learn that the model does less than 10 rows a second."""
        for number in range(5):
            call = self.stub.Classify(REQUEST)
            await self.submitted(number + 1)
            await asyncio.sleep(0.1)
            self.engine.release(number)
            await call


@contextlib.asynccontextmanager
async def served(models: Path, max_in_flight: int = 64, max_wait_s: float = 60.0) -> AsyncIterator[Served]:
    metrics = Metrics()
    engine = UnansweredEngine(EmbeddedEngine(models))
    with open_gateway(models, metrics, engine, max_wait_s=max_wait_s) as gateway:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 2 * MIB)])
        messages = MessageMemory(1, 16, max_wait_s, metrics)
        server.add_generic_rpc_handlers((handlers(gateway, Calls(metrics, max_in_flight, messages), Streams(metrics, 1)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(channel, engine, metrics)
        await server.stop(grace=5)


async def refusal(call: grpc.aio.Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def trailers(error: grpc.aio.AioRpcError) -> dict[str, bytes | str]:
    return dict(error.trailing_metadata() or ())


def retry_delay_s(error: grpc.aio.AioRpcError) -> float:
    retry = RetryInfo()
    (detail,) = Status.FromString(trailers(error)["grpc-status-details-bin"]).details
    assert detail.Unpack(retry)
    assert int(trailers(error)["grpc-retry-pushback-ms"]) == retry.retry_delay.ToMilliseconds()
    return float(retry.retry_delay.ToMilliseconds() / 1000)


def test_a_call_that_would_wait_for_too_long_is_refused_with_the_wait_and_does_not_reach_the_engine(models: Path) -> None:
    async def run() -> None:
        async with served(models, max_wait_s=0.5) as gateway:
            await gateway.slow_answers()
            calls = [gateway.stub.Classify(REQUEST) for _ in range(20)]
            refused = [await refusal(call) for call in calls[-5:]]  # at least 15 rows before them, at 10 a second
            for error in refused:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "--max-wait-s" in (error.details() or "")
                assert retry_delay_s(error) > 0.5
            admitted = len(gateway.engine.submitted) - 5
            assert 1 <= admitted <= 10
            for number in range(admitted):
                gateway.engine.release(5 + number)
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(each, pb.ClassifyResponse) for each in done) == admitted
            assert gateway.metric("avizor_rejected_total", reason="wait") == 20 - admitted
            assert gateway.metric("avizor_rows_in_progress", model="digits") == 0
            again = gateway.stub.Classify(REQUEST)  # nothing is in progress, so it is let in
            await gateway.submitted(5 + admitted + 1)
            gateway.engine.release(5 + admitted)
            await again

    asyncio.run(run())


def test_a_deadline_that_cannot_be_met_is_refused_before_it_passes(models: Path) -> None:
    async def run() -> None:
        async with served(models) as gateway:
            await gateway.slow_answers()
            calls = [gateway.stub.Classify(REQUEST) for _ in range(50)]  # 5 s of work
            await gateway.submitted(55)
            error = await refusal(gateway.stub.Classify(REQUEST, timeout=3))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "but the deadline is in" in (error.details() or "")
            assert retry_delay_s(error) > 3
            for number in range(50):
                gateway.engine.release(5 + number)
            await asyncio.gather(*calls)

    asyncio.run(run())


def test_a_message_over_the_limit_is_told_so_and_not_to_try_again(models: Path) -> None:
    async def run() -> grpc.aio.AioRpcError:
        async with served(models) as gateway:
            return await refusal(gateway.stub.Classify(pb.ClassifyRequest(model="x" * MIB)))

    error = asyncio.run(run())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "--max-message-mib 1" in (error.details() or "")
    assert not Status.FromString(trailers(error)["grpc-status-details-bin"]).details
    assert trailers(error)["grpc-retry-pushback-ms"] == "-1"


def test_a_cancelled_call_keeps_its_place_until_the_engine_has_let_go(models: Path) -> None:
    async def run() -> None:
        async with served(models, max_in_flight=1) as gateway:
            call = gateway.stub.Classify(REQUEST)
            await gateway.submitted(1)
            gateway.engine.submitted[0][1].set_running_or_notify_cancel()
            call.cancel()
            for _ in range(20):  # more than the time in which the gateway hears of it
                await asyncio.sleep(0.01)
                assert gateway.metric("avizor_in_flight_requests") == 1
            error = await refusal(gateway.stub.Classify(REQUEST))
            assert "1 calls are in progress" in (error.details() or "")
            gateway.engine.release()
            while gateway.metric("avizor_in_flight_requests"):
                await asyncio.sleep(0.001)
            labels = {"rpc": "Classify", "model": "digits", "code": "CANCELLED"}
            assert gateway.metric("avizor_requests_total", **labels) == 1
            assert gateway.metric("avizor_rows_in_progress", model="digits") == 0

    asyncio.run(run())


def test_what_a_thread_does_for_a_cancelled_call_is_waited_for_and_what_it_has_not_begun_is_left() -> None:
    async def run(pool: ThreadPoolExecutor) -> None:
        begun, end, ran = threading.Event(), threading.Event(), list[int]()

        def work() -> None:
            begun.set()
            end.wait()

        running = asyncio.create_task(result_of(pool.submit(work)))
        queued = asyncio.create_task(result_of(pool.submit(ran.append, 1)))
        await asyncio.sleep(0)
        while not begun.is_set():
            await asyncio.sleep(0.001)
        for task in (running, queued):
            task.cancel()
        try:
            assert (await asyncio.wait([queued], timeout=10))[0]
            assert not running.done()
        finally:
            end.set()
        await asyncio.wait([running], timeout=10)
        assert running.cancelled()
        assert not ran

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(run(pool))


class LateCaller(Caller):
    """A caller whose deadline passes after it was asked for a number of times."""

    def __init__(self, remaining_s: Iterator[float]) -> None:
        super().__init__()
        self.remaining_s, self.reads = remaining_s, 0

    def time_remaining(self) -> float:
        return next(self.remaining_s, -1.0)

    async def read(self) -> bytes:
        self.reads += 1
        return self.message


@pytest.mark.parametrize(("looks", "reads"), [(0, 0), (2, 1), (3, 1)])
def test_a_deadline_that_has_passed_ends_a_call_before_its_message_is_read_parsed_or_decoded(
    models: Path, looks: int, reads: int
) -> None:
    metrics = Metrics()
    engine = UnansweredEngine(EmbeddedEngine(models))
    with open_gateway(models, metrics, engine) as gateway:
        gateway.catalogue.open("digits")
        caller = LateCaller(iter([1.0] * looks))
        with pytest.raises(asyncio.CancelledError):  # gRPC cannot send a status any more
            answered(gateway, Calls(metrics, 1), "Classify", REQUEST, caller)
        model = "digits" if looks == 3 else ""
        labels = {"rpc": "Classify", "model": model, "code": "DEADLINE_EXCEEDED"}
        assert metrics.registry.get_sample_value("avizor_requests_total", labels) == 1
        assert caller.reads == reads
        assert not engine.submitted
        assert metrics.registry.get_sample_value("avizor_in_flight_requests") == 0
