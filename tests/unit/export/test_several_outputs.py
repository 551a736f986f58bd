"""graph/several_outputs.py, graph/named_layers.py: networks that return several tensors, and embeddings by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.several_outputs import tensor_at, tensors_in
from avizor_export.graph.wrap import wrap
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_export.networks.pt2_program import load_program
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.manifest import Task

SPEC = TensorInput(name="map", item_shape=(1, 8, 8))
ITEMS = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Named(NamedTuple):
    logits: Tensor
    hidden: Tensor


@dataclass
class Record:
    logits: Tensor
    hidden: Tensor
    loss: None = None


class ModelOutput(OrderedDict[str, Any]):
    """As of transformers: a dict whose values are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Plain:
    def __init__(self, logits: Tensor, hidden: Tensor) -> None:
        self.logits, self.hidden = logits, hidden


class Network(nn.Module):
    def __init__(self, pack: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.convolution, self.pool = nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
        self.hidden, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.pack = pack

    def forward(self, x: Tensor) -> object:
        hidden = self.hidden(self.pool(self.convolution(x)).flatten(1)).relu()
        return self.pack(self.last(hidden), hidden)


def wrapped(network: nn.Module, task: Task = "classify", **options: Any) -> WrappedNetwork:
    return wrap(network, SPEC, task, ITEMS[:2], OutputOptions(**options))


@pytest.mark.parametrize(
    ("pack", "output"),
    [
        (lambda logits, hidden: (logits, hidden), "0"),
        (lambda logits, hidden: [hidden, logits], "1"),
        (lambda logits, hidden: {"logits": logits, "hidden": hidden}, "logits"),
        (lambda logits, hidden: {"heads.tag": logits, "hidden": hidden}, "heads.tag"),
        (lambda logits, hidden: ({"logits": logits}, hidden), "0.logits"),
        (Named, "logits"),
        (Named, "0"),
        (Record, "logits"),
        (lambda logits, hidden: ModelOutput(logits=logits, hidden=hidden), "logits"),
        (Plain, "logits"),
    ],
)
def test_an_output_is_chosen_by_name_or_index(pack: Callable[[Tensor, Tensor], object], output: str) -> None:
    network = Network(pack)
    with wrapped(network, output=output) as model, torch.inference_mode():
        found = model.named(ITEMS)
        expected = tensor_at(network(ITEMS), output)
        assert expected is not None
        torch.testing.assert_close(found["probabilities"], expected.softmax(1))
        assert list(found) == ["probabilities", "embedding", "activations"]
        assert model.as_reference(ITEMS.numpy())["logits"].shape == (5, 3)


def test_the_only_tensor_of_an_object_needs_no_choice() -> None:
    with wrapped(Network(lambda logits, _: {"loss": None, "logits": logits})) as model:
        assert model.named(ITEMS)["probabilities"].shape == (5, 3)


@pytest.mark.parametrize(
    ("pack", "output", "message"),
    [
        (
            Record,
            None,
            r"a Record of several tensors; choose one with --output: logits float32\[2, 3\], hidden float32\[2, 6\]",
        ),
        (Record, "logit", r"no output 'logit'; --output takes one of: logits float32\[2, 3\], hidden float32\[2, 6\]"),
        (lambda logits, hidden: (logits, (hidden, hidden)), None, r"--output: 0 float32\[2, 3\], 1\.0 float32\[2, 6\], 1\.1"),
        (lambda logits, _: logits, "0", "--output 0 chooses among several outputs, and the network returns one tensor"),
        (lambda _, __: {"loss": None}, None, "returns a dict without a tensor"),
        (lambda logits, hidden: (logits.argmax(1), hidden), "0", "returns torch.int64; let it return float32"),
    ],
)
def test_what_there_is_to_choose_from_is_listed(
    pack: Callable[[Tensor, Tensor], object], output: str | None, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        wrapped(Network(pack), output=output)


def test_a_module_within_an_output_and_a_cycle_are_not_followed() -> None:
    cycle = Plain(ITEMS, ITEMS)
    cycle.hidden = cycle  # type: ignore[assignment]
    assert "logits" in tensors_in(cycle)
    assert tensors_in(nn.Linear(2, 2)) == {}


def test_a_program_that_returns_several_outputs(tmp_path: Path) -> None:
    network = Network(lambda logits, hidden: {"logits": logits, "hidden": hidden}).eval()
    program = torch.export.export(network, (ITEMS,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "net.pt2")
    loaded = load_program(tmp_path / "net.pt2")
    with wrapped(loaded, output="logits", embedding="hidden") as model, torch.inference_mode():
        found = model.named(ITEMS)
        torch.testing.assert_close(found["embedding"], network(ITEMS)["hidden"])
    with pytest.raises(ExportError, match="choose one with --output: logits"):
        wrapped(loaded)
    with pytest.raises(ExportError, match=r"no layer that runs, .* has this name; there are: program, logits, hidden"):
        wrapped(loaded, output="logits", embedding="convolution")


@pytest.mark.parametrize(("layer", "size"), [("hidden", 6), ("pool", 4), ("convolution", 256)])
def test_a_layer_is_the_embedding_by_its_name_flattened(layer: str, size: int) -> None:
    network = Network(lambda logits, _: logits)
    caught: list[Tensor] = []
    with wrapped(network, embedding=layer) as model, torch.inference_mode():
        network.get_submodule(layer).register_forward_hook(lambda _, __, output: caught.append(output))
        found = model.named(ITEMS)["embedding"]
        assert found.shape == (5, size)
        torch.testing.assert_close(found, caught[-1].flatten(1))


class Reconstructing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.unused = nn.Linear(64, 3), nn.Linear(3, 64), nn.Linear(3, 3)
        self.folded, self.sequence = nn.Identity(), nn.LSTM(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.down(x.flatten(1))
        self.folded((2 * x).reshape(len(x) * 2, -1))
        self.sequence(x[:, 0])
        return self.up(latent).reshape(x.shape), latent


def test_an_autoencoder_of_several_outputs_has_an_embedding_by_name() -> None:
    for name in ("down", "1"):  # the layer, or the output
        with wrapped(Reconstructing(), "reconstruct", output="0", embedding=name) as model:
            assert model.named(ITEMS)["embedding"].shape == (5, 3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("dowm", "no layer that runs, and no output of the network, has this name; did you mean: down"),
        ("unused", "no layer that runs"),
        ("sequence", "does not return one tensor"),
        ("folded", r"returns \[4, 32\] for a batch of 2, not a row of the same size for each item; name another layer"),
        ("0", "the layer returns the network's own output"),
    ],
)
def test_a_layer_that_cannot_be_the_embedding(layer: str, message: str) -> None:
    network = Reconstructing()
    with pytest.raises(ExportError, match=f"--embedding {layer}: .*{message}"):
        wrapped(network, "reconstruct", output="0", embedding=layer)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right


def test_a_program_of_two_inputs_is_refused_with_a_way_that_works(tmp_path: Path) -> None:
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(Two(), (torch.ones(2, 3), torch.ones(2, 3)), dynamic_shapes=(batch, batch))
    torch.export.save(program, tmp_path / "two.pt2")
    with pytest.raises(ExportError, match=r"takes 2 inputs \(left, right\), and a model of Avizor takes one tensor"):
        load_program(tmp_path / "two.pt2")
