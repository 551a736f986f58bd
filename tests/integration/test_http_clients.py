"""Triton's own HTTP clients, unmodified: threads and asyncio, calls under way, compression, statistics, TLS and tokens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import gevent.ssl  # type: ignore[import-untyped]
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
import trustme
from integration.gateway import Gateway, gateway
from integration.http_client import ask
from support.certificates import certificate_files
from tritonclient.utils import InferenceServerException

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 1)).astype(np.uint8)
TOKEN = {"Authorization": "Bearer right"}


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05) as one:
        yield one


@pytest.fixture(scope="module")
def address(running: Gateway) -> str:
    return running.http_url.removeprefix("http://")


def image(pixels: np.ndarray = PIXELS, binary: bool = True) -> Any:
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return tensor


def outputs(binary: bool = True) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "embedding")]


def run(address: str, use: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
    """What an asyncio client gets."""

    async def whole() -> Any:
        async with triton_aio.InferenceServerClient(address, **options) as client:
            return await use(client)

    return asyncio.run(whole())


@pytest.fixture(scope="module")
def expected(address: str) -> np.ndarray:
    with triton.InferenceServerClient(address) as client:
        found: np.ndarray = client.infer("digits", [image()]).as_numpy("probabilities")
        return found


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_asyncio_gets_what_threads_get_in_every_form(
    address: str, expected: np.ndarray, binary: bool, packing: str | None
) -> None:
    options = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}
    for answer in (
        run(address, lambda client: client.infer("digits", [image(binary=binary)], outputs=outputs(binary), **options)),
        run(address, lambda client: client.infer("digits", [image(binary=binary)], **options)),
    ):
        np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, rtol=1e-6)
        assert answer.as_numpy("embedding").shape[0] == 8


def test_asyncio_reads_what_is_served(address: str) -> None:
    async def use(client: Any) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("digits", "1")
        assert not await client.is_model_ready("nobody")
        assert (await client.get_server_metadata())["name"] == "avizor"
        assert (await client.get_model_metadata("digits"))["inputs"][0]["datatype"] == "UINT8"
        assert (await client.get_model_config("digits"))["name"] == "digits"
        assert len(await client.get_model_repository_index()) == 4
        assert (await client.get_inference_statistics())["model_stats"]
        with pytest.raises(InferenceServerException, match="nobody") as caught:
            await client.infer("nobody", [image()])
        assert caught.value.status() == "404"

    run(address, use)


def test_many_calls_are_under_way_over_a_few_connections(address: str, expected: np.ndarray) -> None:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        begun = [client.async_infer("digits", [image(PIXELS[n % 8 :][:1])], outputs=outputs()) for n in range(64)]
        for number, each in enumerate(begun):
            found = each.get_result().as_numpy("probabilities")
            np.testing.assert_allclose(found[0], expected[number % 8], rtol=1e-5, atol=1e-7)

    async def use(client: Any) -> list[Any]:
        return list(await asyncio.gather(*(client.infer("digits", [image(PIXELS[n % 8 :][:1])]) for n in range(64))))

    for number, answer in enumerate(run(address, use, conn_limit=4)):
        np.testing.assert_allclose(answer.as_numpy("probabilities")[0], expected[number % 8], rtol=1e-5, atol=1e-7)


def test_a_body_that_was_made_by_hand_is_answered_and_read(address: str, expected: np.ndarray) -> None:
    """As clients do that keep requests, or have no client at all."""
    request, length = triton.InferenceServerClient.generate_request_body([image()], outputs=outputs())
    headers = {"Inference_Header_Content_Length": str(length), "Content_Type": "application/octet-stream"}
    answer = ask(f"http://{address}", "/v2/models/digits/infer", request, "POST", **headers)
    read = triton.InferenceServerClient.parse_response_body(
        answer.body, header_length=int(answer.headers["inference-header-content-length"])
    )
    np.testing.assert_allclose(read.as_numpy("probabilities"), expected, rtol=1e-6)


def test_statistics_are_true_counts(address: str) -> None:
    with triton.InferenceServerClient(address) as client:

        def counts() -> tuple[int, int]:
            (found,) = client.get_inference_statistics("digits", "1")["model_stats"]
            return found["inference_count"], found["inference_stats"]["success"]["count"]

        client.infer("digits", [image()])
        before = counts()
        for _ in range(3):
            client.infer("digits", [image()])
        assert counts() == (before[0] + 24, before[1] + 3)


@pytest.mark.parametrize("encoding", ["br", "gzip, deflate", "zstd"])
def test_a_compression_that_is_not_offered_is_refused_in_words(address: str, encoding: str) -> None:
    answer = ask(f"http://{address}", "/v2/models/digits/infer", b"x" * 100, Content_Encoding=encoding)
    assert answer.code == 400
    assert "send gzip, deflate, or neither" in answer.json["error"]


def test_what_was_packed_wrongly_is_refused(address: str) -> None:
    for encoding in ("gzip", "deflate"):
        answer = ask(f"http://{address}", "/v2/models/digits/infer", b"x" * 100, Content_Encoding=encoding)
        assert (answer.code, "not in the format" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("method", ["load_model", "unload_model", "get_system_shared_memory_status", "get_trace_settings"])
def test_what_manages_a_triton_is_not_there(address: str, method: str) -> None:
    arguments = ["digits"] if method.endswith("_model") else []
    with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException) as caught:
        getattr(client, method)(*arguments)
    assert (caught.value.status(), "no such path" in caught.value.message()) == ("404", True)


def test_over_tls_with_a_token_and_a_certificate_of_its_own(models: Path, tmp_path: Path, expected: np.ndarray) -> None:
    root, clients = trustme.CA(), trustme.CA()
    files = certificate_files(tmp_path, root)
    own = clients.issue_cert("client@example.org").private_key_and_cert_chain_pem
    own.write_to_path(tmp_path / "client.pem")
    clients.cert_pem.write_to_path(tmp_path / "clients.crt")
    (tmp_path / "tokens").write_text('"Bearer right" "a";\n')
    options = ["--tls-certificate", files.certificate, "--tls-key", files.key, "--client-ca", tmp_path / "clients.crt"]

    def context(make: Any) -> Any:
        made = make(cafile=files.root)
        made.load_cert_chain(tmp_path / "client.pem")
        return made

    with gateway(models, "--alpha", 0.05, "--tokens", tmp_path / "tokens", *options) as running:
        address = running.http_url.replace("https://127.0.0.1", "localhost")
        secure = {"ssl": True, "ssl_context_factory": lambda: context(gevent.ssl.create_default_context)}
        with triton.InferenceServerClient(address, **secure) as client:
            assert client.is_server_ready()
            answer = client.infer("digits", [image()], headers=TOKEN)
            np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, rtol=1e-6)
            with pytest.raises(InferenceServerException) as caught:
                client.infer("digits", [image()])
            assert caught.value.status() == "401"

        answer = run(
            address,
            lambda client: client.infer("digits", [image()], headers=dict(TOKEN)),
            ssl=True,
            ssl_context=context(ssl.create_default_context),
        )
        np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, rtol=1e-6)
