"""The Open Inference Protocol keeps to what a token may call, and its index names what is not served, with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from integration.gateway import Gateway, gateway
from tritonclient.utils import InferenceServerException

ALL, FEW = ({"authorization": f"Bearer {token}"} for token in ("all-000000", "few-000000"))


@pytest.fixture(scope="module")
def running(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("rights")
    shutil.copytree(models, folder / "models")
    (folder / "models" / "lost+found").mkdir()
    (folder / "models" / "kinds" / "1" / "manifest.json").write_text("{")
    tokens = folder / "tokens"
    tokens.write_text('"Bearer all-000000" "all";\n"Bearer few-000000" "few models=digits,kinds";\n')
    with gateway(folder / "models", "--alpha", 0.05, "--tokens", tokens) as made:
        yield made


@pytest.fixture(scope="module")
def client(running: Gateway) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(running.address) as made:
        yield made


def tensor(name: str = "image", shape: tuple[int, ...] = (1, 32, 32, 1)) -> Any:
    made = triton.InferInput(name, list(shape), "UINT8")
    made.set_data_from_numpy(np.zeros(shape, np.uint8))
    return made


def code(function: Any, *arguments: Any, headers: dict[str, str]) -> str:
    with pytest.raises(InferenceServerException) as refused:
        function(*arguments, headers=headers)
    return str(refused.value.status())


def test_a_token_calls_its_models_alone(client: triton.InferenceServerClient) -> None:
    assert client.infer("digits", [tensor()], headers=FEW).as_numpy("probabilities").shape == (1, 10)
    for name in ("normal", "nobody"):
        assert code(client.infer, name, [tensor()], headers=FEW) == "StatusCode.PERMISSION_DENIED"
        for ask in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics, client.is_model_ready):
            assert code(ask, name, headers=FEW) == "StatusCode.PERMISSION_DENIED"
    assert code(client.infer, "digits", [tensor()], headers={}) == "StatusCode.UNAUTHENTICATED"
    assert code(client.is_server_ready, headers={}) == "StatusCode.UNAUTHENTICATED"


def test_a_token_sees_its_models_alone(client: triton.InferenceServerClient) -> None:
    assert {each.name for each in client.get_model_repository_index(headers=FEW).models} == {"digits", "kinds"}
    assert {each.name for each in client.get_inference_statistics(headers=FEW).model_stats} <= {"digits", "kinds"}
    assert {"digits", "normal"} <= {each.name for each in client.get_inference_statistics(headers=ALL).model_stats}


def test_the_index_names_a_bad_model_and_why(client: triton.InferenceServerClient) -> None:
    entries = {each.name: each for each in client.get_model_repository_index(headers=ALL).models}
    assert [entries[name].state for name in ("digits", "normal", "transfers")] == ["READY"] * 3
    assert entries["kinds"].state == "UNAVAILABLE"
    assert "manifest.json" in entries["kinds"].reason
    assert not client.is_model_ready("kinds", headers=ALL)
