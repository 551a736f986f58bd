"""batches.py: calls that their clients give up leave no memory. Counted in bytes, after hundreds of calls."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc
import pytest
from grpc._cython import cygrpc

from avizor_service import batches
from avizor_service.calls import Calls
from avizor_service.health_service import SERVICE as HEALTH
from avizor_service.health_service import HealthService
from avizor_service.message_memory import MessageMemory
from avizor_service.metrics import Metrics
from avizor_service.servicer import NoMethod
from avizor_service.small_messages import SmallMessages
from avizor_service.tokens import Token, TokenInterceptor, Tokens
from avizor_service.transport import GrpcTransport
from avizor_service.unread import Unread

CALLS, ROUNDS = 250, 3
# gRPC leaves over 400 of each of the calls here. What is kept for later makes up to 40 a call.
MOST_BYTES = 150.0

Handler = Callable[[object, grpc.aio.ServicerContext], Awaitable[bytes | None]]

_SIZES = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _SIZES)


def bytes_in_use() -> int:
    """Return the bytes that C and C++ code has allocated and not freed."""
    mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
    mallinfo2.restype = _Mallinfo2
    return int(mallinfo2().uordblks)


@pytest.fixture(autouse=True)
def _as_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cygrpc, "execute_batch", batches._run)
    monkeypatch.setattr(batches, "_freed_until", 0.0)


@contextlib.asynccontextmanager
async def served(handler: Handler, *others: grpc.GenericRpcHandler, token: str = "") -> AsyncIterator[grpc.Channel]:
    """Serve `/test/Call`, which the handler answers."""
    methods = {"Call": grpc.stream_unary_rpc_method_handler(handler)}
    tokens = Tokens([Token(hashlib.sha256(token.encode()).digest(), "ali")], Metrics())
    interceptors = [TokenInterceptor(tokens)] if token else []
    server = grpc.aio.server(
        handlers=[grpc.method_handlers_generic_handler("test", methods), *others], interceptors=interceptors
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


def begun(channel: grpc.Channel, method: str, timeout: float | None = None) -> grpc.Future:
    """Begin a call that does not send its message."""
    given_up = threading.Event()

    def nothing() -> Iterator[bytes]:
        given_up.wait()
        yield from ()

    call = channel.stream_unary(method).future(nothing(), timeout=timeout)
    call.add_done_callback(lambda _: given_up.set())
    return call


async def echo(_requests: object, context: grpc.aio.ServicerContext) -> bytes:
    return bytes(await context.read())


async def answer_too_late(_requests: object, context: grpc.aio.ServicerContext) -> bytes:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    return b"too late"


async def read(_requests: object, context: grpc.aio.ServicerContext) -> bytes:
    await context.read()
    return b""


async def bytes_of_a_call(handler: Handler) -> float:
    """Return the bytes that stay of a call that its client gives up once its handler runs.

    What a call leaves, it leaves in each round. What other threads of this process take meanwhile, they take in one of them.
    """
    entered, ended = threading.Semaphore(0), threading.Semaphore(0)

    async def run(requests: object, context: grpc.aio.ServicerContext) -> bytes | None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: ended.release())
        entered.release()
        return await handler(requests, context)

    def give_up(channel: grpc.Channel) -> None:
        for _ in range(CALLS):
            call = begun(channel, "/test/Call")
            entered.acquire()
            call.cancel()
            ended.acquire()

    async with served(run) as channel:
        await asyncio.to_thread(give_up, channel)  # the allocator gets what it keeps
        rounds = list[float]()
        for _ in range(ROUNDS):
            before = bytes_in_use()
            await asyncio.to_thread(give_up, channel)
            rounds.append((bytes_in_use() - before) / CALLS)
        return min(rounds)


linux = pytest.mark.skipif(sys.platform != "linux", reason="asks glibc how many bytes are in use")


@linux
@pytest.mark.parametrize("handler", [answer_too_late, read])
def test_a_call_that_is_given_up_leaves_no_memory(handler: Handler) -> None:
    batches.call_ended_early()
    assert asyncio.run(bytes_of_a_call(handler)) < MOST_BYTES


@linux
@pytest.mark.parametrize("handler", [answer_too_late, read])
def test_grpc_by_itself_leaves_memory_so_batches_is_needed(handler: Handler) -> None:
    assert asyncio.run(bytes_of_a_call(handler)) > MOST_BYTES


def test_when_nobody_has_given_up_a_call_for_a_minute_grpc_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> bool:
        async with served(echo) as channel:
            call = channel.unary_unary("/test/Call")
            batches.call_ended_early()
            assert await asyncio.to_thread(call, b"a") == b"a"
            were_freed = cygrpc.execute_batch is not batches._run
            monkeypatch.setattr(batches, "_freed_until", 0.0)
            assert await asyncio.to_thread(call, b"b") == b"b"
            return were_freed

    assert asyncio.run(run())
    assert cygrpc.execute_batch is batches._run


@pytest.mark.parametrize("late", [False, True], ids=["cancelled", "late"])
@pytest.mark.parametrize("method", ["/test/Call", f"/{HEALTH}/Check"])
def test_a_call_that_is_given_up_is_noticed(method: str, late: bool) -> None:
    calls = Calls(Metrics(), 1)
    health = HealthService([""], SmallMessages(MessageMemory(1, 2, 1.0, Metrics()), Unread(), 8))

    async def wait(_requests: object, context: grpc.aio.ServicerContext) -> None:
        async with calls.call("Call", GrpcTransport(context)) as call:
            call.admit()
            await call.receiver.message(call.transport)

    async def run() -> None:
        async with served(wait, health.handlers()) as channel:
            while cygrpc.execute_batch is batches._run:  # what ends before it reaches its method is not noticed
                call = begun(channel, method, timeout=0.05 if late else None)
                await asyncio.sleep(0.1)
                call.cancel()

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.parametrize(
    ("path", "token", "code"), [("/test/Call", "Bearer right", "UNAUTHENTICATED"), ("/a/B", "", "UNIMPLEMENTED")]
)
def test_a_call_that_is_refused_by_its_headers_is_noticed(path: str, token: str, code: str) -> None:
    async def run() -> str:
        async with served(echo, NoMethod(Metrics()), token=token) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                await asyncio.to_thread(channel.unary_unary(path), b"")
            return str(caught.value.code().name)

    assert asyncio.run(run()) == code
    assert cygrpc.execute_batch is not batches._run
