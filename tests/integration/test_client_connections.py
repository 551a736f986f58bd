"""`avizor_client` where a gateway is full, away or slow, and over TLS with certificates on both sides."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc import StatusCode
from integration.scripted_server import Script, scripted

from avizor.v1 import inference_pb2 as pb
from avizor_client import AsyncClient, Busy, CallFailed, Client, DeadlineExceeded, InputError, Tls, TooLarge, Unavailable


def ask(address: str, in_a_loop: bool, **options: Any) -> None:
    async def asynchronously() -> None:
        async with AsyncClient(address, **options) as client:
            await client.models()

    if in_a_loop:
        asyncio.run(asynchronously())
        return
    with Client(address, **options) as client:
        client.models()


@pytest.mark.parametrize("in_a_loop", [False, True])
@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.CANCELLED])
def test_a_gateway_that_says_when_is_asked_again_with_the_same_request_id(code: StatusCode, in_a_loop: bool) -> None:
    script = Script(failures=[code] * 4, retry_ms=10)
    with scripted(script) as address:
        ask(address, in_a_loop)
    assert len(script.calls) == 5
    assert len({call["x-request-id"] for call in script.calls}) == 1


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_tries_are_bounded_and_the_error_says_when_to_come_back(in_a_loop: bool) -> None:
    script = Script(failures=[StatusCode.RESOURCE_EXHAUSTED] * 9, retry_ms=10)
    with scripted(script) as address, pytest.raises(Busy) as caught:
        ask(address, in_a_loop)
    assert (len(script.calls), caught.value.retry_after_s) == (5, 0.01)
    assert caught.value.request_id == script.calls[0]["x-request-id"]


def test_a_front_door_that_says_nothing_is_asked_again_too() -> None:
    script = Script(failures=[StatusCode.UNAVAILABLE])
    with scripted(script) as address:
        ask(address, in_a_loop=False)
    assert len(script.calls) == 2


@pytest.mark.parametrize(
    ("code", "retry_ms", "kind"),
    [
        (StatusCode.RESOURCE_EXHAUSTED, -1, TooLarge),
        (StatusCode.INTERNAL, None, CallFailed),
        (StatusCode.UNAVAILABLE, -1, Unavailable),
    ],
)
def test_what_would_fail_again_is_not_tried_again(code: StatusCode, retry_ms: int | None, kind: type[CallFailed]) -> None:
    script = Script(failures=[code] * 9, retry_ms=retry_ms)
    with scripted(script) as address, pytest.raises(CallFailed) as caught:
        ask(address, in_a_loop=False)
    assert (len(script.calls), type(caught.value)) == (1, kind)


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_the_deadline_holds_for_all_tries_together(in_a_loop: bool) -> None:
    script = Script(failures=[StatusCode.UNAVAILABLE] * 9, retry_ms=60_000)
    with scripted(script) as address, pytest.raises((DeadlineExceeded, Unavailable)):
        ask(address, in_a_loop, timeout_s=0.5)
    assert len(script.calls) == 1


def test_a_slow_answer_is_a_deadline_exceeded() -> None:
    with scripted(Script(delay_s=2)) as address, pytest.raises(DeadlineExceeded):
        ask(address, in_a_loop=False, timeout_s=0.3)


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_an_answer_beyond_the_limit_is_too_large_and_not_asked_for_again(in_a_loop: bool) -> None:
    large = pb.Model(name="m" * (1 << 20), task=pb.TASK_CLASSIFY, tensor=pb.TensorSpec(dtype="float32"))
    script = Script(models=[large])
    with scripted(script) as address:
        ask(address, in_a_loop, max_answer_mib=2)
        with pytest.raises(TooLarge, match="the answer is larger than this client takes; ask about fewer items at once"):
            ask(address, in_a_loop, max_answer_mib=1)
    assert len(script.calls) == 2


@pytest.mark.parametrize("in_a_loop", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_s": 0}, "timeout_s is 0; give seconds above 0"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"max_answer_mib": 0}, "max_answer_mib is 0; give 1 to 2047 MiB"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(options: dict[str, Any], message: str, in_a_loop: bool) -> None:
    with pytest.raises(InputError, match=message):
        ask("127.0.0.1:1", in_a_loop, **options)


def test_a_client_that_is_closed_says_so() -> None:
    with Client("127.0.0.1:1") as client:
        pass

    async def asynchronously() -> None:
        async with AsyncClient("127.0.0.1:1") as closed:
            pass
        await closed.models()

    with pytest.raises(InputError, match="the client is closed; make another one"):
        client.models()
    with pytest.raises(InputError, match="the client is closed; make another one"):
        asyncio.run(asynchronously())


def test_a_client_of_an_event_loop_is_of_that_one_alone() -> None:
    async def make() -> AsyncClient:
        return AsyncClient("127.0.0.1:1")

    async def use(client: AsyncClient) -> None:
        await client.models()

    with pytest.raises(InputError, match="in a coroutine"):
        AsyncClient("127.0.0.1:1")
    with pytest.raises(InputError, match="was made in another event loop; make one in each"):
        asyncio.run(use(asyncio.run(make())))


def test_threads_share_a_client_and_each_may_have_a_loop_of_its_own() -> None:
    script = Script()
    with scripted(script) as address, Client(address) as shared, ThreadPoolExecutor(8) as threads:
        calls: list[Future[Any]] = [threads.submit(shared.models) for _ in range(32)]
        calls += [threads.submit(ask, address, True) for _ in range(8)]
        assert [call.exception() for call in calls] == [None] * 40
    assert len(script.calls) == 40


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def files(authority: trustme.CA, folder: Path, name: str) -> Tls:
    """A certificate of an authority, its key, and the authority's certificate, in files."""
    issued = authority.issue_cert(name)
    ca, certificate, key = (folder / f"{name}-{part}.pem" for part in ("ca", "certificate", "key"))
    authority.cert_pem.write_to_path(ca)
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return Tls(ca, certificate, key)


def mutual(server: Tls) -> grpc.ServerCredentials:
    key, certificate, ca = (Path(path or "").read_bytes() for path in (server.key, server.certificate, server.ca))
    return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)


def test_tls_with_certificates_on_both_sides(authority: trustme.CA, tmp_path: Path) -> None:
    mine = files(authority, tmp_path, "client.test")
    named = Tls(mine.ca, mine.certificate, mine.key, server_name="gateway.test")
    script = Script()
    with scripted(script, mutual(files(authority, tmp_path, "gateway.test"))) as address:
        with Client(address, tls=named) as client:
            assert client.models() == ()
        for refused in (Tls(mine.ca, server_name="gateway.test"), mine, Tls(server_name="gateway.test"), None):
            with Client(address, tls=refused, timeout_s=1) as client, pytest.raises((Unavailable, DeadlineExceeded)):
                client.models()
    assert len(script.calls) == 1


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        (Tls(certificate="client.pem"), "needs its key"),
        (Tls(ca="absent.pem"), "absent.pem: cannot be read"),
    ],
)
def test_tls_that_cannot_be_had_is_an_error_at_once(tls: Tls, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Client(tls=tls)


@pytest.mark.parametrize(
    ("text", "message"), [("", "holds no token"), ("two words\n", "holds no token"), (None, "cannot be read")]
)
def test_a_token_file_without_a_token_is_an_error_at_once(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "token").write_text(text)
    with pytest.raises(InputError, match=message):
        Client(token_file=tmp_path / "token")


def test_a_token_is_given_once_and_has_no_spaces(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave one of them out"):
        Client(token="a", token_file=tmp_path / "token")
    with pytest.raises(InputError, match="printable ASCII"):
        Client(token="a b")
