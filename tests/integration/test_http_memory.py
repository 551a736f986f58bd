"""The memory of a gateway has a ceiling over HTTP too (docs/limits.md): a real process, driven to its worst case."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from google.protobuf.json_format import MessageToDict
from integration import hostile
from integration.gateway import IMAGE, gateway
from integration.http_client import ask, form
from integration.memory import MIB, WIDE, Peak, wide, with_wide_model

from avizor.v1 import inference_pb2 as pb

# Limits of the gateway that is driven.
MESSAGE, REQUESTS, CALLS, CONNECTIONS, ANSWER, DECODED, DECODERS = 4, 32, 24, 16, 8, 64, 1
OPTIONS = {
    "--max-message-mib": MESSAGE,
    "--max-request-mib-in-flight": REQUESTS,
    "--max-in-flight": CALLS,
    "--max-connections": CONNECTIONS + 2,
    "--max-answer-mib": ANSWER,
    "--max-decoded-mib": DECODED,
    "--decoders": DECODERS,
}

# What docs/limits.md says it may need, in MiB, besides the idle process.
TERMS = {
    "requests": 2.5 * REQUESTS,
    "message": 9 * MESSAGE,
    "answer": 10 * ANSWER,
    "connections": CONNECTIONS / 2,
    "calls": CALLS * 0.75,
    "decoded": 5 * DECODED,
    "decoders": DECODERS * DECODED / 4,
    "allocator": 32,
}
LARGEST = MESSAGE * MIB
FILES, SERVICE = "/v1/models/digits:classify", "/avizor.v1.InferenceService"
JSON = "application/json"
INFER = "/v2/models/wide/infer"

# Sends one request, or part of one, over a connection of its own; returns the code of the answer, or what came of it.
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[str]]


def head(path: str, kind: str, length: int | None, *more: str) -> bytes:
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", body, *more, "", ""]).encode()


def whole(path: str, kind: str, body: bytes, *more: str, reads: bool = True) -> Client:
    """A request; reads: whether its answer is read."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        writer.write(head(path, kind, len(body), "Connection: close", *more) + body)
        if not reads:
            await asyncio.sleep(60)
        answer = await reader.read()
        return answer.split(b" ", 2)[1].decode() if answer else "closed"

    return send


