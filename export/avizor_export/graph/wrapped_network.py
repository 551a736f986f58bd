"""Wrap front end and trained network into the one module that is exported, with all outputs of the task.

A user's network returns logits (classifier) or reconstructs its input (autoencoder). Hooks catch the other outputs while it
runs, so that it does not have to be written for Avizor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from avizor_export.graph.intermediate_outputs import Taps, is_view_of, names_with_a_row_per_item
from avizor_export.graph.logits import LOGITS
from avizor_export.graph.run_network import run_network
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError


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

    def run(self, items: Tensor) -> Tensor:
        """Return the network's own output for raw items [n, ...]. Raises ExportError as `run_network` does."""
        return run_network(self.front_end, self.network, items)

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
        self._taps.keep({name for name in names if not any(is_view_of(caught[name], value) for value in (example, output))})


def restore_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Put each module back into its mode. modes: whether it was in training mode."""
    for module, training in modes.items():
        module.training = training
