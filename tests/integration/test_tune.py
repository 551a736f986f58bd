"""Serving settings work in a real Triton, and `avizor tune` works as users run it, embedded and on that Triton."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support.environment import on_gpu
from support.warm_starts import WarmPopen, warm_run
from triton_server.install import TritonInstall
from triton_server.server import TritonServer
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.graph.to_onnx import optimise
from avizor_export.request import ExportRequest
from avizor_export.triton_config.config_pbtxt import generated_config, published_settings
from avizor_export.triton_config.overrides import read_overrides
from avizor_export.triton_config.settings import ServingOptions, ServingSettings, serving_of
from avizor_export.tuning.candidates import Candidate
from avizor_export.tuning.cli import tune
from avizor_export.tuning.save import write_tuned
from avizor_inference.checks.check_version import check_model
from avizor_inference.engines import openvino
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.open_engine import engines_here
from avizor_inference.engines.openvino import computes_bf16
from avizor_inference.engines.temporary_model import temporary_model, temporary_name
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import AvizorError, EngineError, ExportError, SettingsError, VersionRefused
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import OVERRIDES_FILE, read_config
from avizor_pipeline.models import choose

AVIZOR = Path(sys.executable).with_name("avizor")
VARIANTS = {
    "cpu": ServingSettings(target="cpu", intra_op_threads=1),
    "queue": ServingSettings(max_queue_size=2, queue_timeout_ms=5000, queue_timeout_action="reject"),
    "delay": ServingSettings(queue_timeout_ms=1, queue_timeout_action="delay", allow_timeout_override=False),
    "cached": ServingSettings(response_cache=True),
    "several": ServingSettings(preferred_batch_sizes=(2, 4), instances=2, queue_delay_us=2000, max_batch_size=8),
}


def avizor(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return warm_run([str(AVIZOR), *map(str, arguments)], timeout=120, cwd=cwd)


def served_models(client: InferenceServerClient) -> set[str]:
    """Names of all models that are loaded; the repository's index lacks those whose files came with the call."""
    return {each.name for each in client.get_inference_statistics().model_stats}


def served_as(models: Path, source: str, folder: Path, name: str, serving: ServingSettings) -> None:
    """Publish a copy of a model under another name and with other settings, as export would write them."""
    shutil.copytree(models / source, folder / name)
    manifest_path = folder / name / "1" / "manifest.json"
    manifest_path.write_text(manifest_path.read_text().replace(f'"name": "{source}"', f'"name": "{name}"', 1))
    write_config(folder, name, serving)


def write_config(folder: Path, name: str, serving: ServingSettings) -> None:
    """Write config.pbtxt of a model as export does."""
    manifest = ModelRepository(folder).version(name).manifest
    text = generated_config(manifest, serving, {1: manifest.model_sha256}, read_overrides(folder / name))
    (folder / name / "config.pbtxt").write_text(text)


@pytest.fixture(scope="module")
def variants(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants") / "models"
    for name, serving in VARIANTS.items():
        served_as(models, "digits", folder, name, serving)
    return folder


@pytest.fixture(scope="module")
def server(triton_install: TritonInstall, variants: Path) -> Iterator[TritonServer]:
    with TritonServer(triton_install, variants, extra_args=["--cache-config=local,size=16777216"]) as running:
        yield running


@pytest.fixture
def tuning(models: Path, tmp_path: Path) -> Path:
    """A folder with a repository of its own, `models`, holding `digits` and `normal`."""
    serving = ServingSettings(max_batch_size=16, queue_delay_us=300, intra_op_threads=0)
    served_as(models, "digits", tmp_path / "models", "digits", serving)
    shutil.copytree(models / "normal", tmp_path / "models" / "normal")
    return tmp_path


def test_every_variant_is_loaded_by_triton_as_it_was_written_and_answers(variants: Path, server: TritonServer) -> None:
    items = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1)).astype(np.uint8)
    repository = ModelRepository(variants)
    with (
        EmbeddedEngine(repository) as embedded,
        TritonEngine(server.grpc_url) as engine,
        InferenceServerClient(server.grpc_url) as client,
    ):
        for name, serving in VARIANTS.items():
            assert check_model(repository, name) == []
            loaded: ModelConfig = client.get_model_config(name).config
            # On a server without a GPU KIND_AUTO has become KIND_CPU; a full batch is what Triton prefers by itself.
            preferred = serving.preferred_batch_sizes or (serving.max_batch_size,)
            # The graph is small, so it has one thread.
            assert serving_of(loaded) == replace(serving, target="cpu", preferred_batch_sizes=preferred, intra_op_threads=1)
            found = engine.infer(InferRequest(name, {"image": items}, ["probabilities"]))["probabilities"]
            expected = embedded.infer(InferRequest(name, {"image": items}, ["probabilities"]))["probabilities"]
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_full_queue_turns_requests_away(server: TritonServer) -> None:
    items = np.zeros((64, 32, 32, 1), np.uint8)
    with TritonEngine(server.grpc_url) as engine, ThreadPoolExecutor(64) as pool:
        futures = [pool.submit(engine.infer, InferRequest("queue", {"image": items}, ["activations"])) for _ in range(64)]
        errors = [error for future in futures if (error := future.exception())]
    assert 0 < len(errors) < 64
    assert all("maximum queue size" in str(error) for error in errors)


