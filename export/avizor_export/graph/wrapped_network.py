"""The module that is exported: front end, trained network, and what is asked of it, under one roof.

A user's network returns logits (classifier) or its input again (autoencoder). The other outputs are tapped while it runs, so
that it does not have to be written for Avizor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.last_layers import last_linear_and_map
from avizor_export.graph.logits import LOGITS, are_probabilities, softmax_error
from avizor_export.graph.taps import Taps, is_view_of, names_with_a_row_per_item
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import InputSpec
from avizor_inference.repository.manifest import Task

MEANINGS = {
    "probabilities": "softmax over the classes, sums to 1",
    "embedding": "input of the last linear layer",
    "activations": "last feature map before pooling, for class activation maps",
    "score": "mean squared reconstruction error of the front end's output, >= 0: the mean of error_map",
    "error_map": "squared reconstruction error per element of the front end's output, >= 0",
    "reconstruction": "the front end's output as the autoencoder reconstructs it",
}


def meanings(shapes: Mapping[str, Sequence[int]], spec: InputSpec) -> dict[str, str]:
    """What each output of this model is, empty for one that is the network's own. shapes: of one item, by the output's name.

    Where features have names, it says which error is which feature's.
    """
    texts = {name: MEANINGS.get(name, "") for name in shapes}
    if not {"score", "error_map", "reconstruction"} <= texts.keys():
        return texts
    times = enlargement(shapes["error_map"], shapes["reconstruction"])
    if "embedding" in texts:
        texts["embedding"] = "the latent vector"
    if times > 1:
        texts["error_map"] += f"; the reconstruction is averaged over {times} x {times} pixels first"
        texts["reconstruction"] += f", {times} times as high and wide"
    if features := spec.feature_names():
        for name in ("error_map", "reconstruction"):
            texts[name] += f"; in order: {', '.join(features)}"
    return texts


class WrappedNetwork(nn.Module):
    """Raw items in, a tuple of tensors out, named by `output_names`; each has the batch as its dimension 0.

    In a `with` statement, the network is as it was afterwards: in its own mode, and without the hooks of the taps.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool]) -> None:
        super().__init__()
        self.front_end = front_end
        self.network = network
        self._modes = modes
        self._taps = Taps()
        self._own_outputs: tuple[str, ...] = ()

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what `forward` gives."""
        return (*self._own_outputs, *self._taps.names)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Run front end and network."""
        raise NotImplementedError

    def named(self, items: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""
        return dict(zip(self.output_names, self(items), strict=True))

    def as_reference(self, items: Items) -> dict[str, Items]:
        """The outputs by name, and of a classifier its LOGITS, by which they are judged. items: raw, [n, ...]."""
        logits: list[Tensor] = []
        handle = self.network.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
        try:
            with torch.inference_mode():
                outputs = self.named(torch.from_numpy(items))
        finally:
            handle.remove()
        if "probabilities" in outputs:
            outputs[LOGITS] = logits[-1]
        return {name: value.numpy() for name, value in outputs.items()}

    def leave_out(self, names: Collection[str]) -> None:
        """Take off the taps of these names, where there are any."""
        self._taps.keep(set(self._taps.names) - set(names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._taps.keep(set())
        restore_modes(self._modes)

    def _keep_taps_in_step(self, example: Tensor) -> None:
        """Take off the taps without a row for each item: what is folded into the batch, or a sequence that comes first.

        Neither are the items themselves, the graph's input, or what the network returns: a value goes out once.
        """
        sizes = len(example), len(example) + 1
        returned = _run(self, example)
        caught = self._taps.take()
        for other in (example[:1], torch.cat([example, example[:1]])):
            try:
                _run(self, other)
            except ExportError as error:
                raise ExportError(
                    f"the network takes a batch of {sizes[0]} and not one of {len(other)}; look for a reshape or an expand "
                    f"with a fixed batch size, and use x.shape[0] or -1 there, or for a norm over the batch: {error}"
                ) from error
        kept = names_with_a_row_per_item(caught, self._taps.take(), sizes)
        self._taps.keep({name for name in kept if not any(is_view_of(caught[name], each) for each in (example, returned))})


class WrappedClassifier(WrappedNetwork):
    """Gives `probabilities` [N, K] and, where the network has them, `embedding` [N, E] and `activations` [N, C, h, w]."""

    def __init__(self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor) -> None:
        super().__init__(front_end, network, modes)
        logits = _run(self, example)
        if logits.ndim != 2 or len(logits) != len(example):
            raise ExportError(
                f"the network gives {list(logits.shape)} for a batch of {len(example)}; a classifier gives [batch, classes]"
            )
        if are_probabilities(logits.numpy()):
            raise softmax_error()
        self._own_outputs = ("probabilities",)
        linear, last_map = last_linear_and_map(network, lambda: _run(self, example))
        if linear is not None:
            self._taps.catch_input("embedding", linear)
        if last_map is not None:
            self._taps.catch_map("activations", last_map)
        self._keep_taps_in_step(example)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Probabilities and taps."""
        logits = self.network(self.front_end(items))
        return (torch.softmax(logits, dim=1), *self._taps.take().values())


class WrappedAutoencoder(WrappedNetwork):
    """Gives `score` [N, 1], `error_map` and `reconstruction` [N, ...], and `embedding` [N, E] if it has an `encoder`.

    A network for super-resolution gives a `reconstruction` that is k times as high and wide as its features. It is compared
    with them by the means of its k x k blocks of pixels, so that `score` and `error_map` [N, ...] keep the features' size.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor) -> None:
        super().__init__(front_end, network, modes)
        with torch.inference_mode():
            features = front_end(example)
        reconstruction = _run(self, example)
        if is_view_of(reconstruction, features):
            raise ExportError("the network returns its input unchanged; its error would be 0 on everything")
        self._times = enlargement(tuple(features.shape[1:]), tuple(reconstruction.shape[1:]))
        self._own_outputs = ("score", "error_map", "reconstruction")
        encoder = getattr(network, "encoder", None)
        if isinstance(encoder, nn.Module):
            self._taps.catch_output("embedding", encoder)
        self._keep_taps_in_step(example)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Reconstruction, its error, and the tap."""
        features = self.front_end(items)
        reconstruction = self.network(features)
        error = (features - self._shrunk(reconstruction)) ** 2
        score = error.flatten(1).mean(dim=1, keepdim=True)
        return (score, error, reconstruction, *self._taps.take().values())

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
        f"the network gives {list(reconstruction)} for features of {list(features)}; an autoencoder returns the shape of "
        "its input (a size that its strides do not divide is the usual reason), super-resolution so many times the height and "
        "width"
    )


def wrap(network: nn.Module, spec: InputSpec, task: Task, example: Tensor, leave_out: Collection[str] = ()) -> WrappedNetwork:
    """Wrap a trained network, in eval mode. example: a batch of raw items. leave_out: outputs that are not tapped.

    Raises ExportError if the network does not fit the task.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ExportError("the network was made by torch.jit.script or trace; export the module that it was made from")
    original = getattr(network, "_orig_mod", None)
    if isinstance(original, nn.Module):  # what torch.compile wraps; compiled, it would run past the taps
        network = original
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        if any(module.training for module in network.modules()):
            raise ExportError("a part of the network stays in training mode; its eval() has to switch every part")
        kind = WrappedClassifier if task == "classify" else WrappedAutoencoder
        served = kind(build_front_end(spec), network, modes, example).eval()
        served.leave_out(leave_out)
        return served
    except BaseException:
        restore_modes(modes)
        raise


def restore_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Put each module into the mode that it had."""
    for module, training in modes.items():
        module.training = training


def _run(model: WrappedNetwork, example: Tensor) -> Tensor:
    with torch.inference_mode():
        features = model.front_end(example)
        try:
            output = model.network(features)
        except Exception as error:  # the user's own code
            raise ExportError(
                f"the network failed on the front end's output of shape {list(features.shape)}: "
                f"{type(error).__name__}: {error}{_advice(model.network, example)}"
            ) from error
    if not isinstance(output, Tensor):
        raise ExportError(
            f"the network returns a {type(output).__name__}; let it return one tensor, by a factory that wraps it: a module "
            f"whose forward(self, x) is `return self.network(x){_first_of(output)}`"
        )
    if output.dtype != torch.float32:
        raise ExportError(f"the network returns {output.dtype}; let it return float32{_advice(model.network, example)}")
    return output


def _first_of(output: object) -> str:
    """How to take the first of several outputs, as code."""
    if isinstance(output, Mapping):
        return f"[{next(iter(output), 'logits')!r}]"
    return "[0]" if isinstance(output, tuple | list) else ".logits" if hasattr(output, "logits") else ""


def _advice(network: nn.Module, example: Tensor) -> str:
    """What a failure may come from, where something is known to be unusual."""
    others = {each.dtype for each in network.parameters() if each.is_floating_point()} - {torch.float32}
    if others:
        return f"; it has {', '.join(sorted(map(str, others)))} weights; call .float() on it"
    if example.dtype in (torch.int32, torch.int64):
        return "; give real items: whole numbers are drawn from their range, or else from 0 to 255"
    return ""
