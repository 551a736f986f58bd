"""Wrap an autoencoder: compare its reconstruction with its features, compute its scores, and tap its embedding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avizor_export.detection.detector import Detector
from avizor_export.detection.scores import mean_error
from avizor_export.graph.enlargement import enlargement
from avizor_export.graph.intermediate_outputs import is_view_of
from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_inference.errors import ExportError


class WrappedAutoencoder(WrappedNetwork):
    """Return `score` [N, 1], `error_map` and `reconstruction` [N, ...], and `embedding` [N, E] of the network's `encoder`.

    The score is the mean of the error map. A Detector has scores of its own: the one that decides, which is `score`, and its
    parts, each [N, 1], before the embedding.

    The `reconstruction` of a super-resolution network is k times as high and wide as its features. The means of its k x k
    blocks of pixels are compared with the features, so that `score` and `error_map` [N, ...] keep the features' size.
    Raises ExportError unless the network returns float32 of the shape of its input, or k times as high and wide.
    """

    def __init__(
        self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor, options: OutputOptions
    ) -> None:
        scores = network.scores if isinstance(network, Detector) else None
        network = network.autoencoder if isinstance(network, Detector) else network
        super().__init__(front_end, network, modes, example, options)
        self.scores = scores  # not a part of the network: whatever its precision, the scores are computed in float32
        with torch.inference_mode():
            features = front_end(example)
        reconstruction = self.run(example)
        if is_view_of(reconstruction, features):
            raise ExportError(
                "the network returns its input unchanged, so its error would always be 0; let it return a reconstruction"
            )
        self._times = enlargement(tuple(features.shape[1:]), tuple(reconstruction.shape[1:]))
        self._own_outputs = ("score", "error_map", "reconstruction", *(scores.names[1:] if scores else ()))
        encoder = getattr(network, "encoder", None)
        if options.embedding is not None:
            self._tap_embedding(options.embedding, example)
        elif isinstance(encoder, nn.Module):
            self._taps.catch_output("embedding", encoder)
        self._keep_usable_taps(example)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Return score, error map, reconstruction and parts of the score, then the tapped output, for raw items [N, ...]."""
        features = self.front_end(items)
        reconstruction = self.chosen(self.network(features))
        error = (features - self._block_means(reconstruction)) ** 2
        if self.scores is None:
            score, parts = mean_error(error), []
        else:
            score, *parts = self.scores(features, error)
        return (score, error, reconstruction, *parts, *self._taps.take().values())

    def _block_means(self, reconstruction: Tensor) -> Tensor:
        """Return the means over k x k blocks of pixels: [N, C, kH, kW] -> [N, C, H, W]."""
        times = self._times
        if times == 1:
            return reconstruction
        blocks: Tensor = reconstruction.unflatten(3, (-1, times)).unflatten(2, (-1, times))
        return blocks.mean(dim=(3, 5))
