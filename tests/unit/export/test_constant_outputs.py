"""parity/constant_outputs.py.

A network that gives every item the same is published with a warning: its proof proves nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avizor_export.architectures.catalogue import build
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import ImageInput, TensorInput
from avizor_inference.repository.manifest import Manifest

VECTOR = TensorInput(name="x", item_shape=(6,))
IMAGE = ImageInput(height=32, width=32, channels=1)
REAL = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)


def exported(network: nn.Module, folder: Path, real: np.ndarray | None = REAL, task: str = "classify") -> Manifest:
    labels = ["a", "b"] if task == "classify" else None
    request = ExportRequest("m", task, VECTOR, labels=labels, real_items=real)  # type: ignore[arg-type]
    return export_model(network, request, folder).manifest


def linear(weight: float, bias: float, outputs: int = 2) -> nn.Linear:
    layer = nn.Linear(6, outputs)
    nn.init.constant_(layer.weight, 0.0)
    nn.init.constant_(layer.bias, 0.0)
    layer.weight.data[0] = weight
    layer.bias.data[0] = bias
    return layer


class Dead(nn.Module):
    """All that comes in is lost in a ReLU."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.last = linear(0.1, -1e4), nn.Linear(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.last(torch.relu(self.first(x)))
        return values


@pytest.mark.parametrize(
    ("network", "task", "named"),
    [
        (linear(0.0, 0.3), "classify", ("probabilities",)),
        (linear(0.1, 1e5), "classify", ("probabilities",)),
        (Dead(2), "classify", ("probabilities", "embedding")),
        (Dead(6), "reconstruct", ("reconstruction",)),
        (linear(1e-9, 0.0, outputs=6), "reconstruct", ("reconstruction",)),
    ],
    ids=["all 0", "saturated", "dead", "dead autoencoder", "tiny weights"],
)
def test_a_network_that_gives_all_items_the_same_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, network: nn.Module, task: str, named: tuple[str, ...]
) -> None:
    manifest = exported(network, tmp_path, task=task)
    assert manifest.parity.same_for_all == named
    assert f"{' and '.join(named)} " in caplog.text
    assert (
        "the same for all random and real items, within what the proof allows, and so it says little: the weights may be"
        in caplog.text
    )
    assert "and so it says little" in (tmp_path / "m" / "1" / "card.md").read_text()


def test_without_real_items_they_are_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exported(linear(0.0, 0.3), tmp_path, real=None)
    assert "the same for all random items" in caplog.text
    assert "give real items (--items) to tell" in caplog.text


class OnRealAlone(nn.Module):
    """Random items are all below what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.linear(torch.relu(x - 50))
        return values


@pytest.mark.parametrize(
    ("network", "real"),
    [(nn.Linear(6, 2), REAL), (nn.Linear(6, 2), REAL[:1]), (nn.Linear(6, 2), None), (OnRealAlone(), REAL + 60)],
    ids=["real", "one real item", "random alone", "random ones all the same"],
)
def test_a_network_that_tells_items_apart_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, network: nn.Module, real: np.ndarray | None
) -> None:
    assert exported(network, tmp_path, real=real).parity.same_for_all == ()
    assert "and so it says little" not in caplog.text


def test_random_weights_that_tell_noise_apart_a_little_are_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    request = ExportRequest("m", "classify", IMAGE, labels=[str(number) for number in range(10)])
    assert export_model(build("lenet", 10, (1, 32, 32)), request, tmp_path).manifest.parity.same_for_all == ()
