"""Models of signals: one-dimensional specs, their front end, and what `avizor describe` says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.signals import SIGNAL, vibration
from torch import nn

from avizor_export.architectures.catalogue import build
from avizor_export.description.cli import describe
from avizor_export.description.design_rules import warnings_for
from avizor_export.description.targets import layers_of_design, layers_of_network
from avizor_export.exporter import export_model
from avizor_export.front_ends.build import build_front_end, fit_constants
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import SignalFrontEnd


def windows(count: int, seed: int = 0) -> np.ndarray:
    return vibration(250 * count, seed).reshape(count, 250, 2).transpose(0, 2, 1).copy()


def test_the_words_of_a_spec_make_layers_of_one_dimension() -> None:
    network = build("conv8x2k7bn maxpool conv16s2 lrn avgpool3s2p1 gap drop0.1 fc12bn fc3", 3, (2, 250)).eval()
    kinds = {type(layer) for layer in network.modules() if not list(layer.children())}
    assert {nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d} < kinds
    assert network(torch.rand(4, 2, 250)).shape == (4, 3)
    with pytest.raises(ExportError, match="an input of 2 x 3 is too small"):
        build("conv8 pool pool fc3", 3, (2, 3))
    with pytest.raises(ExportError, match=r"it takes channels, height, width, and the input is 2 x 250; .* by a spec"):
        build("resnet34", 3, (2, 250))


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1e-7), (101_325.0, 1.0), (0.0, 1e30)])
def test_the_front_end_standardises_any_amplitude(offset: float, scale: float) -> None:
    raw = torch.from_numpy((offset + scale * np.random.default_rng(0).standard_normal((40, 2, 250))).astype(np.float32))
    raw[:, 1] = offset  # a channel that never changes keeps its scale
    spec = fit_constants(SIGNAL, raw.split(7))
    features = build_front_end(spec)(raw)
    assert features[:, 0].mean().abs() < 0.01  # numbers of float32 at the offset are up to 0.008 apart
    assert features[:, 0].std() == pytest.approx(1, abs=0.02)
    assert (spec.front_end.std[1], features[:, 1].abs().max()) == (1, 0)


def test_a_classifier_of_signals_is_published_and_described(tmp_path: Path) -> None:
    spec = SIGNAL.model_copy(update={"front_end": SignalFrontEnd(mean=(0.0, 100.0), std=(9.0, 4.0)), "sample_rate": 0.5})
    network = build("conv4k7 pool conv8 gap fc2", 2, (2, 250))
    request = ExportRequest("faults", "classify", spec, labels=["healthy", "broken"], real_items=windows(4))
    version = export_model(network, request, tmp_path)
    assert version.manifest.input == spec
    card = (version.folder / "card.md").read_text()
    assert "2 channels (ax, ay) of a signal at 0.5 Hz, in its own unit" in card
    assert "windows of 250 samples (500 s), one every 250 samples (500 s)" in card
    assert "| ay | 100 | 4 |" in card
    result = CliRunner().invoke(describe, ["faults", "--models", str(tmp_path)], catch_exceptions=False)
    assert [line.split()[1:5] for line in result.output.splitlines()[2:4]] == [
        ["conv", "1x7", "4x250", "1x7"], ["max", "pool", "1x2", "/"],
    ]  # fmt: skip


def test_a_design_is_described_for_a_length() -> None:
    layers, parameters = layers_of_design("conv8k7 pool lrn conv8k9 avgpool gap fc3", 3, (2, 301))
    network = build("conv8k7 pool lrn conv8k9 avgpool gap fc3", 3, (2, 301))
    assert parameters == sum(parameter.numel() for parameter in network.parameters()) == sum(each.parameters for each in layers)
    assert [layer.field for layer in layers] == [(1, 7), (1, 8), (1, 8), (1, 24), (1, 26), None, None]
    assert "local response norm 5" in [layer.kind for layer in layers]
    # 1x9 has fewer weights than 4 of 1x3.
    assert warnings_for(layers) == []
    up = layers_of_network(nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.Upsample(scale_factor=2)), (1, 30))
    assert (up[1].kind, up[1].output, up[1].enlarges) == ("nearest upsampling * 2", (4, 60), True)


def test_the_length_of_a_signal_excludes_the_size_of_an_image() -> None:
    result = CliRunner().invoke(describe, ["conv8 pool fc3", "--length", "100", "--size", "32"])
    assert "--length describes a signal, which has no height or width" in result.output
    shown = CliRunner().invoke(describe, ["conv8 pool fc3", "--length", "100"], catch_exceptions=False).output
    assert "input 1x100" in shown
