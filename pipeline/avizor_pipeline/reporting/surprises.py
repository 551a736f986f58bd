"""Say what was done to files that are not as the models take them: when the first is met, and with their number at the end.

No line stands in a job that has no such file: see docs/decisions/0102-surprises-are-said-when-they-are-met.md.
"""

from __future__ import annotations

from avizor_inference.items.windows import ChannelMode
from avizor_pipeline.estimate import Estimate
from avizor_pipeline.job_outcome import Outcome

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
    if met.clipped:
        files = "1 file holds" if met.clipped == 1 else f"{met.clipped} files hold"
        lines["clipped"] = f"{files} samples beyond full scale, up to {met.peak:.3g}: clipped to -1..1 (columns peak, clipped)"
    for kind, count, what in (
        ("low_rate", met.low_rate, "of a lower sample rate than a model's: nothing above half of it reaches the model"),
        ("several_channels", met.several_channels, f"with several channels: {_taken(channels)} (column channel)"),
        ("padded", met.padded, "shorter than a model's window: filled up with zeros"),
    ):
        if count:
            lines[kind] = f"{count} file{'s' * (count > 1)} {what}"
    return lines


def _taken(channels: ChannelMode) -> str:
    """Return what was taken of a sound of several channels, for a model that takes one at a time."""
    if channels == "each":
        return "each was taken by itself"
    return "the mean was taken" if channels == "mix" else f"channel {channels} alone was taken"
