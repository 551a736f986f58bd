"""tokens.py: which lines of the secret file are tokens, and which calls the interceptor lets through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from avizor_inference.errors import TokenFileError
from avizor_service.metrics import Metrics
from avizor_service.tokens import TokenInterceptor, read_tokens

Metadata = Sequence[tuple[str, str]]
HEADERS = ("Bearer sesame", "Bearer other-one")


def token_file(folder: Path, text: str) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    return path


def test_each_line_of_the_form_is_a_token_and_comments_are_not(tmp_path: Path) -> None:
    path = token_file(tmp_path, '# who may call\n\n  "Bearer sesame" "ali-1.x";  \n"Bearer !#~a+b/c=" baba_2;\n')
    assert read_tokens(path) == ("Bearer sesame", "Bearer !#~a+b/c=")


@pytest.mark.parametrize(
    "line",
    [
        'Bearer sesame "ali";',
        '"bearer sesame" "ali";',
        '"Basic sesame" "ali";',
        '"Bearer" "ali";',
        '"Bearer  sesame" "ali";',
        '"Bearer a b" "ali";',
        '"Bearer a"b" "ali";',
        '"Bearer sesame""ali";',
        '"Bearer sesame" "ali"',
        '"Bearer sesame" "ali"; "more"',
        '"Bearer sesame" "";',
        '"Bearer sesame" "a b";',
        'x"Bearer sesame" "ali";',
        "sesame",
    ],
)
def test_a_line_of_another_form_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = token_file(tmp_path, f'\n"Bearer sesame" "ali";\n{line}\n')
    with pytest.raises(TokenFileError) as refusal:
        read_tokens(path)
    assert str(refusal.value) == f'{path}, line 3: not of the form "Bearer <token>" "<name>";'


def test_a_file_without_a_token_is_refused_since_nobody_could_call(tmp_path: Path) -> None:
    path = token_file(tmp_path, "# none yet\n\n")
    with pytest.raises(TokenFileError) as refusal:
        read_tokens(path)
    assert str(refusal.value) == f"{path} holds no token, so nobody could call; write one, or leave --tokens out"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"^.*gone: cannot be read \(.*No such file or directory.*\)$"):
        read_tokens(tmp_path / "gone")
    with pytest.raises(TokenFileError, match=r"cannot be read \('ascii' codec"):
        read_tokens(token_file(tmp_path, '"Bearer schlüssel" "ali";\n'))


async def _echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return request


async def _echo_stream(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


def _code(channel: grpc.Channel, method: str, metadata: Metadata) -> tuple[str, str]:
    """Call `/service/method`: the code and the details of the answer. `Silent` sends nothing until the call has ended."""
    try:
        if method.endswith("Silent"):
            end = threading.Event()
            call = channel.stream_stream(method)((b"" for _ in range(1) if end.wait()), metadata=metadata, timeout=20)
            call.add_done_callback(lambda _: end.set())
            assert list(call) == [b""]
        elif method.endswith("Many"):
            assert list(channel.stream_stream(method)(iter([b"a", b"b"]), metadata=metadata)) == [b"a", b"b"]
        else:
            assert channel.unary_unary(method)(b"a", metadata=metadata) == b"a"
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


async def _codes(metrics: Metrics, calls: Sequence[tuple[str, Metadata]]) -> list[tuple[str, str]]:
    """Make the calls to a real server that asks for tokens."""
    one, many = grpc.unary_unary_rpc_method_handler(_echo), grpc.stream_stream_rpc_method_handler(_echo_stream)
    server = grpc.aio.server(interceptors=[TokenInterceptor(HEADERS, metrics)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("test.Echo", {"One": one, "Many": many, "Silent": many}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": one}),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        results = [await asyncio.to_thread(_code, channel, method, metadata) for method, metadata in calls]
    await server.stop(None)
    return results


def codes(calls: Sequence[tuple[str, Metadata]]) -> tuple[list[tuple[str, str]], float]:
    """Codes of the calls, and how many the metrics say were turned away for want of a token."""
    metrics = Metrics()
    results = asyncio.run(_codes(metrics, calls))
    turned_away = metrics.registry.get_sample_value("avizor_rejected_total", {"reason": "unauthenticated"})
    return results, turned_away or 0.0


LET_IN = ("OK", "")
REFUSED = ("UNAUTHENTICATED", "send the metadata `authorization: Bearer <token>`")


@pytest.mark.parametrize("method", ["/test.Echo/One", "/test.Echo/Many"])
def test_every_token_of_the_file_is_let_in_and_nothing_else(method: str) -> None:
    wrong: list[Metadata] = [
        [],
        [("authorization", "")],
        [("authorization", "sesame")],
        [("authorization", "Bearer sesam")],
        [("authorization", "Bearer sesame ")],
        [("authorization", "Bearer sesamee")],
        [("authorization", "bearer sesame")],
        [("token", "Bearer sesame")],
    ]
    right: list[Metadata] = [[("authorization", header)] for header in HEADERS]
    results, turned_away = codes([(method, metadata) for metadata in (*right, *wrong)])
    assert results == [LET_IN] * len(right) + [REFUSED] * len(wrong)
    assert turned_away == len(wrong)


@pytest.mark.parametrize("method", ["/test.Echo/Silent", "/test.Nothing/Silent"])
def test_a_call_without_a_token_is_refused_before_anything_is_sent(method: str) -> None:
    assert codes([(method, [])]) == ([REFUSED], 1.0)


def test_health_is_answered_without_a_token() -> None:
    assert codes([("/grpc.health.v1.Health/Check", [])]) == ([LET_IN], 0.0)


def test_a_method_that_does_not_exist_is_not_told_to_callers_without_a_token() -> None:
    known, unknown = [("authorization", HEADERS[0])], [("authorization", "Bearer wrong")]
    results, turned_away = codes([("/test.Echo/None", known), ("/test.Echo/None", unknown)])
    assert [code for code, _ in results] == ["UNIMPLEMENTED", "UNAUTHENTICATED"]
    assert turned_away == 1
