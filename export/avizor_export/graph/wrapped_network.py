"""Wrap front end and trained network into the one module that is exported, with all outputs of the task.

A user's network returns logits (classifier) or reconstructs its input (autoencoder). Hooks catch the other outputs while it
runs, so that it does not have to be written for Avizor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.intermediate_outputs import Taps, is_view_of, names_with_a_row_per_item
from avizor_export.graph.last_layers import last_linear_and_map
from avizor_export.graph.logits import LOGITS, are_probabilities, class_count, softmax_error
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec
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
    """Return what each output of this model means, by name; empty for an output that Avizor does not know.

    shapes: shape of each output for one item, by name. Where features have names, that of the errors names them in order.
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
    """Turn raw items into a tuple of tensors, named by `output_names`; dimension 0 of each is the batch.

    A `with` statement restores the network at its end: its own mode, and no hooks.
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
        """Return the names of what `forward` returns, in order."""
        return (*self._own_outputs, *self._taps.names)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Run front end and network on raw items [N, ...]; return the outputs in the order of `output_names`."""
        raise NotImplementedError

    def named(self, items: Tensor) -> dict[str, Tensor]:
        """Return the outputs for raw items [N, ...], by name."""
        return dict(zip(self.output_names, self(items), strict=True))

    def as_reference(self, items: Items) -> dict[str, Items]:
        """Return the outputs for raw items [n, ...] by name, and for a classifier its LOGITS, the scale of the comparison."""
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
        """Remove the taps of these names, if there are any."""
        self._taps.keep(set(self._taps.names) - set(names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._taps.keep(set())
        restore_modes(self._modes)

    def _keep_usable_taps(self, example: Tensor) -> None:
        """Remove the taps whose tensors do not have one row per item: folded into the batch, or with a sequence first.

        Also remove those that catch the items themselves or the network's output: a graph returns each value once.
        """
        sizes = len(example), len(example) + 1
        output = _run(self, example)
        caught = self._taps.take()
        for batch in (example[:1], torch.cat([example, example[:1]])):
            try:
                _run(self, batch)
            except ExportError as error:
                raise ExportError(
                    f"the network takes a batch of {sizes[0]} and not one of {len(batch)}; look for a reshape or an expand "
                    f"with a fixed batch size, and use x.shape[0] or -1 there, or for a norm over the batch: {error}"
                ) from error
        names = names_with_a_row_per_item(caught, self._taps.take(), sizes)
        self._taps.keep({name for name in names if not any(is_view_of(caught[name], value) for value in (example, output))})


class WrappedClassifier(WrappedNetwork):
    """Return `probabilities` [N, K] and, where the network has them, `embedding` [N, E] and `activations` [N, C, h, w].

    Raises ExportError unless the network returns logits float32[N, K], or [N, K, 1, 1] and the like, for batches of any size.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor) -> None:
        super().__init__(front_end, network, modes)
        logits = _run(self, example)
        if not logits.ndim or len(logits) != len(example) or class_count(logits.shape[1:]) is None:
            raise ExportError(
                f"the network returns {list(logits.shape)} for a batch of {len(example)}; a classifier returns [batch, classes]"
            )
        self._is_flat = logits.ndim == 2
        if are_probabilities(logits.flatten(1).numpy()):
            raise softmax_error()
        self._own_outputs = ("probabilities",)
        linear, last_map = last_linear_and_map(network, lambda: _run(self, example))
        if linear is not None:
            self._taps.catch_input("embedding", linear)
        if last_map is not None:
            self._taps.catch_map("activations", last_map)
        self._keep_usable_taps(example)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Return the probabilities, then the tapped outputs, for raw items [N, ...]."""
        logits = self.network(self.front_end(items))
        if not self._is_flat:  # [N, K, 1, 1], as of a network whose last layer is a convolution
            logits = logits.flatten(1)
        return (torch.softmax(logits, dim=1), *self._taps.take().values())


class WrappedAutoencoder(WrappedNetwork):
    """Return `score` [N, 1], `error_map` and `reconstruction` [N, ...], and `embedding` [N, E] if the network has an `encoder`.

    The `reconstruction` of a super-resolution network is k times as high and wide as its features. The means of its k x k
    blocks of pixels are compared with the features, so that `score` and `error_map` [N, ...] keep the features' size.
    Raises ExportError unless the network returns float32 of the shape of its input, or k times as high and wide.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor) -> None:
        super().__init__(front_end, network, modes)
        with torch.inference_mode():
            features = front_end(example)
        reconstruction = _run(self, example)
        if is_view_of(reconstruction, features):
            raise ExportError(
                "the network returns its input unchanged, so its error would always be 0; let it return a reconstruction"
            )
        self._times = enlargement(tuple(features.shape[1:]), tuple(reconstruction.shape[1:]))
        self._own_outputs = ("score", "error_map", "reconstruction")
        encoder = getattr(network, "encoder", None)
        if isinstance(encoder, nn.Module):
            self._taps.catch_output("embedding", encoder)
        self._keep_usable_taps(example)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Return score, error map and reconstruction, then the tapped output, for raw items [N, ...]."""
        features = self.front_end(items)
        reconstruction = self.network(features)
        error = (features - self._block_means(reconstruction)) ** 2
        score = error.flatten(1).mean(dim=1, keepdim=True)
        return (score, error, reconstruction, *self._taps.take().values())

    def _block_means(self, reconstruction: Tensor) -> Tensor:
        """Return the means over k x k blocks of pixels: [N, C, kH, kW] -> [N, C, H, W]."""
        times = self._times
        if times == 1:
            return reconstruction
        blocks: Tensor = reconstruction.unflatten(3, (-1, times)).unflatten(2, (-1, times))
        return blocks.mean(dim=(3, 5))


def enlargement(features: Sequence[int], reconstruction: Sequence[int]) -> int:
    """Return how many times as high and wide as its features a reconstruction is. Both shapes are of one item.

    Raises ExportError unless the shapes are equal (1), or differ in height and width by one whole factor.
    """
    if tuple(features) == tuple(reconstruction):
        return 1
    if len(features) == len(reconstruction) == 3 and features[0] == reconstruction[0]:
        (height, width), (high, wide) = features[1:], reconstruction[1:]
        if high % height == 0 and high // height == wide / width:
            return high // height
    raise ExportError(
        f"the network returns {list(reconstruction)} for features of {list(features)}; an autoencoder returns the shape of "
        "its input (usually, a size that its strides do not divide is the reason), super-resolution a whole multiple of its "
        "height and width"
    )


def wrap(network: nn.Module, spec: InputSpec, task: Task, example: Tensor, leave_out: Collection[str] = ()) -> WrappedNetwork:
    """Wrap a trained network and put it into eval mode.

    example: a batch of raw items [n >= 2, ...]. leave_out: names of outputs that are not tapped.
    Raises ExportError if the network does not fit the task; it is then in its own mode again.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ExportError("the network was made by torch.jit.script or trace; export the module that it was made from")
    original = getattr(network, "_orig_mod", None)
    if isinstance(original, nn.Module):  # the module that torch.compile wraps; compiled code would not call the taps
        network = original
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        if any(module.training for module in network.modules()):
            raise ExportError("a part of the network stays in training mode; its eval() has to switch every part")
        wrapper = WrappedClassifier if task == "classify" else WrappedAutoencoder
        wrapped = wrapper(build_front_end(spec), network, modes, example).eval()
        wrapped.leave_out(leave_out)
        return wrapped
    except BaseException:
        restore_modes(modes)
        raise


def restore_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Put each module back into its mode. modes: whether it was in training mode."""
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
            f"whose forward(self, x) is `return self.network(x){_take_first_output(output)}`"
        )
    if output.dtype != torch.float32:
        raise ExportError(f"the network returns {output.dtype}; let it return float32{_advice(model.network, example)}")
    return output


def _take_first_output(output: object) -> str:
    """Return code that takes the first of several outputs."""
    if isinstance(output, Mapping):
        return f"[{next(iter(output), 'logits')!r}]"
    return "[0]" if isinstance(output, tuple | list) else ".logits" if hasattr(output, "logits") else ""


def _advice(network: nn.Module, example: Tensor) -> str:
    """Return a likely reason of a failure and what to do, if weights or items are of an unusual type."""
    other_dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()} - {torch.float32}
    if other_dtypes:
        return f"; it has {', '.join(sorted(map(str, other_dtypes)))} weights; call .float() on it"
    if example.dtype in (torch.int32, torch.int64):
        return "; give real items: whole numbers are drawn from their range, or else from 0 to 255"
    return ""