def test_a_cached_answer_is_given_again_and_never_with_outputs_of_another_request(server: TritonServer) -> None:
    items = np.full((1, 32, 32, 1), 77, np.uint8)
    with TritonEngine(server.grpc_url) as engine:
        first, again = (
            engine.infer(InferRequest("cached", {"image": items}, ["probabilities"]))["probabilities"] for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)
        with pytest.raises(EngineError, match="without embedding; with response_cache in its config, all clients have to ask"):
            engine.infer(InferRequest("cached", {"image": items}, ["embedding"]))
    metrics = urllib.request.urlopen(server.metrics_url).read().decode()
    hits = next(line for line in metrics.splitlines() if line.startswith('nv_cache_num_hits_per_model{model="cached"'))
    assert float(hits.rsplit(" ", 1)[1]) >= 1


def test_tune_embedded_writes_what_it_chose(tuning: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (tuning / "models/digits/config.pbtxt").read_text()
    arguments = (
        "tune",
        "digits",
        "--seconds",
        "0.15",
        "--batch",
        "2,8",
        "--threads",
        "1",
        "--instances",
        "1",
        "--engine",
        "ort",
    )
    monkeypatch.chdir(tuning)
    dry = CliRunner().invoke(tune, [*arguments[1:], "--dry-run"], catch_exceptions=False)
    assert "config.pbtxt would have: " in dry.stdout
    assert (tuning / "models/digits/config.pbtxt").read_text() == before

    result = avizor(*arguments, "--plot", "pictures/trade-off.png", cwd=tuning)
    assert result.returncode == 0, result.stderr
    assert (tuning / "pictures/trade-off.png").read_bytes().startswith(b"\x89PNG")
    (marked,) = [line.split() for line in result.stdout.splitlines() if line.startswith("* ")]
    chosen = int(marked[4])
    assert f"chosen: engine ort, instances 1, threads 1, batch {chosen}" in result.stdout
    wanted = ServingSettings(max_batch_size=16, queue_delay_us=300, call_batch_size=chosen, intra_op_threads=1, engine="ort")
    assert published_settings(tuning / "models", "digits") == wanted
    assert "instance count not changed" in result.stdout
    after = (tuning / "models/digits/config.pbtxt").read_text()
    assert "# Requests that arrive within the delay" in after
    assert check_model(ModelRepository(tuning / "models"), "digits") == []

    # A batch job fills what was tuned.
    repository = ModelRepository(tuning / "models")
    assert choose(repository.version("digits"), None).batch_size == chosen
    assert choose(repository.version("digits"), None, 5).batch_size == 5
    assert choose(repository.version("normal"), None).batch_size == 32


def test_tune_compares_all_engines_and_a_batch_job_runs_each_model_on_the_one_that_was_chosen(tuning: Path) -> None:
    arguments = ("--seconds", 0.1, "--batch", 4, "--threads", 1, "--instances", 1)
    result = avizor("tune", "digits", *arguments, cwd=tuning)
    assert result.returncode == 0, result.stderr
    table = [line.lstrip("* ").split()[0] for line in result.stdout.splitlines()[1 : 1 + len(engines_here())]]
    assert table == engines_here()
    assert published_settings(tuning / "models", "digits").engine in engines_here()

    refused = avizor("tune", "digits", *arguments, "--engine", "tuned", cwd=tuning)
    assert "--engine tuned: tune measures ort, openvino, openvino:bf16, or all of them" in refused.stderr
    only = avizor("tune", "digits", *arguments, "--engine", "openvino", cwd=tuning)
    assert only.returncode == 0, only.stderr
    assert "engine ort -> openvino" in only.stdout or "openvino" in (tuning / "models/digits/config.pbtxt").read_text()
    assert "openvino computes the model where a command has --engine tuned" in only.stdout
    assert check_model(ModelRepository(tuning / "models"), "digits") == []

    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tuning / "digit.png")
    done = avizor("batch", "digit.png", "--model", "digits", "--engine", "tuned", "--out", "out", cwd=tuning)
    assert done.returncode == 0, done.stderr
    (model,) = json.loads((tuning / "out/job.json").read_text())["models"]
    assert model["engine"] == "openvino"
    assert "digits: ran on openvino (--engine tuned)" in done.stdout


