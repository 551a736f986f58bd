"""graph/wrapped_network.py.

The parts of a user's network in the graph: its taps, refusals, and that the network is unchanged afterwards.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ConvNeXt, SwinTransformer, VisionTransformer
from torchvision.models.convnext import CNBlockConfig

from avizor_export.exporter import export_model
from avizor_export.graph.wrap import wrap
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.manifest import Task

MAP = TensorInput(name="map", item_shape=(1, 8, 8))


def served(network: nn.Module, task: Task = "classify", spec: TensorInput = MAP) -> WrappedNetwork:
    tensor = spec.tensor()
    return wrap(network, spec, task, torch.ones(2, *tensor.item_shape).to(getattr(torch, tensor.dtype)))


class Convolution(nn.Module):
    """Three classes from the means of four maps."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(torch.relu(self.convolution(x)).mean((2, 3)))
        return logits


class HalvesInBatch(Convolution):
    """Folds the halves of an item into the batch: maps and embedding have twice its rows."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(len(x) * 2, 1, 4, 8)).reshape(len(x), 2, 3).mean(1)


class SequenceFirst(nn.Module):
    """An LSTM whose linear layer sees [steps, batch, features]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.lstm(x[:, 0].transpose(0, 1))[0]).mean(0)
        return logits


class Keyword(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(input=self.convolution(x).mean((2, 3)))
        return logits


class SharedRelu(nn.Module):
    """One ReLU after the map and after the vector: the last map is its output all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.relu = nn.Conv2d(1, 4, 3), nn.ReLU()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.relu(self.first(self.relu(self.convolution(x)).mean((2, 3)))))
        return logits


def compiled() -> nn.Module:
    return cast(nn.Module, torch.compile(Convolution()))


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (Convolution, ("probabilities", "embedding", "activations")),
        (Keyword, ("probabilities", "embedding", "activations")),
        (compiled, ("probabilities", "embedding", "activations")),
        (SharedRelu, ("probabilities", "embedding", "activations")),
        (HalvesInBatch, ("probabilities",)),
        (SequenceFirst, ("probabilities",)),
    ],
)
def test_a_tap_is_kept_if_it_has_a_row_for_each_item(network: Callable[[], nn.Module], names: Sequence[str]) -> None:
    with served(network()) as model:
        assert model.output_names == names
        outputs = model.named(torch.rand(5, 1, 8, 8))
    assert {name: len(value) for name, value in outputs.items()} == dict.fromkeys(names, 5)
    assert "activations" not in outputs or outputs["activations"].ndim == 4


class ChannelsLast(Convolution):
    """A layer norm over channels that a function has put last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(self.convolution(x)[:, :, :6].permute(0, 2, 3, 1)).mean((1, 2)))
        return logits


def convnext() -> nn.Module:
    network: nn.Module = ConvNeXt([CNBlockConfig(4, 8, 1), CNBlockConfig(8, None, 1)], num_classes=3)
    return network


IMAGE = TensorInput(name="map", item_shape=(3, 64, 64))


@pytest.mark.parametrize(
    ("network", "spec", "shape"),
    [
        (ChannelsLast(), MAP, (4, 8, 8)),
        (convnext(), IMAGE, (8, 8, 8)),
        (SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=3), IMAGE, (24, 8, 8)),
        (VisionTransformer(64, 16, 1, 2, 8, 16, num_classes=3), IMAGE, None),
    ],
)
def test_activations_are_a_map_with_its_channels_first(
    network: nn.Module, spec: TensorInput, shape: tuple[int, ...] | None
) -> None:
    with served(network, spec=spec) as model, torch.inference_mode():
        outputs = model.named(torch.rand(3, *spec.item_shape))
    assert "embedding" in outputs
    assert (tuple(outputs["activations"].shape[1:]) if "activations" in outputs else None) == shape


