"""Wrap front end and trained network into the one module that is exported, with all outputs of the task.

A user's network returns what a classifier or an autoencoder computes: one tensor, or several of which one is chosen. Hooks
catch the other outputs while it runs, so that it does not have to be written for Avizor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from avizor_export.graph.intermediate_outputs import Taps, is_view_of, names_with_a_row_per_item
from avizor_export.graph.named_layers import layers_that_run, no_such_layer, why_not_usable
from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.run_network import refuse_several_inputs, require_float32, run_network
from avizor_export.graph.several_outputs import choose_path, tensor_at, tensors_in
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError


class WrappedNetwork(nn.Module):
    """Turn raw items into a tuple of tensors, named by `output_names`; dimension 0 of each is the batch.

    A `with` statement restores the network at its end: its own mode, and no hooks.
    Raises ExportError if the network does not run on `example`, raw items [n >= 2, ...], or returns several tensors of which
    the options choose none.
    """

    def __init__(
        self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor, options: OutputOptions
    ) -> None:
        super().__init__()
        refuse_several_inputs(network)
        self.front_end = front_end
        self.network = network
        self._modes = modes
        self._options = options
        self._path = choose_path(run_network(front_end, network, example), options.output)
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
        """Return the outputs for raw items [n, ...] by name, as arrays."""
        with torch.inference_mode():
            return {name: value.numpy() for name, value in self.named(torch.from_numpy(items)).items()}

    def chosen(self, output: object) -> Tensor:
        """Return the tensor of the network's output that the model returns. Raises ExportError if it is not there."""
        tensor = tensor_at(output, self._path)
        if tensor is None:
            raise ExportError(f"the network returns {self._path} for some batches only; let it always return the same outputs")
        return tensor

    def run(self, items: Tensor) -> Tensor:
        """Return the chosen output of the network for raw items [n, ...]. Raises ExportError if it fails or is not float32."""
        output = self.chosen(run_network(self.front_end, self.network, items))
        return require_float32(output, self.network, items)

    def leave_out(self, names: Collection[str]) -> None:
        """Remove the taps of these names, if there are any."""
        self._taps.keep(set(self._taps.names) - set(names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._taps.keep(set())
        restore_modes(self._modes)

    def _tap_embedding(self, layer: str, example: Tensor) -> None:
        """Tap the output of a layer, or another output of the network. Raises ExportError if there is none of that name."""
        outputs: dict[str, Tensor] = {}

        def run() -> None:
            outputs.update(tensors_in(run_network(self.front_end, self.network, example)))

        layers = layers_that_run(self.network, run)
        if layer in layers:
            self._taps.catch_output("embedding", layers[layer])
            return
        if layer not in outputs:
            raise ExportError(f"--embedding {layer}: {no_such_layer(layer, layers, outputs)}")
        self._taps.catch_output("embedding", self.network, lambda output: tensor_at(output, layer))

    def _keep_usable_taps(self, example: Tensor) -> None:
        """Remove the taps that cannot be outputs. Raises ExportError, and leaves no hooks, if one was asked for."""
        try:
            self._try_taps(example)
        except ExportError:
            self._taps.keep(set())
            raise

    def _try_taps(self, example: Tensor) -> None:
        """Remove the taps whose tensors do not have one row per item: folded into the batch, or with a sequence first.

        Also remove those that catch the items themselves or the network's output: a graph returns each value once.
        """
        sizes = len(example), len(example) + 1
        output = self.run(example)
        caught = self._taps.take()
        for batch in (example[:1], torch.cat([example, example[:1]])):
            try:
                self.run(batch)
            except ExportError as error:
                raise ExportError(
                    f"the network takes a batch of {sizes[0]} and not one of {len(batch)}; look for a reshape or an expand "
                    f"with a fixed batch size, and use x.shape[0] or -1 there, or for a norm over the batch: {error}"
                ) from error
        names = names_with_a_row_per_item(caught, self._taps.take(), sizes)
        usable = {name for name in names if not any(is_view_of(caught[name], value) for value in (example, output))}
        self._taps.keep(usable)
        if self._options.embedding is not None and "embedding" not in usable:
            why = why_not_usable(caught.get("embedding"), example, output)
            raise ExportError(f"--embedding {self._options.embedding}: {why}; name another layer")


def restore_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Put each module back into its mode. modes: whether it was in training mode."""
    for module, training in modes.items():
        module.training = training
