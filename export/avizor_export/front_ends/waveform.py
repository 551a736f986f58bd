"""Give a waveform to the network as it is, in the layout that the network takes."""

from __future__ import annotations

from torch import Tensor, nn

from avizor_inference.items.kinds.sound_front_ends import WaveformFrontEnd


class Waveform(nn.Module):
    """Returns float32[batch, channels, samples], or for layout NS float32[batch, samples], of a waveform of either shape."""

    def __init__(self, options: WaveformFrontEnd) -> None:
        super().__init__()
        self._layout = options.layout

    def forward(self, waveform: Tensor) -> Tensor:
        """Add the dimension of channels where the layout has it and the items do not."""
        return waveform[:, None] if self._layout == "NCS" and waveform.ndim == 2 else waveform
