"""The embedded engine finds the GPU that it is asked for, and uses none that is hidden from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.environment import on_gpu

from avizor_inference.engines.embedded import EmbeddedEngine

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


@EMBEDDED
@pytest.mark.skipif(not on_gpu(), reason="needs a GPU")
def test_a_model_of_kind_auto_runs_on_the_gpu(engine: str, models: Path) -> None:
    with EmbeddedEngine(models) as opened:
        assert opened.spec("digits").engine_class == "onnxruntime-cuda"


@EMBEDDED
def test_a_gpu_that_is_hidden_is_not_used(engine: str, models: Path) -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", OPEN, models], env=hidden, capture_output=True, text=True, check=True)
    by_kind, by_name = done.stdout.splitlines()
    assert by_kind == "onnxruntime-cpu"
    reason = "the NVIDIA driver shows none to this process" if on_gpu() else "there is no NVIDIA driver here"
    assert reason in by_name
    assert by_name.endswith("choose the CPU by name (device='cpu', --device cpu)")
