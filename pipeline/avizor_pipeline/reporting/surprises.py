"""Say what was done to files that are not as the models take them: when the first is met, and with their number at the end.

No line stands in a job that has no such file: see docs/decisions/0102-surprises-are-said-when-they-are-met.md.
"""

from __future__ import annotations

from avizor_inference.items.windows import ChannelMode
from avizor_pipeline.estimate import Estimate
from avizor_pipeline.job_outcome import Outcome

_CLIPPED = "clipped to -1..1 (columns peak, clipped)"
_LOW_RATE = "nothing above half of it reaches the model"

# What counts such files.
Met = Outcome | Estimate


def surprise_lines(met: Met, channels: ChannelMode) -> list[str]:
    """Return a line for each kind of such files that were met."""
    return list(_by_kind(met, channels).values())


class SaidOnce:
    """Gives the line of each kind of surprise once in a job, however often it is run again."""

    def __init__(self, channels: ChannelMode) -> None:
        self._channels = channels
        self._said: set[str] = set()

    def lines(self, met: Outcome) -> list[str]:
        """Return the lines of kinds that were met since the last call, unless an earlier run met them. met: so far."""
        lines = _by_kind(met, self._channels)
        new = [kind for kind in lines if kind not in self._said]
        self._said.update(new)
        return [f"so far {lines[kind]}" for kind in new] if met.files_of_this_run > 0 else []


def _by_kind(met: Met, channels: ChannelMode) -> dict[str, str]:
    lines: dict[str, str] = {}
    for kind, count, one, several, what in (
        ("clipped", met.clipped, "holds", "hold", f"samples beyond full scale, up to {met.peak:.3g}: {_CLIPPED}"),
        ("low_rate", met.low_rate, "has", "have", f"a lower sample rate than a model's: {_LOW_RATE}"),
        ("several_channels", met.several_channels, "has", "have", f"several channels: {_taken(channels)} (column channel)"),
        ("padded", met.padded, "is", "are", "shorter than a model's window: filled up with zeros"),
    ):
        if count:
            lines[kind] = f"1 file {one} {what}" if count == 1 else f"{count} files {several} {what}"
    return lines


def _taken(channels: ChannelMode) -> str:
    """Return what was taken of a sound of several channels, for a model that takes one at a time."""
    if channels == "each":
        return "each was taken by itself"
    return "the mean was taken" if channels == "mix" else f"channel {channels} alone was taken"
