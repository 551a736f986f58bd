"""Plot throughput against the 99th percentile of latency, with a line for each way to serve."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from avizor_export.tuning.candidates import Candidate, Measured
from avizor_inference.errors import ExportError


def check_picture(path: Path) -> None:
    """Create the folder of the picture. Raise ExportError unless a PNG file can be written to `path`."""
    if path.suffix.lower() != ".png":
        raise ExportError(f"{path} does not end in .png; the plot is a PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{path}: its folder cannot be created ({error.strerror}); choose another with --plot") from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ExportError(f"{path} cannot be written; choose another place with --plot")


def plot(path: Path, title: str, measured: Sequence[Measured], chosen: Measured, max_p99_ms: float | None) -> None:
    """Write the plot as a PNG file. Bars show the lowest and highest round of a candidate.

    Candidates on one line differ in batch size, or on Triton in clients. Raises ExportError if the file cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, list[Measured]] = {}
    for point in measured:
        lines.setdefault(_line_label(point.candidate), []).append(point)
    for label, points in lines.items():
        rates, latencies = [point.rows_per_s for point in points], [point.p99_ms for point in points]
        axes.errorbar(
            rates,
            latencies,
            xerr=_error_bars(rates, [point.spread for point in points]),
            yerr=_error_bars(latencies, [point.p99_spread for point in points]),
            marker="o",
            markersize=4,
            linewidth=1,
            elinewidth=0.6,
            label=label,
        )
        for point in points:
            number = str(point.candidate.batch if point.candidate.queue_delay_us is None else point.candidate.clients)
            place = (point.rows_per_s, point.p99_ms)
            axes.annotate(number, place, xytext=(4, 4), textcoords="offset points", fontsize="x-small")
    axes.plot(chosen.rows_per_s, chosen.p99_ms, "o", markersize=14, fillstyle="none", color="black", label="chosen")
    if max_p99_ms is not None:
        axes.axhline(max_p99_ms, linestyle="--", linewidth=1, color="grey", label=f"limit, {max_p99_ms:g} ms")
    axes.set_yscale("log")
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "125" else "")
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


def _line_label(candidate: Candidate) -> str:
    engine = [candidate.engine] if candidate.engine else []
    parts = [*engine, f"{candidate.instances} x {candidate.threads or 'auto'} threads"]
    if candidate.queue_delay_us is not None:
        parts += [f"{candidate.queue_delay_us} us", *([f"preferred {candidate.preferred_text}"] if candidate.preferred else [])]
    return ", ".join(parts)


def _error_bars(medians: Sequence[float], spreads: Sequence[tuple[float, float]]) -> list[list[float]]:
    below = [median - lowest for median, (lowest, _) in zip(medians, spreads, strict=True)]
    above = [highest - median for median, (_, highest) in zip(medians, spreads, strict=True)]
    return [below, above]
