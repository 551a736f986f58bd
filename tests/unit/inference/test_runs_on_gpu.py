"""embedded.py: `--device` and the kinds of its instance groups decide where a model runs, with and without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.lookup_model import write_lookup

from avizor_inference.engines import embedded
from avizor_inference.engines.device import Device
from avizor_inference.engines.embedded import EmbeddedEngine, runs_on_gpu
from avizor_inference.repository.models import ModelRepository

NONE, AUTO, CPU, GPU = "", *(f"instance_group [ {{ kind: KIND_{kind} }} ]" for kind in ("AUTO", "CPU", "GPU"))


@pytest.mark.parametrize(
    ("device", "fields", "with_gpu", "without"),
    [
        ("config", NONE, True, False),
        ("config", AUTO, True, False),
        ("config", CPU, False, False),
        ("config", GPU, True, True),  # and is refused without one
        ("config", CPU + GPU, True, True),
        ("config", CPU + AUTO, True, False),
        ("cpu", GPU, False, False),
        ("cuda", CPU, True, True),
    ],
)
def test_kinds_and_device_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device, fields: str, with_gpu: bool, without: bool
) -> None:
    write_lookup(tmp_path, fields)
    version = ModelRepository(tmp_path).served("lookup")
    for has_gpu, expected in ((True, with_gpu), (False, without)):
        monkeypatch.setattr(embedded, "has_gpu", lambda has_gpu=has_gpu: has_gpu)
        assert runs_on_gpu(device, version) == expected


def test_a_model_of_kind_cpu_leaves_a_gpu_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There need be no GPU: a session on one would be refused here."""
    monkeypatch.setattr(embedded, "has_gpu", lambda: True)
    write_lookup(tmp_path, CPU)
    with EmbeddedEngine(tmp_path) as engine:
        assert engine.spec("lookup").engine_class == "onnxruntime-cpu"
