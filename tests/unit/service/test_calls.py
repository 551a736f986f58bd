"""calls.py: what every call goes through, tried with a real gRPC server and a handler that is made to fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from google.rpc.status_pb2 import Status

from avizor_inference.errors import DeadlineExceeded, ModelNotFound
from avizor_service.calls import Call, Calls
from avizor_service.http.transport import TIMEOUT, HttpTransport
from avizor_service.message_memory import MessageMemory
from avizor_service.metrics import Metrics
from avizor_service.status import send_status
from avizor_service.threads import open_threads
from avizor_service.transport import GrpcTransport

Handler = Callable[[Call], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def served(calls: Calls, handler: Handler) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable]:
    async def answer(_request: bytes, context: grpc.aio.ServicerContext) -> bytes | None:
        async with calls.call("Ask", GrpcTransport(context)) as call:
            call.admit()
            return await handler(call)
        await send_status(context)
        return None

    methods = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary("/test.Service/Ask")
    await server.stop(grace=5)


def finished(metrics: Metrics, code: str, model: str = "") -> float:
    return metrics.registry.get_sample_value("avizor_requests_total", {"rpc": "Ask", "model": model, "code": code}) or 0.0


def in_flight(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("avizor_in_flight_requests")


def test_a_call_that_is_late_says_what_was_not_done_in_time() -> None:
    messages = MessageMemory(1, 1, 1.0, Metrics())

    async def run() -> None:
        with open_threads(1) as threads:
            scope = {"type": "http", "headers": [(TIMEOUT.encode(), b"0")]}
            call = Call("Ask", HttpTransport(scope, unread, messages, threads), messages)
        with pytest.raises(DeadlineExceeded, match="before the request was read"):
            call.admit()
        with pytest.raises(DeadlineExceeded, match="before the answer was there"):
            call.answer(b"")

    async def unread() -> dict[str, object]:
        raise AssertionError("its body is not read")

    asyncio.run(run())


def test_a_call_that_fails_ends_with_its_status_and_is_counted_under_its_model() -> None:
    metrics = Metrics()

    async def fail(call: Call) -> bytes:
        call.model = "digits"
        raise DeadlineExceeded("too late")

    async def run() -> grpc.aio.AioRpcError:
        async with served(Calls(metrics, 1), fail) as ask:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(b"")
        return caught.value

    error = asyncio.run(run())
    assert (error.code(), error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert Status.FromString(details).message == "too late"
    assert finished(metrics, "DEADLINE_EXCEEDED", "digits") == 1
    duration = metrics.registry.get_sample_value("avizor_request_duration_seconds_count", {"rpc": "Ask", "model": "digits"})
    assert (duration, in_flight(metrics)) == (1, 0)


def test_a_model_that_was_not_found_does_not_become_a_label() -> None:
    metrics = Metrics()

    async def fail(_call: Call) -> bytes:
        raise ModelNotFound("no model 'made-up'")

    async def run() -> None:
        async with served(Calls(metrics, 1), fail) as ask:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(b"")

    asyncio.run(run())
    assert finished(metrics, "NOT_FOUND", model="") == 1


def test_an_unexpected_error_is_internal_and_its_text_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()

    async def fail(_call: Call) -> bytes:
        raise ZeroDivisionError("a secret")

    async def run() -> grpc.aio.AioRpcError:
        async with served(Calls(metrics, 1), fail) as ask:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(b"")
        return caught.value

    error = asyncio.run(run())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error)
    assert "a secret" in caplog.text
    request_id = (error.details() or "").rpartition(" ")[2]
    assert request_id in caplog.text
    assert finished(metrics, "INTERNAL") == 1


def test_a_full_gateway_rejects_a_call_and_takes_the_next_once_there_is_room() -> None:
    metrics = Metrics()

    async def run() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def wait(_call: Call) -> bytes:
            entered.set()
            await leave.wait()
            return b"done"

        async with served(Calls(metrics, 1), wait) as ask:
            first = asyncio.ensure_future(ask(b""))
            await entered.wait()
            assert in_flight(metrics) == 1
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(b"")
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            leave.set()
            assert await first == b"done"
            assert await ask(b"") == b"done"

    asyncio.run(run())
    assert metrics.registry.get_sample_value("avizor_rejected_total", {"reason": "full"}) == 1
    assert (finished(metrics, "RESOURCE_EXHAUSTED"), finished(metrics, "OK"), in_flight(metrics)) == (1, 2, 0)


def test_a_cancelled_call_is_counted_and_makes_room() -> None:
    metrics = Metrics()

    async def run() -> None:
        entered, left = asyncio.Event(), asyncio.Event()

        async def wait(_call: Call) -> bytes:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            return b""

        async with served(Calls(metrics, 1), wait) as ask:
            call = ask(b"")
            await entered.wait()
            call.cancel()
            await left.wait()

    asyncio.run(run())
    assert (finished(metrics, "CANCELLED"), in_flight(metrics)) == (1, 0)


def test_a_call_knows_how_long_its_client_waits() -> None:
    remaining: list[float | None] = []

    async def note(call: Call) -> bytes:
        remaining.append(call.time_remaining_s())
        return b""

    async def run() -> None:
        async with served(Calls(Metrics(), 1), note) as ask:
            await ask(b"")
            await ask(b"", timeout=300)

    asyncio.run(run())
    without, limited = remaining
    assert without is None
    assert limited is not None
    assert 0 < limited < 600  # gRPC sends a deadline rounded up


@pytest.mark.parametrize(("error", "code"), [(None, "OK"), (ModelNotFound("none"), "NOT_FOUND")])
def test_a_call_that_has_ended_leaves_nothing_to_a_garbage_collection(error: Exception | None, code: str) -> None:
    async def end(_call: Call) -> bytes:
        if error:
            raise error.with_traceback(None)
        return b"done"

    async def run() -> None:
        async with served(Calls(Metrics(), 1), end) as ask:
            for _ in range(20):
                call = ask(b"")
                assert (await call.code()).name == code
            await asyncio.sleep(0.05)
            assert sum(type(each) is Call for each in gc.get_objects()) <= 1

    gc.collect()
    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
