"""The Open Inference Protocol's REST form: Triton's own HTTP client, unmodified, and requests by hand."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from integration.gateway import Gateway, gateway
from integration.http_client import ask, ask_json

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05, "--max-message-mib", 4) as one:
        yield one


@pytest.fixture(scope="module")
def client(running: Gateway) -> Iterator[Any]:
    with triton.InferenceServerClient(running.http_url.removeprefix("http://")) as one:
        yield one


@pytest.fixture(scope="module")
def input_name(client: Any) -> str:
    return str(client.get_model_metadata("digits")["inputs"][0]["name"])


def test_tritons_client_reads_what_is_served(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "avizor"
    metadata = client.get_model_metadata("digits", "1")
    assert metadata["inputs"][0]["shape"] == [-1, 32, 32, 1]
    assert client.get_model_config("digits")["name"] == "digits"
    assert {each["name"] for each in client.get_model_repository_index()} == {"digits", "kinds", "normal", "transfers"}
    statistics = client.get_inference_statistics("digits")["model_stats"][0]
    assert (statistics["name"], statistics["inference_stats"]["fail"]) == ("digits", {"count": 0, "ns": 0})


def test_a_token_that_may_call_nothing_that_is_there_sees_empty_lists(models: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text('"Bearer sesame" "ali models=other";\n')
    headers = {"authorization": "Bearer sesame"}
    with gateway(models, "--alpha", 0.05, "--tokens", tmp_path / "tokens") as running:
        client = triton.InferenceServerClient(running.http_url.removeprefix("http://"))
        assert client.get_model_repository_index(headers=headers) == []
        assert client.get_inference_statistics(headers=headers) == {"model_stats": []}
        client.close()


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_gets_the_same_outputs_in_every_form(
    client: Any, input_name: str, binary: bool, packing: str | None
) -> None:
    tensor = triton.InferInput(input_name, list(PIXELS.shape), "UINT8")
    tensor.set_data_from_numpy(PIXELS, binary_data=binary)
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
    options = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}
    answer = client.infer("digits", [tensor], outputs=outputs, request_id="abc", **options)
    every = client.infer("digits", [tensor])
    np.testing.assert_allclose(answer.as_numpy("probabilities"), every.as_numpy("probabilities"), rtol=1e-6)
    assert answer.as_numpy("probabilities").shape == (2, 10)
    assert answer.get_response()["id"] == "abc"
    classes = client.infer("digits", [tensor], outputs=[triton.InferRequestedOutput("probabilities", class_count=2)])
    assert classes.as_numpy("probabilities").shape == (2, 2)


def body(input_name: str, **changes: Any) -> dict[str, Any]:
    tensor = {"name": input_name, "datatype": "UINT8", "shape": [1, 32, 32, 1], "data": PIXELS[0].tolist()} | changes
    return {"inputs": [tensor]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": [1, 2]}, "2 values"),
        ({"data": [[1], [1, 2]]}, "of no shape"),
        ({"data": ["a"]}, "not numbers"),
        ({"data": [0.5] * 1024}, "not numbers"),
        ({"data": [256] * 1024}, "does not fit"),
        ({"data": [10**30] * 1024}, "not numbers"),
        ({"data": None}, "no data"),
        ({"shape": [-1, 32, 32, 1]}, "a batch of -1"),
        ({"shape": [2**70]}, "no list of integers"),
        ({"shape": [1] * 1000}, "dimensions"),
        ({"datatype": "FP9"}, "datatype"),
        ({"name": "other"}, "no input"),
        ({"name": 3}, "name"),
        ({"parameters": {"binary_data_size": 10}, "data": None}, "bytes are left"),
        ({"parameters": {"binary_data_size": -1}, "data": None}, "bytes are left"),
        ({"parameters": {"binary_data_size": 0}}, "both"),
        ({"parameters": {"shared_memory_region": "a", "shared_memory_byte_size": 1}}, "shared memory"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(running: Gateway, input_name: str, changes: dict[str, Any], message: str) -> None:
    answer = ask_json(running.http_url, "/v2/models/digits/infer", body(input_name, **changes))
    assert answer.code == (404 if "shared_memory_region" in changes.get("parameters", {}) else 400), answer.body  # as Triton
    assert set(answer.json) == {"error"}
    assert message in answer.json["error"]


def test_a_header_length_or_bytes_that_do_not_fit_are_refused(running: Gateway) -> None:
    for length in ("1000", "-1", "x", "9" * 40, "1"):
        answer = ask(running.http_url, "/v2/models/digits/infer", b"{}", Inference_Header_Content_Length=length)
        assert answer.code == 400, (length, answer.body)


def test_models_and_versions_that_are_not_there_are_not_found(running: Gateway) -> None:
    for path in ("none/infer", "digits/versions/9/infer"):
        assert ask_json(running.http_url, f"/v2/models/{path}", body("x")).code == 404
    assert ask(running.http_url, "/v2/models/none").code == 404


def test_what_unpacks_to_too_much_is_refused_before_it_is_there(running: Gateway) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    answer = ask(running.http_url, "/v2/models/digits/infer", bomb, Content_Encoding="gzip")
    assert (answer.code, "max-message-mib" in answer.json["error"]) == (413, True)
