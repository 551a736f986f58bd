"""Over HTTP the gateway answers the Open Inference Protocol's requests, good and bad, with the codes of a real Triton."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.gateway import gateway
from integration.http_client import Answer, ask
from integration.http_open_cases import DIFFERENT, INFER, MISTAKES, SAME, Request, sent
from triton_server.install import TritonInstall
from triton_server.server import TritonServer


@pytest.fixture(scope="module")
def ours(models: Path) -> Iterator[str]:
    with gateway(models, "--alpha", 0.05, "--max-message-mib", 4) as running:
        yield running.http_url


@pytest.fixture(scope="module")
def tritons(models: Path, triton_install: TritonInstall) -> Iterator[str]:
    with TritonServer(triton_install, models) as server:
        yield server.http_url


def answer(url: str, request: Request) -> Answer:
    return ask(url, request.path, request.body, request.method, **request.headers)


def refused(found: Answer) -> bool:
    """Whether an answer is a refusal in the protocol's form, in words of a length that can be read."""
    return set(found.json) == {"error"} and 10 < len(found.json["error"]) < 400


@pytest.mark.parametrize("case", SAME)
def test_the_code_is_tritons(ours: str, tritons: str, case: str) -> None:
    request, code = SAME[case]
    our, their = answer(ours, request), answer(tritons, request)
    assert (our.code, their.code) == (code, code), (our.body, their.body)
    if code != 200 and request.path.startswith("/v2/"):
        assert refused(our)
    if code == 200 and request.path == INFER:
        assert our.headers.get("inference-header-content-length") == their.headers.get("inference-header-content-length")
        assert our.headers["content-type"] == their.headers["content-type"]


@pytest.mark.parametrize("case", MISTAKES)
def test_json_of_the_wrong_kind_is_the_clients_mistake(ours: str, tritons: str, case: str) -> None:
    our, their = answer(ours, MISTAKES[case]), answer(tritons, MISTAKES[case])
    assert (our.code, their.code in (400, 500)) == (400, True), (our.body, their.body)
    assert refused(our)


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_is_known(ours: str, tritons: str, case: str) -> None:
    request, our_code, their_code = DIFFERENT[case]
    our, their = answer(ours, request), answer(tritons, request)
    assert (our.code, their.code) == (our_code, their_code), (our.body, their.body)
    assert refused(our)


def fields(value: Any, path: str = "") -> Iterator[str]:
    """The names in a value, of the first element of each list."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}/{name}"
            yield from fields(inner, f"{path}/{name}")
    elif isinstance(value, list) and value:
        yield from fields(value[0], path)


# What Triton fills in that config.pbtxt leaves open.
FILLED_IN = ("/version_policy", "/optimization")


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v2", "GET"),
        ("/v2/models/digits", "GET"),
        ("/v2/models/digits/config", "GET"),
        ("/v2/models/digits/stats", "GET"),
        ("/v2/models/stats", "GET"),
        ("/v2/repository/index", "POST"),
    ],
)
def test_what_is_served_is_described_with_tritons_fields_zeros_too(ours: str, tritons: str, path: str, method: str) -> None:
    for url in (ours, tritons):
        assert answer(url, sent()).code == 200
    our, their = (set(fields(ask(url, path, None, method).json)) for url in (ours, tritons))
    assert our - their == set()
    assert [each for each in sorted(their - our) if not each.startswith(FILLED_IN)] == []
