"""Triton loads valid models, and refuses others with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tritonclient.grpc
from integration.jobs import eventually
from integration.triton_server.calls import Call, infer, rows
from integration.triton_server.made_models import save_classifier
from integration.triton_server.processes import group
from triton_server.install import TritonInstall
from triton_server.server import TritonServer, TritonStartError


def test_a_model_that_does_not_fit_its_configuration_ends_the_start(triton_install: TritonInstall, tmp_path: Path) -> None:
    save_classifier(tmp_path, width=7)
    with pytest.raises(TritonStartError, match=r"has shape \[-1, 7\] in the configuration, \[-1, 4\] in the model"):
        TritonServer(triton_install, tmp_path).__enter__()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("TYPE_FP32 dims: [ 4 ]", "TYPE_FP64 dims: [ 4 ]", "TYPE_FP64 in the configuration"),
        ('name: "logits"', 'name: "lodgings"', "a tensor 'lodgings', the model has logits, probabilities"),
        ("TYPE_FP32 dims: [ 3 ]", "TYPE_FP32 dims: [ -1 ]", "tensor 'logits' has shape"),
        ("max_batch_size: 8", "max_batch_size: 0", "tensor 'x' has shape [4] in the configuration"),
        ("intra_op_thread_count", "execution_mode", "parameter 'execution_mode' must be 0 or 1, but is '3'"),
    ],
)
def test_models_that_do_not_load_say_why(
    triton_install: TritonInstall, tmp_path: Path, before: str, after: str, words: str
) -> None:
    save_classifier(tmp_path, extra='parameters { key: "intra_op_thread_count" value { string_value: "3" } }')
    config = tmp_path / "classifier" / "config.pbtxt"
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after, 1))
    with TritonServer(triton_install, tmp_path, load_models=()) as server, pytest.raises(Exception, match="load") as caught:
        tritonclient.grpc.InferenceServerClient(server.grpc_url).load_model("classifier")
    assert words in str(caught.value)


@pytest.mark.slow
def test_threads_are_those_of_the_configuration(triton_install: TritonInstall, tmp_path: Path) -> None:
    def threads(count: int) -> int:
        folder = tmp_path / str(count)
        save_classifier(folder, extra=f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{count}" }} }}')
        with TritonServer(triton_install, folder) as server:
            (backend,) = group(server.pid) - {server.pid}
            return len(list(Path(f"/proc/{backend}/task").iterdir()))

    assert threads(5) - threads(2) == 3


def test_a_new_version_takes_over_while_requests_come_in(triton_install: TritonInstall, classifier_only: Path) -> None:
    with TritonServer(triton_install, classifier_only, model_control="poll") as server:
        client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
        shutil.copytree(classifier_only / "classifier" / "1", classifier_only / "beside")
        (classifier_only / "beside").rename(classifier_only / "classifier" / "2")

        def second_serves() -> bool:
            infer(server, Call("classifier", {"x": rows(2)}))  # never fails meanwhile
            return bool(client.is_model_ready("classifier", "2") and not client.is_model_ready("classifier", "1"))

        assert eventually(second_serves)
