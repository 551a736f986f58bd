"""The module that is exported: front end, trained network, and what is asked of it, under one roof.

A user's network returns logits (classifier) or its input again (autoencoder). The other outputs are tapped while it runs, so
that it does not have to be written for Avizor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from avizor_export.front_ends.of_input import front_end
from avizor_inference.errors import ExportError
from avizor_inference.inputs import InputSpec
from avizor_inference.manifest import Task

MEANINGS = {
    "probabilities": "softmax over the classes, sums to 1",
    "embedding": "input of the last linear layer (classifier), or the latent vector (autoencoder)",
    "activations": "last feature map before pooling, for class activation maps",
    "score": "mean squared reconstruction error of the front end's output, >= 0: the mean of error_map",
    "error_map": "squared reconstruction error per element of the front end's output, >= 0; a reconstruction that is k times "
    "as high and wide (super-resolution) is averaged over k x k pixels first",
    "reconstruction": "the front end's output as the autoencoder gives it back, or k times as high and wide (super-resolution)",
}


class ServedModel(nn.Module):
    """Raw items in, a tuple of tensors out, named by `output_names`; each has the batch as its dimension 0."""

    output_names: tuple[str, ...]

    def __init__(self, front_end: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.front_end = front_end
        self.network = network

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Run front end and network."""
        raise NotImplementedError

    def named(self, items: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""
        return dict(zip(self.output_names, self(items), strict=True))


class ServedClassifier(ServedModel):
    """Gives `probabilities` [N, K] and, where the network has them, `embedding` [N, E] and `activations` [N, C, h, w]."""

    def __init__(self, front_end: nn.Module, network: nn.Module, example: Tensor) -> None:
        super().__init__(front_end, network)
        logits = _run(self, example)
        if logits.ndim != 2 or len(logits) != len(example):
            raise ExportError(
                f"the network gives {list(logits.shape)} for a batch of {len(example)}; a classifier gives [batch, classes]"
            )
        sums_to_one = torch.allclose(logits.sum(dim=1), torch.ones(len(logits)), atol=1e-4)
        if sums_to_one and bool((logits >= 0).all()) and logits.shape[1] > 1:
            raise ExportError("the network ends in a softmax; let it return logits: the softmax is added at export")
        linear, last_map = _last_linear_and_map(self, example)
        self._taps: dict[str, Tensor] = {}
        self.output_names = ("probabilities",)
        if linear is not None:
            linear.register_forward_pre_hook(lambda _, inputs: self._taps.update(embedding=inputs[0].flatten(1)))
            self.output_names += ("embedding",)
        if last_map is not None:
            last_map.register_forward_hook(lambda _, __, output: self._taps.update(activations=output))
            self.output_names += ("activations",)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Probabilities and taps."""
        logits = self.network(self.front_end(items))
        return (torch.softmax(logits, dim=1), *(self._taps.pop(name) for name in self.output_names[1:]))


class ServedAutoencoder(ServedModel):
    """Gives `score` [N, 1], `error_map` and `reconstruction` [N, ...], and `embedding` [N, E] if it has an `encoder`.

    A network for super-resolution gives a `reconstruction` that is k times as high and wide as its features. It is compared
    with them by the means of its k x k blocks of pixels, so that `score` and `error_map` [N, ...] keep the features' size.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, example: Tensor) -> None:
        super().__init__(front_end, network)
        with torch.inference_mode():
            features = front_end(example)
        reconstruction = _run(self, example)
        self._times = enlargement(tuple(features.shape[1:]), tuple(reconstruction.shape[1:]))
        self._taps: dict[str, Tensor] = {}
        self.output_names = ("score", "error_map", "reconstruction")
        encoder = getattr(network, "encoder", None)
        if isinstance(encoder, nn.Module):
            encoder.register_forward_hook(lambda _, __, output: self._taps.update(embedding=output.flatten(1)))
            self.output_names += ("embedding",)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Reconstruction, its error, and the tap."""
        features = self.front_end(items)
        reconstruction = self.network(features)
        error = (features - self._shrunk(reconstruction)) ** 2
        score = error.flatten(1).mean(dim=1, keepdim=True)
        return (score, error, reconstruction, *(self._taps.pop(name) for name in self.output_names[3:]))

    def _shrunk(self, reconstruction: Tensor) -> Tensor:
        """Means over blocks of pixels: [N, C, kH, kW] -> [N, C, H, W]."""
        times = self._times
        if times == 1:
            return reconstruction
        blocks: Tensor = reconstruction.unflatten(3, (-1, times)).unflatten(2, (-1, times))
        return blocks.mean(dim=(3, 5))


def enlargement(features: Sequence[int], reconstruction: Sequence[int]) -> int:
    """How many times as high and wide as its features a reconstruction is; shapes are of one item.

    Raises ExportError unless the shapes are equal (1), or differ in height and width by one whole factor.
    """
    if tuple(features) == tuple(reconstruction):
        return 1
    if len(features) == len(reconstruction) == 3 and features[0] == reconstruction[0]:
        (height, width), (high, wide) = features[1:], reconstruction[1:]
        if high % height == 0 and high // height == wide / width:
            return high // height
    raise ExportError(
        f"the network gives {list(reconstruction)} for features of {list(features)}; an autoencoder gives back the shape it "
        "was given (a size that its strides do not divide is the usual reason), super-resolution so many times the height and "
        "width"
    )


def serve(network: nn.Module, spec: InputSpec, task: Task, example: Tensor) -> ServedModel:
    """Wrap a trained network, in eval mode. example: a batch of raw items. Raises ExportError if it does not fit the task."""
    network.eval()
    if any(module.training for module in network.modules()):
        raise ExportError("a part of the network stays in training mode; its eval() has to switch every part")
    kind = ServedClassifier if task == "classify" else ServedAutoencoder
    return kind(front_end(spec), network, example).eval()


def _run(model: ServedModel, example: Tensor) -> Tensor:
    with torch.inference_mode():
        features = model.front_end(example)
        try:
            output = model.network(features)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ExportError(
                f"the network failed on the front end's output of shape {list(features.shape)}: {error}"
            ) from error
    if not isinstance(output, Tensor):
        raise ExportError(f"the network returns a {type(output).__name__}; let it return one tensor")
    return output


def _last_linear_and_map(model: ServedModel, example: Tensor) -> tuple[nn.Module | None, nn.Module | None]:
    """The last linear layer to run, and the last module whose output is a map [N, C, h, w] of more than one pixel."""
    last: dict[str, nn.Module] = {}

    def note(module: nn.Module) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(module, nn.Linear):
                last["linear"] = module
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                last["map"] = module

        return hook

    modules = [module for module in model.network.modules() if module is not model.network]
    handles = [module.register_forward_hook(note(module)) for module in modules]
    try:
        _run(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return last.get("linear"), last.get("map")
