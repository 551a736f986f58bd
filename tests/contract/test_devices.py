"""The embedded engine finds the GPU that it is asked for, and uses none that is hidden from it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from support.environment import on_gpu
from support.wide_graph import TOO_WIDE, wide_graph

from avizor_export.architectures.catalogue import ARCHITECTURES, build, build_autoencoder
from avizor_export.exporter import export_model
from avizor_export.parity.probe_items import random_items
from avizor_export.request import ExportRequest
from avizor_inference.arrays import Array
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.ort_session import open_session
from avizor_inference.engines.sized_sessions import SizedSessions
from avizor_inference.errors import GpuFull, SettingsError
from avizor_inference.items.input_spec import ImageInput
from avizor_inference.repository.models import ModelRepository

OPEN = """
import sys
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import SettingsError
for device in ("config", "cuda"):
    with EmbeddedEngine(sys.argv[1], device=device) as engine:
        try:
            print(engine.spec("digits").engine_class)
        except SettingsError as error:
            print(error)
"""
EMBEDDED = pytest.mark.parametrize("engine", ["embedded"])  # the column of docs/gpu.md
NEEDS_A_GPU = pytest.mark.skipif(not on_gpu(), reason="needs a GPU")
AUTOENCODER = "conv16s2 conv32s2 conv64s2 latent32"


def of_kind(kind: str, models: Path, folder: Path) -> Path:
    """Return a repository with `digits`, whose instance group is another one."""
    shutil.copytree(models / "digits", folder / "digits")
    config = folder / "digits" / "config.pbtxt"
    text = config.read_text()
    assert "{ kind: KIND_AUTO, count: 1 }" in text
    config.write_text(text.replace("{ kind: KIND_AUTO, count: 1 }", kind))
    return folder


def answers(engine: EmbeddedEngine, name: str, items: Array) -> dict[str, Array]:
    spec = engine.spec(name)
    (tensor,) = spec.inputs
    return engine.infer(InferRequest(name, {tensor: items}, list(spec.outputs)))


@EMBEDDED
@NEEDS_A_GPU
def test_a_model_of_kind_auto_runs_on_the_gpu(engine: str, models: Path) -> None:
    with EmbeddedEngine(models) as opened:
        assert opened.spec("digits").engine_class == "onnxruntime-cuda"


@EMBEDDED
@NEEDS_A_GPU
def test_a_model_of_kind_cpu_leaves_the_gpu_to_others(engine: str, models: Path, tmp_path: Path) -> None:
    with EmbeddedEngine(of_kind("{ kind: KIND_CPU, count: 1 }", models, tmp_path)) as opened:
        assert opened.spec("digits").engine_class == "onnxruntime-cpu"


@EMBEDDED
@NEEDS_A_GPU
def test_a_gpu_that_is_not_there_is_refused_by_its_number(engine: str, models: Path, tmp_path: Path) -> None:
    repository = of_kind("{ kind: KIND_GPU, count: 1, gpus: [ 99 ] }", models, tmp_path)
    with EmbeddedEngine(repository) as opened, pytest.raises(SettingsError, match="'digits' asks for GPU 99, and the NVIDIA"):
        opened.spec("digits")


@EMBEDDED
@NEEDS_A_GPU
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, AUTOENCODER])
def test_each_architecture_has_the_answers_of_the_cpu(engine: str, architecture: str, tmp_path: Path) -> None:
    """By what export allows its parity with torch: both are compared with the same network."""
    torch.manual_seed(0)
    if architecture == AUTOENCODER:
        image = ImageInput(height=128, width=128, channels=1)
        export_model(build_autoencoder(AUTOENCODER, (1, 128, 128)), ExportRequest("it", "reconstruct", image), tmp_path)
    else:
        channels, height, width = ARCHITECTURES[architecture].shape
        image = ImageInput(height=height, width=width, channels=channels)
        request = ExportRequest("it", "classify", image, labels=[str(number) for number in range(10)])
        export_model(build(architecture, 10, (channels, height, width)), request, tmp_path)
    items = random_items(ModelRepository(tmp_path).served("it").manifest.input, 5)
    with EmbeddedEngine(tmp_path, device="cuda") as gpu, EmbeddedEngine(tmp_path, device="cpu") as cpu:
        found, expected = answers(gpu, "it", items), answers(cpu, "it", items)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(values).max())))


@EMBEDDED
@NEEDS_A_GPU
def test_a_full_gpu_is_said_and_the_next_run_goes_on(engine: str) -> None:
    opened = partial(open_session, wide_graph(), "model 'wide'", on_gpu=True)
    sessions = SizedSessions(opened(), opened, 8, "model 'wide'")
    said = rf"the GPU has no memory left for a run of 2 rows of model 'wide' \(requested buffer of size {4 * TOO_WIDE}\)"
    with pytest.raises(GpuFull, match=said):
        sessions.run(["sum"], {"width": np.full((2, 1), TOO_WIDE)}, ort.RunOptions())
    (sums,) = sessions.run(["sum"], {"width": np.full((2, 1), 5)}, ort.RunOptions())
    np.testing.assert_array_equal(sums, np.full((2, 1), 5))


@EMBEDDED
@NEEDS_A_GPU
def test_tune_measures_the_gpu_without_trying_cpu_threads(engine: str, models: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("avizor")), "tune", "digits", "--models", str(models), "--engine", "ort"]
    options = ["--batch", "1,16", "--instances", "1,2", "--seconds", "0.3", "--dry-run", "--plot", str(tmp_path / "tune.png")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 candidates" in done.stderr


@EMBEDDED
def test_a_gpu_that_is_hidden_is_not_used(engine: str, models: Path) -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", OPEN, models], env=hidden, capture_output=True, text=True, check=True)
    by_kind, by_name = done.stdout.splitlines()
    assert by_kind == "onnxruntime-cpu"
    assert re.search(
        "the NVIDIA driver shows none to this process" + "|there is no NVIDIA driver here" * (not on_gpu()), by_name
    )
    assert by_name.endswith("choose the CPU by name (device='cpu', --device cpu)")