def stopped(sent: bytes) -> Client:
    """What begins, and does not go on."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        writer.write(sent)
        return "ended" if not await reader.read() else "answered"

    return send


def endless(path: str, kind: str) -> Client:
    """A body in chunks that does not end."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        writer.write(head(path, kind, None))
        for _ in range(8 * MESSAGE):
            writer.write(b"40000\r\n" + bytes(MIB // 4) + b"\r\n")
            await writer.drain()
        answer = await reader.read()
        return answer.split(b" ", 2)[1].decode() if answer else "closed"

    return send


def as_json(request: pb.ClassifyRequest | pb.ReconstructRequest) -> bytes:
    return json.dumps(MessageToDict(request)).encode()


def largest_json() -> list[Client]:
    """Texts that take most while they are read: one long value, characters of four bytes, pictures, and many parts."""
    long = b'{"model": "digits", "items": [{"image": "%s"}]}' % b64encode(bytes(LARGEST * 3 // 4 - 60))
    odd = b'{"model": "' + b"a" * (LARGEST - 40) + "\U0001f600".encode() + b'"}'
    pictures = as_json(pb.ClassifyRequest.FromString(hostile.pictures(LARGEST * 11 // 16)))
    parts = b'{"model": "digits", "items": [' + b"{}," * 79_000 + b"{}]}"
    numbers = b'{"inputs": [' + b",".join([b"9" * 40] * 90_000) + b"]}"
    return [
        *(whole(f"{SERVICE}/Classify", JSON, body) for body in (long, odd, pictures, parts)),
        whole("/v2/models/digits/infer", JSON, numbers),
    ]


def forms() -> list[Client]:
    noise = pb.ClassifyRequest.FromString(hostile.pictures(LARGEST * 15 // 16)).items
    files = form(*[("item", each.image) for each in noise[:200]])
    one = form(("item", bytes(LARGEST - 1000)))
    parts = form(*[("top_k", "1")] * 30_000)
    return [whole(FILES, kind, body) for body, kind in (files, one, parts)]


def bombs() -> list[Client]:
    packed = gzip.compress(bytes(16 * LARGEST))
    just = gzip.compress(b" " * LARGEST)
    return [
        whole(FILES, "image/png", packed, "Content-Encoding: gzip"),
        whole(f"{SERVICE}/Classify", JSON, just, "Content-Encoding: gzip"),
        whole("/v2/models/digits/infer", JSON, packed, "Content-Encoding: gzip"),
    ]


def bodies() -> list[Client]:
    """Bodies that do not end, or are longer than is taken, and what stops in the middle."""
    return [
        endless(FILES, "image/png"),
        endless("/v2/models/digits/infer", JSON),
        whole(FILES, "image/png", bytes(2 * LARGEST)),
        stopped(head(FILES, "image/png", LARGEST) + bytes(LARGEST - 1)),
        stopped(head("/v2/models/digits/infer", JSON, LARGEST) + bytes(LARGEST - 1)),
    ]


def connections() -> list[Client]:
    """Heads that do not end, many requests at once, and bodies for calls that are not there."""
    return [
        stopped(b"GET / HTTP/1.1\r\nA: " + b"a" * 32_000),
        stopped(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10_000),
        whole("/nothing", "image/png", bytes(2 * LARGEST)),
    ]


def answers(reads: bool) -> list[Client]:
    """Answers that are large as JSON, as text in JSON, and in bytes."""
    asked = as_json(wide(MESSAGE // 2))
    packed = gzip.compress(asked, 1)
    data = bytes(MIB * (MESSAGE - 1))
    tensor = {"name": "input", "datatype": "FP32", "shape": [MESSAGE - 1, *WIDE], "parameters": {"binary_data_size": len(data)}}
    clients = [
        whole(f"{SERVICE}/Reconstruct", JSON, asked, reads=reads),
        whole(f"{SERVICE}/Reconstruct", JSON, packed, "Content-Encoding: gzip", "Accept-Encoding: gzip", reads=reads),
    ]
    for binary in (True, False):
        text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": binary}}).encode()
        length = f"Inference-Header-Content-Length: {len(text)}"
        clients.append(whole(INFER, "application/octet-stream", text + data, length, reads=reads))
    return clients


def read_answers() -> list[Client]:
    return answers(reads=True)


def unread_answers() -> list[Client]:
    return answers(reads=False)


def everything() -> list[Client]:
    kinds = (largest_json, forms, bombs, bodies, connections, read_answers, unread_answers)
    return [client for kind in kinds for client in kind()[:3]]


async def attack(url: str, clients: list[Client], seconds: float) -> Counter[str]:
    """Let clients call for some time, each again and again over a new connection; return what came of it."""
    address, ended = urlsplit(url), Counter[str]()

    async def again_and_again(client: Client) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 16)
                try:
                    ended[await client(reader, writer)] += 1
                finally:
                    writer.transport.abort()
            except OSError as error:
                ended[type(error).__name__] += 1

    tasks = [asyncio.create_task(again_and_again(clients[number % len(clients)])) for number in range(CONNECTIONS)]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return ended


@pytest.fixture(scope="module")
def repository(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_wide_model(models, tmp_path_factory.mktemp("memory") / "models", MESSAGE - 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clients", "terms", "seen"),
    [
        (largest_json, {"requests", "message", "connections", "calls", "decoded", "decoders", "allocator"}, {"200", "400"}),
        (forms, {"requests", "message", "connections", "calls", "decoded", "decoders", "allocator"}, {"200", "400"}),
        (bombs, {"requests", "message", "connections", "calls", "allocator"}, {"413", "400"}),
        (bodies, {"requests", "message", "connections", "calls", "allocator"}, set()),
        (connections, {"message", "connections", "calls", "allocator"}, set()),
        (read_answers, {"requests", "message", "answer", "connections", "calls", "decoded", "decoders", "allocator"}, {"200"}),
        (unread_answers, {"requests", "message", "answer", "connections", "calls", "decoded", "decoders", "allocator"}, set()),
        (everything, set(TERMS), set()),
    ],
)
def test_memory_stays_below_its_ceiling_whatever_is_sent(
    repository: Path, clients: Callable[[], list[Client]], terms: set[str], seen: set[str]
) -> None:
    options = [part for option in OPTIONS.items() for part in option]
    with gateway(repository, "--alpha", 0.05, "--receive-timeout-s", 5, *options) as running:
        body, kind = form(("item", IMAGE.image))
        assert ask(running.http_url, FILES, body, Content_Type=kind).code == 200  # what is done once is idle memory
        assert ask(running.http_url, f"{SERVICE}/Reconstruct", as_json(wide(MESSAGE // 2)), Content_Type=JSON).code == 200
        peak = Peak(running.process.pid)
        with peak.watched():
            ended = asyncio.run(attack(running.http_url, clients(), 6))
        ceiling = sum(TERMS[term] for term in terms)
        print(clients.__name__, f"growth {peak.growth_mib:.0f} of {ceiling:.0f} MiB", dict(ended))
        assert peak.growth_mib < ceiling
        assert seen <= ended.keys()
        assert running.process.poll() is None
        running.wait_until_idle()  # nothing of it is left
        assert ask(running.http_url, "/v1/models").code == 200