def test_a_model_that_does_not_bear_bf16_is_not_measured_in_it(tuning: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_opened: object, version: ModelVersion, _precision: object) -> None:
        raise VersionRefused(f"{version.name} differs")

    monkeypatch.setattr(openvino, "_prove", refuse)
    monkeypatch.chdir(tuning)
    options = ["digits", "--seconds", "0.1", "--batch", "4", "--threads", "1", "--instances", "1", "--dry-run"]
    result = CliRunner().invoke(tune, options, catch_exceptions=False)
    if computes_bf16():
        assert "openvino:bf16 is left out: digits differs" in result.stderr
    assert "openvino:bf16" not in result.stdout


def test_an_export_keeps_what_was_tuned_while_it_ran(tuning: Path) -> None:
    models = tuning / "models"

    def tuned_meanwhile(program: torch.onnx.ONNXProgram) -> None:
        write_tuned(models, ModelRepository(models).version("digits"), Candidate(2, 3, 1, 8, queue_delay_us=40))
        optimise(program)

    spec, labels = ModelRepository(models).version("digits").manifest.input, list("0123456789")
    request = ExportRequest("digits", "classify", spec, labels=labels, serving=ServingOptions(max_queue_size=9))
    export_model(LeNet(), request, models, simplify=tuned_meanwhile)
    assert published_settings(models, "digits") == ServingSettings(
        max_batch_size=16, instances=2, intra_op_threads=3, queue_delay_us=40, max_queue_size=9
    )


def test_instances_measured_on_the_cpu_are_those_of_a_model_for_the_cpu(tuning: Path) -> None:
    models, candidate = tuning / "models", Candidate(2, 1, 8, clients=2)
    served_as(models, "digits", models, "cpu", ServingSettings(target="cpu", preferred_batch_sizes=(4,)))
    for name, instances in (("cpu", 2), ("digits", 1)):
        before = published_settings(models, name)
        write_tuned(models, ModelRepository(models).version(name), candidate)
        assert published_settings(models, name) == replace(before, instances=instances, intra_op_threads=1, call_batch_size=8)