class Steps(nn.Module):
    """A network for signals; what follows its convolutions is given."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(2))
        self.layers, self.linear = nn.Sequential(*layers), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.convolutions(x)
        rows = self.layers(steps.transpose(1, 2)).mean(1) if len(self.layers) else steps.mean(2)
        logits: Tensor = self.linear(rows)
        return logits


@pytest.mark.parametrize(
    ("network", "shape"),
    [(Steps(), (4, 7)), (Steps(nn.Linear(4, 4)), None), (Steps(nn.LayerNorm(4)), None)],
    ids=["convolutions", "linear over rows", "norm over rows"],
)
def test_activations_of_a_signal_are_steps_with_their_channels_first(network: nn.Module, shape: tuple[int, ...] | None) -> None:
    spec = TensorInput(name="signal", item_shape=(2, 16))
    with served(network, spec=spec) as model, torch.inference_mode():
        outputs = model.named(torch.rand(3, 2, 16))
    assert (tuple(outputs["activations"].shape[1:]) if "activations" in outputs else None) == shape


VECTOR = TensorInput(name="row", item_shape=(8,))


class Unencoded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.linear = nn.Identity(), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        reconstruction: Tensor = self.linear(self.encoder(x))
        return reconstruction


@pytest.mark.parametrize(
    ("network", "task"),
    [
        (nn.Sequential(nn.Dropout(), nn.Linear(8, 3)), "classify"),
        (Unencoded(), "reconstruct"),
        (nn.Sequential(OrderedDict(encoder=nn.Linear(8, 8))), "reconstruct"),
    ],
)
def test_neither_the_items_nor_the_reconstruction_are_an_embedding(tmp_path: Path, network: nn.Module, task: Task) -> None:
    request = ExportRequest("m", task, VECTOR, labels=["a", "b", "c"] if task == "classify" else None)
    version = export_model(network, request, tmp_path)
    assert "embedding" not in [output.name for output in version.manifest.outputs]


class Layers(nn.Module):
    """An encoder that is a list: it never runs as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()])
        self.decoder = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.encoder:
            x = layer(x)
        reconstruction: Tensor = self.decoder(x)
        return reconstruction


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.deviation = nn.Linear(64, 4), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x.flatten(1)), self.deviation(x.flatten(1))


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Pair(), nn.Linear(4, 64)

    def forward(self, x: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(x)[0]).reshape(x.shape)
        return reconstruction


@pytest.mark.parametrize("network", [Layers(), Variational()])
def test_an_encoder_that_gives_no_tensor_is_no_embedding(network: nn.Module) -> None:
    with served(network, "reconstruct") as model:
        assert model.output_names == ("score", "error_map", "reconstruction")
        assert len(model(torch.rand(3, 1, 8, 8))) == 3


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("nope")


class Several(Convolution):
    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        return self.kind([("classes", super().forward(x)), ("other", x)])


class Counting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3].round().long()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Raising(), "the network failed on the front end's output of shape .*: KeyError: 'nope'"),
        (Convolution().double(), r"torch\.float64 weights; call \.float\(\) on it"),
        (Convolution().half(), r"torch\.float16 weights; call \.float\(\) on it"),
        (Several(dict), r"a dict of several tensors; choose one with --output: classes float32\[2, 3\], other float32\["),
        (Several(tuple), r"a tuple of several tensors; choose one with --output: 0\.1 float32\[2, 3\], 1\.1 float32\["),
        (Counting(), r"the network returns torch\.int64; let it return float32"),
        (torch.jit.script(nn.ReLU()), "torch.jit.script or trace; export the module that it was made from"),
        (nn.Sequential(torch.jit.script(nn.ReLU())), "torch.jit.script or trace"),
    ],
)
def test_a_network_that_cannot_be_served(network: nn.Module, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        served(network)


def test_an_autoencoder_that_does_nothing() -> None:
    with pytest.raises(ExportError, match="returns its input unchanged"):
        served(nn.Identity(), "reconstruct")


def test_tokens_beyond_the_vocabulary() -> None:
    network = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(32, 3))
    spec = TensorInput(name="tokens", dtype="int64", item_shape=(4,))
    with pytest.raises(ExportError, match="give real items: whole numbers are drawn from their range"):
        wrap(network, spec, "classify", torch.full((2, 4), 200))


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_given_back_as_it_was(fails: bool) -> None:
    network = nn.Sequential(Convolution(), nn.Dropout(0.5))
    network.train()
    network[0].eval()
    if fails:
        with pytest.raises(ExportError):
            served(network, "reconstruct")
    else:
        with served(network) as model:
            model(torch.rand(2, 1, 8, 8))
            assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, False, False, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    torch.save(network, io.BytesIO())  # fails where hooks are left
