"""networks/state_dicts.py: a module that holds a trained network takes the weights of that network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from avizor_export.networks.state_dicts import load_weights
from avizor_export.networks.weights_files import read_weights
from avizor_inference.errors import ExportError


class Holder(nn.Module):
    """Changes what a trained network returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


def network(value: float = 0.0) -> nn.Module:
    made = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    for parameter in made.parameters():
        nn.init.constant_(parameter, value)
    return made


def trained(prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: value for name, value in network(0.5).state_dict().items()}


def is_trained(loaded: nn.Module) -> bool:
    return all(bool((value == 0.5).all()) for value in loaded.state_dict().values())


@pytest.mark.parametrize("content", [trained(), {"model": trained(), "epoch": 3}, trained("module.")])
def test_a_module_that_holds_the_network_takes_the_weights_of_the_network(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pt")
    for holder in (Holder(network()), Holder(Holder(network()))):
        load_weights(holder, read_weights(tmp_path / "net.pt"))
        assert is_trained(holder)


def test_beside_other_weights_those_of_a_held_network_are_a_choice(tmp_path: Path) -> None:
    torch.save({"encoder": trained(), "decoder": torch.ones(2)}, tmp_path / "net.pt")
    with pytest.raises(ExportError, match=r"begin with 'inner\.'; .* under 'encoder', beside decoder: .*--weights-key encoder"):
        load_weights(Holder(network()), read_weights(tmp_path / "net.pt"))
    holder = Holder(network())
    assert load_weights(holder, read_weights(tmp_path / "net.pt"), "encoder") == "encoder"
    assert is_trained(holder)


def test_weights_of_another_network_do_not_fit_a_held_one(tmp_path: Path) -> None:
    torch.save(trained() | {"4.weight": torch.ones(1)}, tmp_path / "net.pt")
    with pytest.raises(ExportError, match=r"does not fit the network: it lacks inner\.0\.bias"):
        load_weights(Holder(network()), read_weights(tmp_path / "net.pt"))