def test_what_the_overrides_set_stays(tuning: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tuning)
    path = tuning / "models/digits/config.pbtxt"
    path.with_name(OVERRIDES_FILE).write_text(
        "dynamic_batching { priority_levels: 2, default_priority_level: 1 }\n"
        'parameters { key: "enable_mem_arena", value: { string_value: "0" } }\n'
    )
    write_config(tuning / "models", "digits", ServingSettings(max_batch_size=16, intra_op_threads=0))
    before = read_config(path)
    np.save("items.npy", np.zeros((3, 32, 32, 1), np.uint8))
    arguments = ["digits", "--seconds", "0.1", "--batch", "4", "--threads", "1", "--instances", "1", "--items", "items.npy"]
    arguments += ["--engine", "ort"]
    CliRunner().invoke(tune, arguments, catch_exceptions=False)
    assert (tuning / "tune-digits.png").exists()
    after = read_config(path)
    assert after.dynamic_batching.priority_levels == 2
    assert after.parameters["avizor_batch_size"].string_value == "4"
    assert after.parameters["intra_op_thread_count"].string_value == "1"
    del after.parameters["avizor_batch_size"]
    del after.parameters["intra_op_thread_count"]
    del after.parameters["avizor_engine"]
    assert after == before


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_could_not_be_written_is_not_measured(tuning: Path, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tuning)
    folder = tuning / "models/digits"
    arguments = [
        "digits",
        "--seconds",
        "3600",
        "--batch",
        "4",
        "--threads",
        "1,2",
        "--instances",
        "1",
        "--engine",
        "ort",
        *more,
    ]
    (folder / OVERRIDES_FILE).write_text('parameters { key: "intra_op_thread_count", value: { string_value: "1" } }')
    with pytest.raises(ExportError, match="sets intra_op_threads to 1, so that 2 would have no effect"):
        tune.main(arguments, standalone_mode=False)
    (folder / "config.pbtxt").write_text((folder / "config.pbtxt").read_text() + "# by hand\n")
    with pytest.raises(ExportError, match=r"was edited \(line 35: '# by hand' instead of ''\)"):
        tune.main(arguments, standalone_mode=False)


def test_what_another_wrote_meanwhile_is_said_and_compared_with(tuning: Path) -> None:
    models = tuning / "models"
    version = ModelRepository(models).version("digits")
    first = write_tuned(models, version, Candidate(1, 2, 8, clients=1))
    assert (first.changed, first.changed_meanwhile) == (["intra_op_threads 0 -> 2", "call_batch_size 0 -> 8"], False)
    second = write_tuned(models, version, Candidate(1, 1, 8, clients=1))
    assert (second.changed, second.changed_meanwhile) == (["intra_op_threads 2 -> 1"], True)
    third = write_tuned(models, ModelRepository(models).version("digits"), Candidate(1, 1, 8, clients=1))
    assert (third.changed, third.changed_meanwhile) == ([], False)


def test_a_repository_that_cannot_be_written_is_found_before_the_measurement(
    tuning: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tuning)
    lock = tuning / "models/.avizor-lock-digits"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # root too can write no file there
    arguments = ["digits", "--seconds", "0.1", "--batch", "4", "--threads", "1", "--instances", "1", "--engine", "ort"]
    with pytest.raises(ExportError, match=r"\.avizor-lock-digits cannot be written .*--dry-run"):
        tune.main(arguments, standalone_mode=False)
    assert not Path("tune-digits.png").exists()
    tune.main([*arguments, "--dry-run"], standalone_mode=False)
    assert Path("tune-digits.png").exists()


def test_a_measurement_whose_choice_cannot_be_written_leaves_its_picture(tuning: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tuning)
    (tuning / "models/digits/.config.pbtxt.new").mkdir()
    arguments = ["digits", "--seconds", "0.1", "--batch", "4", "--threads", "1", "--instances", "1", "--engine", "ort"]
    with pytest.raises(ExportError, match=r"\.config\.pbtxt\.new cannot be written"):
        tune.main(arguments, standalone_mode=False)
    assert Path("tune-digits.png").exists()


