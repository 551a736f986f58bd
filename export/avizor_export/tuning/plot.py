"""The trade-off as a picture: throughput against the 99th percentile of latency, a line for each way to serve."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from avizor_export.tuning.candidates import Candidate, Measured
from avizor_inference.errors import ExportError


def check_picture(path: Path) -> None:
    """Raise ExportError unless a PNG can be written there; makes the folders on the way."""
    if path.suffix.lower() != ".png":
        raise ExportError(f"{path} does not end in .png; the plot is a PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{path}: its folder cannot be made ({error.strerror}); choose another with --plot") from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ExportError(f"{path} cannot be written; choose another place with --plot")


def plot(path: Path, title: str, measured: Sequence[Measured], chosen: Measured, max_p99_ms: float | None) -> None:
    """Write a PNG. Bars are the least and the largest round; candidates along a line differ in batch size, or in clients.

    Raises ExportError where the file cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, list[Measured]] = {}
    for each in measured:
        lines.setdefault(_line(each.candidate), []).append(each)
    for name, candidates in lines.items():
        rates, latencies = [each.rows_per_s for each in candidates], [each.p99_ms for each in candidates]
        axes.errorbar(
            rates,
            latencies,
            xerr=_bars(rates, [each.spread for each in candidates]),
            yerr=_bars(latencies, [each.p99_spread for each in candidates]),
            marker="o",
            markersize=4,
            linewidth=1,
            elinewidth=0.6,
            label=name,
        )
        for each in candidates:
            label = str(each.candidate.batch if each.candidate.queue_delay_us is None else each.candidate.clients)
            axes.annotate(label, (each.rows_per_s, each.p99_ms), xytext=(4, 4), textcoords="offset points", fontsize="x-small")
    axes.plot(chosen.rows_per_s, chosen.p99_ms, "o", markersize=14, fillstyle="none", color="black", label="chosen")
    if max_p99_ms is not None:
        axes.axhline(max_p99_ms, linestyle="--", linewidth=1, color="grey", label=f"limit, {max_p99_ms:g} ms")
    axes.set_yscale("log")
    for ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        ticks(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "125" else "")
    axes.set_xlabel("rows per second")
    axes.set_ylabel("p99 of a call, ms")
    axes.set_title(
        f"{title}; beside each candidate its {'batch' if measured[0].candidate.queue_delay_us is None else 'clients'}"
    )
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(fontsize="small")
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise ExportError(f"{path}: the plot cannot be written ({error.strerror})") from error


def _line(candidate: Candidate) -> str:
    parts = [f"{candidate.instances} x {candidate.threads or 'auto'} threads"]
    if candidate.queue_delay_us is not None:
        parts += [f"{candidate.queue_delay_us} us", *([f"preferred {candidate.preferred_text}"] if candidate.preferred else [])]
    return ", ".join(parts)


def _bars(medians: Sequence[float], spreads: Sequence[tuple[float, float]]) -> list[list[float]]:
    below = [middle - least for middle, (least, _) in zip(medians, spreads, strict=True)]
    return [below, [most - middle for middle, (_, most) in zip(medians, spreads, strict=True)]]
