"""engines/openvino.py: what the contract suite does not ask of every engine."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.engines import openvino
from avizor_inference.engines.base import InferRequest, engine_kind
from avizor_inference.engines.int8_sums import sums_saturate
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.engines.openvino import OpenVinoEngine, computes_bf16
from avizor_inference.engines.probe_check import check_probe
from avizor_inference.errors import DeadlineExceeded, SettingsError, VersionRefused
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository

WIDE = TensorInput(name="x", item_shape=(64,))
OUTPUTS = ("probabilities", "embedding", "activations")

needs_bf16 = pytest.mark.skipif(not computes_bf16(), reason="the processor has no instructions for bf16")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 1)).astype(np.uint8)


@needs_bf16
def test_bf16_answers_nearly_the_same_and_says_so(models: Path) -> None:
    request = InferRequest("digits", {"image": images(7)}, OUTPUTS)
    with OpenVinoEngine(models) as exact, OpenVinoEngine(models, precision="bf16") as rounded:
        one, other = exact.infer(request), rounded.infer(request)
        assert engine_kind(rounded.spec("digits"), ModelRepository(models).version("digits")).key == "openvino/bf16"
    for name in OUTPUTS:
        difference = np.abs(one[name] - other[name]).max() / np.abs(one[name]).max()
        assert 1e-5 < difference < 0.02, name


class Cancelling(nn.Module):
    """Takes large products away from each other: in 8 bits nothing is left of the difference."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        weights = torch.randn(3, 32)
        self.linear = nn.Linear(64, 3)
        self.linear.weight.data = torch.cat([1000 * weights, -1000 * weights - torch.randn(3, 32)], 1)

    def forward(self, x: Tensor) -> Tensor:
        half = x[:, :32]
        logits: Tensor = self.linear(torch.cat([half, half], 1))
        return logits


@needs_bf16
def test_a_model_that_does_not_bear_bf16_is_refused_there_alone(tmp_path: Path) -> None:
    export_model(Cancelling(), ExportRequest("c", "classify", WIDE, labels=["a", "b", "c"]), tmp_path)
    with OpenVinoEngine(tmp_path) as exact:
        assert exact.spec("c").precision is None
    with (
        OpenVinoEngine(tmp_path, precision="bf16") as rounded,
        pytest.raises(VersionRefused, match=r"differs by .* where 0.05 is allowed in bf16; use an engine in another precision"),
    ):
        rounded.spec("c")


@needs_bf16
def test_a_quantised_model_stays_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    items = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    held_out = LabelledItems(items, network(torch.from_numpy(items)).argmax(1).numpy())
    request = ExportRequest(
        "q", "classify", WIDE, labels=["a", "b", "c"], real_items=items, held_out=held_out, precision="int8", max_drop=0.1
    )
    version = export_model(network, request, tmp_path)
    for precision in ("fp32", "bf16"):
        with OpenVinoEngine(tmp_path, precision=precision) as engine:
            assert engine_kind(engine.spec("q"), version).precision == "int8"


@pytest.mark.skipif(not sums_saturate(), reason="the processor has instructions for whole sums of int8 products")
def test_a_version_in_int8_of_which_sums_are_cut_off_is_refused(tmp_path: Path) -> None:
    hidden, head, rng = nn.Linear(64, 16), nn.Linear(16, 3), np.random.default_rng(0)
    network = nn.Sequential(hidden, nn.ReLU(), head)
    with torch.no_grad():  # the largest weights throughout, and classes that differ in how large the values are
        hidden.weight.fill_(0.05)
        hidden.bias.zero_()
        head.weight.zero_()[1, 0] = 10
        head.bias.copy_(torch.tensor([0.0, -26.0, -50.0]))
    items = (rng.uniform(0.6, 1, (200, 1)) * rng.uniform(0.98, 1, (200, 64))).astype(np.float32)
    held_out = LabelledItems(items, network(torch.from_numpy(items)).argmax(1).numpy())
    request = ExportRequest(
        "q", "classify", WIDE, labels=["a", "b", "c"], real_items=items, held_out=held_out, precision="int8", max_drop=0.1
    )
    version = export_model(network, request, tmp_path)
    with open_engine("ort", ModelRepository(tmp_path)) as engine:
        check_probe(engine, version)
    with (
        OpenVinoEngine(tmp_path) as other,
        pytest.raises(VersionRefused, match="int8; on x86 without VNNI use --engine ort"),
    ):
        other.spec("q")


def test_many_sets_of_outputs_are_computed_and_few_graphs_are_kept(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "_MOST_SETS", 2)
    sets = [[name] for name in OUTPUTS] + [["embedding", "probabilities"], ["activations", "embedding"]]
    with OpenVinoEngine(models) as engine, open_engine("ort", ModelRepository(models)) as other:
        for outputs in sets:
            request = InferRequest("digits", {"image": images(3)}, outputs)
            answers = engine.infer(request)
            assert list(answers) == outputs
            for name, values in other.infer(request).items():
                np.testing.assert_allclose(answers[name], values, atol=1e-4)
        graphs = engine._loaded["digits", 1].start.args[0]  # type: ignore[attr-defined]
        assert len({id(compiled) for compiled in graphs._compiled.values()}) == 2


def test_answers_are_right_while_other_runs_are_cancelled(models: Path) -> None:
    """A deadline ends a run, and never one that uses the same infer request after it."""
    items, ends = images(16), {"answered": 0, "late": 0}
    with OpenVinoEngine(models, many_callers=True) as engine:
        wanted = engine.infer(InferRequest("digits", {"image": items}, ["probabilities"]))["probabilities"]

        def call(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(150):
                timeout_s = float(rng.choice([10.0, rng.uniform(1e-5, 2e-3)]))
                try:
                    answer = engine.infer(InferRequest("digits", {"image": items}, ["probabilities"], timeout_s=timeout_s))
                except DeadlineExceeded:
                    assert timeout_s < 10
                    ends["late"] += 1
                else:
                    np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-5)
                    ends["answered"] += 1

        failures: list[BaseException] = []

        def watched(seed: int) -> None:
            try:
                call(seed)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=watched, args=[seed]) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert min(ends.values()) > 0


def test_a_graph_that_openvino_cannot_load_is_refused(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        def read_model(self, path: Path) -> None:
            openvino.open_core().read_model(path.with_name("manifest.json"))

    with OpenVinoEngine(models) as engine:
        monkeypatch.setattr(engine, "_core", Core())
        with pytest.raises(VersionRefused, match="OpenVINO cannot load model 'digits': ") as refused:
            engine.spec("digits")
    assert "Exception from" not in str(refused.value)


def test_the_engine_says_what_is_missing(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = ModelRepository(models)
    with pytest.raises(SettingsError, match="--device cuda: the engine 'openvino' computes on the CPU"):
        open_engine("openvino", repository, device="cuda")
    monkeypatch.setattr(openvino, "computes_bf16", lambda: False)
    with pytest.raises(SettingsError, match="no instructions for bf16; choose --engine openvino"):
        open_engine("openvino:bf16", repository)
    openvino.open_core.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SettingsError, match=r"needs the extra: pip install 'avizor\[openvino\]'"):
        open_engine("openvino", repository)