def test_tune_on_a_live_triton_leaves_the_server_as_it_was(tuning: Path, server: TritonServer) -> None:
    with InferenceServerClient(server.grpc_url) as client:
        models = served_models(client)
        result = avizor(
            "tune", "normal", "--engine", f"triton://{server.grpc_url}", "--seconds", "0.3", "--instances", "1",
            "--queue-delay-us", "0,1000", "--clients", "1,4", "--max-p99-ms", "60000", cwd=tuning,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        (name,) = set(re.findall(r"avizor-tune-\d+", result.stderr))
        assert not client.is_model_ready(name)
        assert served_models(client) == models
    (marked,) = [line.split() for line in result.stdout.splitlines() if line.startswith("* ")]
    assert published_settings(tuning / "models", "normal") == ServingSettings(
        max_batch_size=16, queue_delay_us=int(marked[3]), intra_op_threads=1
    )
    assert "(4 of 4 candidates are)" in result.stdout


def test_a_model_is_loaded_for_a_moment_whatever_its_config_says_of_its_folder(models: Path, server: TritonServer) -> None:
    version, name = ModelRepository(models).version("digits"), temporary_name("tune")
    config = ModelConfig()
    config.CopyFrom(version.config)
    config.version_policy.specific.versions.append(3)
    config.default_model_filename = "other.onnx"
    config.output[0].label_filename = "names.txt"
    config.dynamic_batching.priority_levels = config.dynamic_batching.default_priority_level = 1
    config.dynamic_batching.priority_queue_policy[1].default_timeout_microseconds = 1
    data = config.model_warmup.add(name="a real one", batch_size=1).inputs["image"]
    data.data_type, data.input_data_file = config.input[0].data_type, "real.raw"
    data.dims.extend(config.input[0].dims)
    with InferenceServerClient(server.grpc_url) as client:
        with temporary_model(server.grpc_url, version.model_path.read_bytes(), config, name) as loaded:
            assert loaded == name
            assert client.is_model_ready(name)
            served = client.get_model_config(name).config
            assert [warmup.name for warmup in served.model_warmup] == ["batch of 1", "batch of 16"]
        assert not client.is_model_ready(name)


def test_a_tune_that_is_terminated_unloads_its_model(tuning: Path, server: TritonServer) -> None:
    command: list[str | Path] = [
        AVIZOR, "tune", "digits", "--engine", f"triton://{server.grpc_url}", "--seconds", "300", "--instances", "1",
        "--queue-delay-us", "0", "--clients", "2",
    ]  # fmt: skip
    before = (tuning / "models/digits/config.pbtxt").read_text()
    with (
        InferenceServerClient(server.grpc_url) as client,
        WarmPopen([*map(str, command)], cwd=tuning, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        (name,) = re.findall(r"avizor-tune-\d+", process.stderr.readline())
        while not client.is_model_ready(name):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=30) == 143
        assert not client.is_model_ready(name)
    assert (tuning / "models/digits/config.pbtxt").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "no model named 'nobody'"),
        (("digits", "--batch", "32"), "batch 32 is over the model's max_batch_size 16"),
        (
            (
                "digits",
                "--batch",
                "2",
                "--threads",
                "1",
                "--instances",
                "1",
                "--engine",
                "ort",
                "--seconds",
                "0.03",
                "--max-p99-ms",
                "1e-9",
            ),
            "no candidate",
        ),
        (
            ("digits", "--engine", "triton://127.0.0.1:1"),
            r"no Triton answers at 127\.0\.0\.1:1: .*; start it, and check",
        ),
        (("digits", "--engine", "triton://localhost", "--device", "cuda"), "--device is for the engine ort"),
        (("digits", "--plot", "out.xyz"), r"out\.xyz does not end in \.png"),
        (("digits", "--plot", "file.txt/out.png"), "its folder cannot be created"),
        (("digits", "--plot", "folder.png"), r"folder\.png cannot be written"),
    ],
)
def test_what_cannot_be_tuned_changes_nothing(
    tuning: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tuning)
    Path("file.txt").touch()
    Path("folder.png").mkdir()
    before = (tuning / "models/digits/config.pbtxt").read_text()
    with pytest.raises(AvizorError, match=message):
        tune.main(list(arguments), standalone_mode=False)
    assert (tuning / "models/digits/config.pbtxt").read_text() == before


@pytest.mark.skipif(on_gpu(), reason="there is a GPU")  # of others the tests see none
def test_without_a_gpu_the_message_is_all_that_is_said(tuning: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        EmbeddedEngine(tuning / "models", device="cuda") as engine,
        pytest.raises(
            SettingsError, match=r"'digits' asks for a GPU and the(re is| NVIDIA driver shows) no.*; fix .* --device cpu"
        ),
    ):
        engine.spec("digits")
    assert capfd.readouterr().err == ""
