"""publication/model_card.py: card.md, which people read: its tables, figures and plots."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import TensorInput

EVALUATION: dict[str, JsonValue] = {
    "accuracy": 0.9222222222222223,
    "items": 360,
    "of a|b": "first\nsecond|third",
    "seen": [1, 0.5],
    "roc_auc": {"overall": 0.9934151785714286, "bearing": {"worst": 0.25, "held out": True}},
    "left out": None,
}


class Normed(nn.Module):
    """Weights that are computed in the graph, and a parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, 1, 8, 8))
        self.first = weight_norm(nn.Conv2d(1, 8, 3, padding=1, stride=2))
        self.last = weight_norm(nn.Linear(8 * 16, 10))

    def forward(self, items: Tensor) -> Tensor:
        return self.last(self.first(items + self.place).relu().flatten(1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The card of a Normed network."""
    torch.manual_seed(0)
    input_, labels = TensorInput(name="x", item_shape=(1, 8, 8)), list("0123456789")
    asked = ExportRequest("m", "classify", input_, labels=labels, evaluation=EVALUATION)
    version = export_model(Normed(), asked, tmp_path_factory.mktemp("models"))
    return (version.folder / "card.md").read_text(encoding="utf-8")


def rows(card: str, section: str) -> list[list[str]]:
    """Cells of the rows of a section's table, its header left out."""
    lines = card.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.replace(r"\|", "¦").strip("|").split("|")] for line in table]


def test_layers_whose_weights_are_computed(card: str) -> None:
    layers = {row[0]: row[1:] for row in rows(card, "Layers")}
    assert layers["first"][:3] == ["conv 3x3 / 2", "8x4x4", "3x3"]
    assert layers["last"][:3] == ["linear", "10", "all"]
    assert [layers[name][4] for name in ("first", "last", "total")] == ["1,152", "1,280", "2,432"]
    assert layers["total"][3] == "1,452"


def test_figures_are_rounded_and_keep_to_their_cells(card: str) -> None:
    assert rows(card, "Evaluation") == [
        ["accuracy", "0.922222"],
        ["items", "360"],
        ["of a¦b", "first second¦third"],
        ["seen", "1, 0.5"],
        ["roc_auc: overall", "0.993415"],
        ["roc_auc: bearing: worst", "0.25"],
        ["roc_auc: bearing: held out", "yes"],
        ["left out", "-"],
    ]


def test_sentences_end_on_the_line_they_began(card: str, models: Path) -> None:
    for text in (card, (models / "normal" / "1" / "card.md").read_text(encoding="utf-8")):
        assert [line for line in text.splitlines() if line != line.rstrip()] == []
        assert "on batches of 1, 2, 3, 8 of zeros, random items." in text
    assert ": 60 normal items from a (30), b (30)." in text


def test_windows_of_a_recording(models: Path) -> None:
    text = (models / "normal" / "1" / "card.md").read_text(encoding="utf-8")
    assert "* recordings are cut into windows of 4096 samples (0.512 s), one every 4096 samples (0.512 s)" in text


def test_outputs_are_said_of_this_model(card: str, models: Path) -> None:
    assert "`embedding` float32[batch, 128]: input of the last linear layer\n" in card
    text = (models / "transfers" / "1" / "card.md").read_text(encoding="utf-8")
    assert "super-resolution" not in text
    assert "classifier" not in text
    assert ": the front end's output as the autoencoder reconstructs it; in order: amount, hour, country=ES" in text
    assert ": the latent vector\n" in (models / "normal" / "1" / "card.md").read_text(encoding="utf-8")


def test_parameters_that_the_layers_do_not_have_are_accounted_for(models: Path) -> None:
    assert "batch norms" not in (models / "digits" / "1" / "card.md").read_text(encoding="utf-8")
    card = (models / "kinds" / "1" / "card.md").read_text(encoding="utf-8")
    *layers, total = (int(row[4].replace(",", "")) for row in rows(card, "Layers"))
    assert sum(layers) < total
    assert f"have {sum(layers):,} numbers, the network has {total:,} parameters: export folds batch norms" in card
