"""Triton answers as the embedded engine for stereo sound, signals, pictures with their own transform and a freed ONNX file.

Through the gateway, in a batch job, and in `avizor calibrate`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from integration.gateway import Stub, gateway, png, wav
from integration.jobs import query
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from PIL import Image
from support.signals import SIGNAL, vibration, write_signal
from support.sounds import tone, write_wav
from torchvision import transforms
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor_cli.main import avizor
from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.exporter import adopt_model, export_model
from avizor_export.networks.input_description import parse_input
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import AudioInput, SignalFrontEnd
from avizor_inference.repository.models import ModelRepository, ModelVersion

STEREO = "audio:sample_rate=8000,window_samples=2048,hop_samples=2048,channels=2,front_end=none"
PICTURE = "image:channels=3,resize=40,crop=32,order=bgr,mean=0.4/0.5/0.6,std=0.2/0.3/0.4"
SCALED = SIGNAL.model_copy(update={"front_end": SignalFrontEnd(mean=(0.0, 100.0), std=(9.0, 4.0))})
LABELS = ["low", "mid", "high"]
SOURCES = ("north", "south")


def both_channels(seed: int, source: str, seconds: float = 0.6) -> np.ndarray:
    """Return float32[samples, 2]; the channels differ, and so do the sources."""
    loudness = 1.0 if source == "north" else 0.5
    return loudness * np.stack([tone(seconds, seed), tone(seconds, seed + 1000, hz=660)], axis=1)


def network_of_one_item(path: Path) -> Path:
    """Write a classifier of windows of a signal whose batch is frozen to 1, in its input and in a Reshape."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.standard_normal((4, 2, 9)).astype(np.float32) / 10,
        "shape": np.array([1, 4]),
        "last": rng.standard_normal((4, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["signal", "kernel"], ["maps"], strides=[4]),
        helper.make_node("Tanh", ["maps"], ["bounded"]),
        helper.make_node("GlobalMaxPool", ["bounded"], ["largest"]),
        helper.make_node("Reshape", ["largest", "shape"], ["rows"]),
        helper.make_node("MatMul", ["rows", "last"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "frozen",
        [helper.make_tensor_value_info("signal", TensorProto.FLOAT, [1, 2, 250])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def picture_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("conv4s2 conv8s2 gap fc3", 3, (3, 32, 32)).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models `stereo` and `pumps` (autoencoders of sound and of signals), `bgr` (pictures) and `freed` (an ONNX file)."""
    folder = tmp_path_factory.mktemp("kinds")
    models = folder / "models"
    torch.manual_seed(0)
    sound = parse_input(STEREO)
    assert isinstance(sound, AudioInput)
    normal = [
        NormalRecording(source, both_channels(seed, source)[: 2 * 2048].T.reshape(2, 2, 2048).transpose(1, 0, 2).copy())
        for source in SOURCES
        for seed in range(20)
    ]
    network = build_autoencoder("conv4s2k7 conv4s4k9p4 latentmap2", (2, 2048))
    export_model(network, ExportRequest("stereo", "reconstruct", sound, normal=normal), models)
    windows = [NormalRecording("pump", vibration(250, seed).T[None].copy()) for seed in range(20)]
    network = build_autoencoder("conv4s2 conv4s4k9p4 latentmap2", (2, 250))
    export_model(network, ExportRequest("pumps", "reconstruct", SCALED, normal=windows), models)
    export_model(picture_network(), ExportRequest("bgr", "classify", parse_input(PICTURE), labels=LABELS), models)
    frozen = network_of_one_item(folder / "frozen.onnx")
    adopt_model(frozen, ExportRequest("freed", "classify", SCALED, labels=LABELS), models, free_batch=True)
    return models


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stereo recordings of two sources, two windows and a bit long, and a mono one that no model of two channels takes."""
    folder = tmp_path_factory.mktemp("sounds")
    for source in SOURCES:
        for number in range(20):
            write_wav(folder / source / f"{number}.wav", both_channels(number + 50, source))
    write_wav(folder / "north" / "mono.wav", tone(0.6))
    return folder


@pytest.fixture(scope="module")
def vibrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vibrations")
    for number in range(20):
        write_signal(folder / "pump" / f"{number}.npy", vibration(400, seed=number + 50, impulses=number % 2 == 0))
    return folder


@pytest.fixture(scope="module")
def engine(models: Path, triton_install: TritonInstall) -> Iterator[str]:
    """The name of the one server of this file."""
    with TritonServer(triton_install, models) as server:
        yield f"triton://{server.grpc_url}"


@pytest.fixture(scope="module")
def stubs(models: Path, engine: str) -> Iterator[list[Stub]]:
    """Clients of two gateways: over Triton, and over the embedded engine."""
    with ExitStack() as stack:
        gateways = [stack.enter_context(gateway(models, "--engine", name, "--alpha", 0.1)) for name in (engine, "ort")]
        yield [running.stub(stack.enter_context(grpc.insecure_channel(running.address))) for running in gateways]


def run(*words: object) -> str:
    result = CliRunner().invoke(avizor, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code in (0, 3), result.output
    return str(result.output)


def rows_of_jobs(models: Path, engine: str, data: Path, out: Path, *names: str) -> list[dict[tuple[Any, ...], Any]]:
    """Return the rows of the tables `windows` and `recordings`, for Triton and for the embedded engine.

    Each is a dict from what has to be the same to the number that may differ by rounding.
    """
    tables, keys = [], "uri, source, model, calibration_id, label, is_anomaly"
    for number, engine_name in enumerate((engine, "ort")):
        chosen = [word for name in names for word in ("--model", name)]
        results = out / str(number)
        options = ("--models", models, "--out", results, "--alpha", 0.1, "--workers", 1, "--engine", engine_name)
        run("batch", data, *chosen, *options)
        windows = query(
            f"select {keys}, channel, start_sample, coalesce(score, probability) from '{results}/windows/*.parquet'"
        )
        recordings = query(f"select {keys}, coalesce(score, probability) from '{results}/recordings/*.parquet'")
        tables.append({tuple(key): value for *key, value in [*windows, *recordings]})
    return tables


def verdicts(stub: Stub, model: str, items: list[pb.Item]) -> pb.DetectAnomalyResponse:
    answer: pb.DetectAnomalyResponse = stub.DetectAnomaly(pb.DetectAnomalyRequest(model=model, items=items), timeout=60)
    return answer


def classes(stub: Stub, model: str, items: list[pb.Item]) -> np.ndarray:
    """Return the probabilities of LABELS for each item, float[items, 3]."""
    answer = stub.Classify(pb.ClassifyRequest(model=model, items=items, top_k=3), timeout=60)
    found = [{each.label: each.probability for each in item.classes} for item in answer.items]
    return np.array([[probabilities[label] for label in LABELS] for probabilities in found])


def version(models: Path, name: str) -> ModelVersion:
    return ModelRepository(models).version(name)


def check_same_verdicts(stubs: list[Stub], model: str, items: list[pb.Item], calibration_id: str) -> pb.DetectAnomalyResponse:
    triton, embedded = (verdicts(stub, model, items) for stub in stubs)
    assert triton.calibration_id == embedded.calibration_id == calibration_id
    for one, other in zip(triton.items, embedded.items, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-5)
        assert (one.is_anomaly, one.judged_by, one.error.code) == (other.is_anomaly, other.judged_by, other.error.code)
        assert one.p_value == pytest.approx(other.p_value, abs=1e-9)
        assert [window.span for window in one.windows] == [window.span for window in other.windows]
    return triton


def test_stereo_recordings_get_the_verdicts_of_their_sources(stubs: list[Stub], models: Path) -> None:
    recordings = [wav(both_channels(seed, source)) for source in SOURCES for seed in (70, 71)]
    noise = wav(np.clip(0.3 * np.random.default_rng(0).standard_normal((4800, 2)), -1, 1))
    items = [pb.Item(audio=each, source=source) for source in SOURCES for each in (*recordings, noise)]
    items.append(pb.Item(audio=wav(tone(0.6)), source="north"))
    (calibration,) = version(models, "stereo").calibrations()
    *answers, mono = check_same_verdicts(stubs, "stereo", items, calibration.id).items
    assert [item.judged_by for item in answers] == ["north"] * 4 + ["*"] + ["south"] * 2 + ["south"] * 2 + ["*"]
    assert [(window.span.channel, window.span.start_sample) for window in answers[0].windows] == [(0, 0), (0, 2048), (0, 2752)]
    # Twice as loud as its source is: an anomaly of the south, and normal in the north.
    assert [item.is_anomaly for item in answers] == [False, False, False, False, True, True, True, False, False, True]
    assert "the recording has 1 channel, and the model takes 2 together" in mono.error.message


def test_a_batch_job_of_stereo_recordings_writes_the_same_rows(
    models: Path, engine: str, sounds: Path, stubs: list[Stub], tmp_path: Path
) -> None:
    triton, embedded = rows_of_jobs(models, engine, sounds, tmp_path, "stereo")
    assert triton == pytest.approx(embedded, rel=1e-5)
    assert len(triton) == (3 + 1) * 40  # windows and recordings
    (letter,) = query(f"select message from '{tmp_path}/0/dead_letters/*.parquet'")
    assert "the recording has 1 channel, and the model takes 2 together" in letter[0]
    path = sounds / "south" / "7.wav"
    (item,) = verdicts(stubs[0], "stereo", [pb.Item(audio=path.read_bytes(), source="south")]).items
    (of_batch,) = query(f"select score, p_value, is_anomaly from '{tmp_path}/0/recordings/*.parquet' where uri = '{path}'")
    assert (item.score, item.p_value, item.is_anomaly) == pytest.approx(of_batch, rel=1e-5)


def test_signals_get_the_same_verdicts_and_rows(
    models: Path, engine: str, vibrations: Path, stubs: list[Stub], tmp_path: Path
) -> None:
    files = sorted((vibrations / "pump").iterdir())
    items = [pb.Item(signal=file.read_bytes(), source="pump") for file in files]
    (calibration,) = version(models, "pumps").calibrations()
    answers = check_same_verdicts(stubs, "pumps", items, calibration.id).items
    triton, embedded = rows_of_jobs(models, engine, vibrations, tmp_path, "pumps", "freed")
    assert triton == pytest.approx(embedded, rel=1e-5)
    assert len(triton) == 2 * (2 + 1) * 20
    of_batch = dict(query(f"select uri, score from '{tmp_path}/0/recordings/*.parquet' where model = 'pumps'"))
    assert {str(file): item.score for file, item in zip(files, answers, strict=True)} == pytest.approx(of_batch, rel=1e-5)


def test_a_freed_onnx_file_answers_batches_as_it_answered_single_items(stubs: list[Stub], models: Path) -> None:
    windows = [vibration(250, seed).T.copy() for seed in range(5)]
    items = [pb.Item(tensor=pb.Tensor(dtype="float32", shape=[2, 250], data=window.tobytes())) for window in windows]
    original = InferenceSession(models.parent / "frozen.onnx", providers=["CPUExecutionProvider"])
    scaled = [(window[None] - [[0], [100]]) / [[9], [4]] for window in windows]
    logits = np.concatenate([original.run(None, {"signal": each.astype(np.float32)})[0] for each in scaled])
    expected = torch.softmax(torch.from_numpy(logits), 1).numpy()
    assert np.ptp(expected, axis=0).max() > 0.01
    for stub in stubs:
        np.testing.assert_allclose(classes(stub, "freed", items), expected, atol=1e-5)


def test_pictures_are_answered_as_by_torch(stubs: list[Stub]) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((50, 70), (90, 41), (20, 33))]
    steps = [transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor()]
    transform, scale = transforms.Compose(steps), transforms.Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    network_input = torch.stack([scale(transform(Image.fromarray(pixels)).flip(0)) for pixels in pictures])
    with torch.inference_mode():
        expected = torch.softmax(picture_network()(network_input), 1).numpy()
    for stub in stubs:
        actual = classes(stub, "bgr", [pb.Item(image=png(pixels)) for pixels in pictures])
        np.testing.assert_allclose(actual, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["stereo", "pumps"])
def test_a_calibration_through_triton_is_that_of_the_embedded_engine(
    models: Path, engine: str, sounds: Path, vibrations: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    data = {"stereo": sounds, "pumps": vibrations}[name]
    if name == "stereo":
        data = tmp_path / "stereo"
        shutil.copytree(sounds, data, ignore=shutil.ignore_patterns("mono.wav"))
    made = []
    for engine_name in (engine, "ort"):
        before = set(version(copy, name).calibration_ids())
        run("calibrate", name, "--data", data, "--models", copy, "--engine", engine_name, "--activate")
        (new,) = set(version(copy, name).calibration_ids()) - before
        made.append(version(copy, name).calibration(new))
    triton, embedded = made
    assert triton.kind == embedded.kind
    assert set(triton.sources) == ({"north", "south"} if name == "stereo" else {"pump"})
    assert {source: len(scores) for source, scores in triton.sources.items()} == dict.fromkeys(triton.sources, 20)
    for source, recordings in triton.sources.items():
        for one, other in zip(recordings, embedded.sources[source], strict=True):
            assert one == pytest.approx(other, rel=1e-5)
