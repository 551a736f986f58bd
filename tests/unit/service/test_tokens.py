"""tokens.py: which lines of the secret file are tokens, and which calls the interceptor lets through."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import grpc
import pytest

from avizor_inference.errors import RateExceeded, TokenFileError, Unauthenticated
from avizor_service.callers import Rate, current_caller
from avizor_service.logs.call_log import CallLog
from avizor_service.metrics import Metrics
from avizor_service.tokens import Token, TokenInterceptor, Tokens, read_tokens
from avizor_service.whole import Whole
from avizor_service.workers.shared_rate import SharedRate

Metadata = Sequence[tuple[str, str]]
HEADERS = ("Bearer sesame", "Bearer other-one")


def digest(header: str) -> bytes:
    return hashlib.sha256(header.encode()).digest()


TOKENS = [Token(digest(header), name) for header, name in zip(HEADERS, ("ali", "baba"), strict=True)]
FORM = 'not of the form "Bearer <token>" "<name>"; or "Bearer <token>" "<name> models=<a>,<b> rate=<calls a second>";'


def token_file(folder: Path, text: str) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    return path


def test_each_line_of_the_form_is_a_token_and_comments_are_not(tmp_path: Path) -> None:
    path = token_file(tmp_path, '# who may call\n\n  "Bearer sesame" "ali-1.x";  \n"Bearer !#~a+b/c=" baba_2;\n')
    ali, baba = read_tokens(path)
    assert ali == Token(digest("Bearer sesame"), "ali-1.x")
    assert baba == Token(digest("Bearer !#~a+b/c="), "baba_2")


@pytest.mark.parametrize(
    ("rights", "models", "rate"),
    [
        ("models=lenet", {"lenet"}, None),
        ("models=lenet,ae.v-2_x", {"lenet", "ae.v-2_x"}, None),
        ("rate=50", None, 50.0),
        ("rate=0.001", None, 0.001),
        ("rate=1000000", None, 1e6),
        ("rate=2 models=ae", {"ae"}, 2.0),
        ("models=ae  rate=2", {"ae"}, 2.0),
    ],
)
def test_a_line_says_which_models_a_token_may_ask_for_and_how_often(
    tmp_path: Path, rights: str, models: set[str] | None, rate: float | None
) -> None:
    (token,) = read_tokens(token_file(tmp_path, f'"Bearer sesame" "ali {rights}";\n'))
    assert (token.name, token.models, token.rate) == ("ali", models, rate)


@pytest.mark.parametrize(
    ("rights", "why"),
    [
        ("models=", "models=: '' is not the name of a model; write names with commas between them"),
        ("models=a,,b", "models=a,,b: '' is not the name of a model; write names with commas between them"),
        ("models=.a", "models=.a: '.a' is not the name of a model; write names with commas between them"),
        ("models=a models=b", "models= stands twice; leave one of them"),
        ("rate=0", "rate=0 is not a number of calls a second from 0.001 to 1000000"),
        ("rate=-1", "rate=-1 is not a number of calls a second from 0.001 to 1000000"),
        ("rate=nan", "rate=nan is not a number of calls a second from 0.001 to 1000000"),
        ("rate=", "rate= is not a number of calls a second from 0.001 to 1000000"),
        ("rate=2000000", "rate=2000000 is not a number of calls a second from 0.001 to 1000000"),
        ("burst=3", "burst= is not known; there are models= and rate="),
        ("models=$host", FORM),
        ("models", FORM),
    ],
)
def test_rights_that_make_no_sense_are_refused_and_the_token_is_not_shown(tmp_path: Path, rights: str, why: str) -> None:
    path = token_file(tmp_path, f'"Bearer sesame" "ali {rights}";\n')
    with pytest.raises(TokenFileError) as refusal:
        read_tokens(path)
    assert str(refusal.value) == f"{path}, line 1: {why}"


def test_a_token_that_stands_twice_is_refused_since_it_is_not_clear_what_it_may_do(tmp_path: Path) -> None:
    path = token_file(tmp_path, '"Bearer sesame" "ali";\n"Bearer sesame" "baba models=ae";\n')
    with pytest.raises(TokenFileError) as refusal:
        read_tokens(path)
    assert str(refusal.value) == f"{path}, line 2: the token stands in an earlier line too; leave one of them"


def test_neither_a_token_nor_what_holds_it_shows_it(tmp_path: Path) -> None:
    (token,) = read_tokens(token_file(tmp_path, '"Bearer sesame" "ali";\n'))
    assert "sesame" not in f"{token!r} {vars(Tokens([token], Metrics()))!r}"


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
    assert str(refusal.value) == f"{path}, line 3: {FORM}"


def test_a_file_without_a_token_is_refused_since_nobody_could_call(tmp_path: Path) -> None:
    path = token_file(tmp_path, "# none yet\n\n")
    with pytest.raises(TokenFileError) as refusal:
        read_tokens(path)
    assert str(refusal.value) == f"{path} holds no token, so nobody could call; write one, or leave --tokens out"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"^.*gone: cannot be read \(.*no such file or directory.*\)$"):
        read_tokens(tmp_path / "gone")
    with pytest.raises(TokenFileError, match=r"cannot be read \(it has characters beyond ASCII\)"):
        read_tokens(token_file(tmp_path, '"Bearer schlüssel" "ali";\n'))
    os.truncate(token_file(tmp_path, '"Bearer sesame" "ali";\n'), 40 << 20)
    with pytest.raises(TokenFileError, match=r"cannot be read \(it has more than 16 MiB\)"):
        read_tokens(tmp_path / "tokens")


async def _echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return request


async def _name(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return current_caller().name.encode()


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
        elif method.endswith("Name"):
            return channel.unary_unary(method)(b"", metadata=metadata).decode(), ""
        elif method.endswith("Many"):
            assert list(channel.stream_stream(method)(iter([b"a", b"b"]), metadata=metadata)) == [b"a", b"b"]
        else:
            assert channel.unary_unary(method)(b"a", metadata=metadata) == b"a"
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


async def _codes(metrics: Metrics, calls: Sequence[tuple[str, Metadata]], log: CallLog | None = None) -> list[tuple[str, str]]:
    """Make the calls to a real server that asks for tokens."""
    one, many = grpc.unary_unary_rpc_method_handler(_echo), grpc.stream_stream_rpc_method_handler(_echo_stream)
    name = grpc.unary_unary_rpc_method_handler(_name)
    server = grpc.aio.server(interceptors=[TokenInterceptor(Tokens(TOKENS, metrics), log)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("test.Echo", {"One": one, "Many": many, "Silent": many, "Name": name}),
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
        [("authorization", HEADERS[0]), ("authorization", HEADERS[1])],
    ]
    right: list[Metadata] = [[("authorization", header)] for header in HEADERS]
    results, turned_away = codes([(method, metadata) for metadata in (*right, *wrong)])
    assert results == [LET_IN] * len(right) + [REFUSED] * len(wrong)
    assert turned_away == len(wrong)


def test_the_handler_of_a_call_knows_whose_token_it_has() -> None:
    calls = [("/test.Echo/Name", [("authorization", header)]) for header in (*HEADERS, *reversed(HEADERS))]
    assert [name for name, _ in codes(calls)[0]] == ["ali", "baba", "baba", "ali"]


@pytest.mark.parametrize("method", ["/test.Echo/Silent", "/test.Nothing/Silent"])
def test_a_call_without_a_token_is_refused_before_anything_is_sent(method: str) -> None:
    assert codes([(method, [])]) == ([REFUSED], 1.0)


def test_a_call_without_a_token_has_a_line_in_the_log() -> None:
    lines: list[str] = []
    asyncio.run(_codes(Metrics(), [("/test.Echo/One", [])], CallLog(lines.append, json.dumps, "all")))
    (line,) = map(json.loads, lines)
    assert (line["rpc"], line["code"], line["message"]) == ("/test.Echo/One", *REFUSED)


def test_a_token_that_no_text_can_hold_is_one_that_is_not_known() -> None:
    assert Tokens(TOKENS, Metrics()).caller_of("Bearer \ud800") is None


def test_health_is_answered_without_a_token() -> None:
    assert codes([("/grpc.health.v1.Health/Check", [])]) == ([LET_IN], 0.0)


def test_a_method_that_does_not_exist_is_not_told_to_callers_without_a_token() -> None:
    known, unknown = [("authorization", HEADERS[0])], [("authorization", "Bearer wrong")]
    results, turned_away = codes([("/test.Echo/None", known), ("/test.Echo/None", unknown)])
    assert [code for code, _ in results] == ["UNIMPLEMENTED", "UNAUTHENTICATED"]
    assert turned_away == 1


def test_tokens_are_replaced_and_only_those_that_are_gone_or_changed_are_revoked() -> None:
    ali, baba = TOKENS
    tokens = Tokens(TOKENS, Metrics())
    before = [tokens.caller_of(header) for header in HEADERS]
    tokens.replace([ali, Token(baba.digest, "baba", models=frozenset({"ae"}))])
    after = [tokens.caller_of(header) for header in HEADERS]
    assert before[0] is after[0]
    assert before[1] is not after[1]
    assert [caller and caller.revoked.is_set() for caller in (*before, *after)] == [False, True, False, False]
    tokens.replace([ali])
    assert tokens.caller_of(HEADERS[1]) is None
    with pytest.raises(Unauthenticated, match="the token was revoked, or its rights have changed; call again with a valid one"):
        after[1].require_valid()  # type: ignore[union-attr]


def test_a_token_asks_for_its_models_alone_and_as_often_as_its_line_says() -> None:
    metrics = Metrics()
    tokens = Tokens([Token(digest(HEADERS[0]), "ali", frozenset({"ae"}), 2.0), TOKENS[1]], metrics)
    ali, baba = (tokens.caller_of(header) for header in HEADERS)
    assert ali is not None
    assert baba is not None
    assert [caller.may_call(model) for caller in (ali, baba) for model in ("ae", "lenet")] == [True, False, True, True]
    for caller in (ali, ali, baba, baba, baba):
        caller.admit()
    with pytest.raises(RateExceeded):
        ali.admit()
    assert metrics.registry.get_sample_value("avizor_rejected_total", {"reason": "rate"}) == 1


class Workers(Whole):
    """Several workers, which count the calls of a token in a file of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rate(self, token: str, per_second: float, refused: Callable[[], None]) -> Rate:
        return SharedRate(self._folder / token, per_second, refused)


