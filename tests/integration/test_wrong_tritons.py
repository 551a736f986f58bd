"""Servers that are no Triton of this repository end a command in one line, whatever they answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.message import Message
from integration.test_wrong_servers import of, said, server
from support.versioned_model import write_version
from tritonclient.grpc import model_config_pb2 as config
from tritonclient.grpc import service_pb2 as triton

FP32 = config.TYPE_FP32
INPUT, OTHER = (config.ModelInput(name=name, data_type=FP32, dims=[2]) for name in ("input", "other"))
BYTES = triton.ModelInferResponse(
    outputs=[triton.ModelInferResponse.InferOutputTensor(name="embedding", datatype="BYTES", shape=[4, 1])],
    raw_output_contents=[b"\1\0\0\0a" * 4],
)


def answers(*, versions: list[str], inputs: list[config.ModelInput], infer: Message = BYTES) -> dict[str, list[Message]]:
    output = config.ModelOutput(name="embedding", data_type=FP32, dims=[1])
    described = config.ModelConfig(name="v", max_batch_size=8, input=inputs, output=[output])
    return {
        "ModelMetadata": [triton.ModelMetadataResponse(name="v", versions=versions)],
        "ModelConfig": [triton.ModelConfigResponse(config=described)],
        "RepositoryModelLoad": [triton.RepositoryModelLoadResponse()],
        "RepositoryModelUnload": [triton.RepositoryModelUnloadResponse()],
        "ModelInfer": [infer],
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(answers(versions=[], inputs=[INPUT]), "has loaded no version of model", id="no version"),
        pytest.param(answers(versions=["main"], inputs=[INPUT]), "has version 'main' of model", id="a name for a version"),
        pytest.param(answers(versions=["9" * 5000], inputs=[INPUT]), "and a version is a number", id="a number without end"),
        pytest.param(answers(versions=["2"], inputs=[]), "with the inputs none", id="no input"),
        pytest.param(answers(versions=["2"], inputs=[INPUT, OTHER]), "with the inputs input, other", id="two inputs"),
        pytest.param(answers(versions=["2"], inputs=[INPUT]), "is BYTES[4, 1], and was to be FP32[", id="texts for numbers"),
    ],
)
def test_what_a_wrong_server_says_of_a_model_is_named(tmp_path: Path, given: dict[str, list[Message]], message: str) -> None:
    for number in (1, 2):
        write_version(tmp_path, "v", number)
    with server(of(given)) as address:
        assert message in said("models", "load", "v", "--models", tmp_path, "--engine", f"triton://{address}")


@pytest.mark.parametrize("option", ["--engine", "--gateway"])
def test_answers_of_another_protocol_end_in_one_line(tmp_path: Path, option: str) -> None:
    write_version(tmp_path, "v", 1)
    with server(lambda _rpc, _context: [b"\xff\xff\xff"]) as address:
        where = f"triton://{address}" if option == "--engine" else address
        wait = [] if option == "--engine" else ["--wait-s", "1"]
        assert address in said("models", "load", "v", "--models", tmp_path, option, where, *wait)


def test_an_empty_configuration_is_told_before_triton_is_asked(tmp_path: Path) -> None:
    write_version(tmp_path, "v", 1)
    (tmp_path / "v" / "config.pbtxt").write_text("")
    with server(of({})) as address:
        said_so = said("models", "load", "v", "--models", tmp_path, "--engine", f"triton://{address}")
    assert "config.pbtxt: max_batch_size is 0; it has to be at least 1: correct it, or export again" in said_so
