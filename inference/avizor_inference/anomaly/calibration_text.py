"""Describe a calibration in lines for people: its items, what it promises, and how its scores differ from another's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avizor_inference.anomaly.cross_fitted import promised_rate
from avizor_inference.anomaly.item_score import item_scores
from avizor_inference.anomaly.p_values import supported_alpha
from avizor_inference.error_text import named
from avizor_inference.repository.calibration import Calibration

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def describe_calibration(calibration: Calibration) -> Iterator[str]:
    """Yield how many items of which sources it has, and from which alpha on the false-alarm rate is promised."""
    sources = ", ".join(f"{source} {calibration.recordings(source)}" for source in calibration.source_names)
    short = sum(map(len, calibration.short.values()))
    shorter = f", {short} of them shorter than a window" if short else ""
    channels = {"each": "", "mix": ", channels mixed"}.get(str(calibration.channels), f", channel {calibration.channels}")
    yield (
        f"calibration {calibration.id} for {calibration.kind}: {calibration.recordings()} normal items "
        f"({sources}){shorter}{channels}"
    )
    yield cross_fitted_note(calibration) or _lowest_alphas(calibration)


def cross_fitted_note(calibration: Calibration, alpha: float | None = None) -> str:
    """Return what a cross-fitted calibration promises at alpha, without a full stop; empty for any other calibration.

    alpha: None for 0.05, or the smallest that each source supports.
    """
    if not calibration.folds:
        return ""
    counts = [len(items) for items in calibration.sources.values()] or [0]
    alpha = max(0.05, 1 / (min(counts) + 1)) if alpha is None else alpha
    rate = max(promised_rate(count, calibration.folds, alpha) for count in counts)
    return (
        f"calibration {calibration.id} is cross-fitted in {calibration.folds} folds: at alpha {alpha:.2g}, at most {rate:.1%} "
        "of normal items are flagged on average; that is proven, and less was measured"
    )


def compare_scores(new: Calibration, old: Calibration | None) -> Iterator[str]:
    """Yield quantiles of the scores of the items of the new calibration, and above them of the old one's, if there is one."""
    yield "score at     " + "".join(f"{quantile:>10.0%}" for quantile in _QUANTILES)
    if old is not None:
        yield f"{old.id} " + _quantiles(old)
    yield f"{new.id} " + _quantiles(new)


def warning_of_lost_sources(new: Calibration, old: Calibration) -> str:
    """Return a warning if an earlier calibration of the version has sources of which the new one has no item; else ""."""
    lost = sorted({*old.source_names} - {*new.source_names}) if old.tells_sources_apart else []
    if not lost:
        return ""
    return (
        f"Warning: sources of {old.id} have no items here ({named(lost)}): once this calibration is active, theirs are "
        "compared with items of other sources, for which no false-alarm rate is promised. A calibration replaces the one "
        "before as a whole: give normal items of all sources, each in a folder of its name."
    )


def _quantiles(calibration: Calibration) -> str:
    scores = item_scores(item for each in (calibration.sources, calibration.short) for items in each.values() for item in items)
    return "".join(f"{value:>10.3g}" for value in np.quantile(scores, _QUANTILES))


def _lowest_alphas(calibration: Calibration) -> str:
    """Return from which alpha on the rate is guaranteed, for the sources with the most and the fewest recordings."""
    counts = {source: calibration.count(source, is_short=False) for source in calibration.source_names}
    if not any(counts.values()):
        return "all items are shorter than the model's window, so that whole ones cannot be judged; give longer recordings"
    most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    alphas = f"alpha {lowest_alpha_text(counts[most])} on"
    if counts[most] != counts[fewest]:
        alphas += f" for {most}, and from {lowest_alpha_text(counts[fewest])} on for {fewest}"
    return f"the false-alarm rate is promised from {alphas} (1 / (n + 1) of n items; 0.01 takes 99)"


def lowest_alpha_text(recordings: int) -> str:
    """Return 1 / (n + 1), rounded up to two digits: so many items by themselves support no smaller alpha."""
    return f"{supported_alpha(recordings, None):g}"