def test_workers_count_the_calls_of_a_token_together_and_those_of_each_token_alone(tmp_path: Path) -> None:
    limited = [Token(token.digest, token.name, rate=0.001) for token in TOKENS]
    one, other = (Tokens(limited, Metrics(), Workers(tmp_path)) for _ in range(2))
    for tokens, header in ((one, HEADERS[0]), (other, HEADERS[1])):
        tokens.caller_of(header).admit()  # type: ignore[union-attr]
    for tokens, header in ((other, HEADERS[0]), (one, HEADERS[1])):
        with pytest.raises(RateExceeded):
            tokens.caller_of(header).admit()  # type: ignore[union-attr]


def test_the_log_names_the_tokens_that_are_new_and_those_that_are_revoked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "avizor_service.tokens")
    ali, baba = TOKENS
    tokens = Tokens([ali], Metrics())
    tokens.replace([ali])  # nothing has changed
    tokens.replace([ali, baba, Token(b"", "kassim")])
    tokens.replace([])
    assert [record.getMessage() for record in caplog.records if record.name == "avizor_service.tokens"] == [
        "tokens that count now: 1; new: ali; revoked: none",
        "tokens that count now: 3; new: baba, kassim; revoked: none",
        "tokens that count now: 0; new: none; revoked: ali, baba, kassim",
    ]
