"""Describe a calibration in lines for people: its items, what it promises, and how its scores differ from another's."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.repository.calibration import Calibration

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def describe_calibration(calibration: Calibration) -> Iterator[str]:
    """Yield how many items of which sources it has, and from which alpha on the false-alarm rate is promised."""
    sources = ", ".join(f"{source} {calibration.recordings(source)}" for source in calibration.source_names)
    short = sum(map(len, calibration.short.values()))
    shorter = f", {short} of them shorter than a window" if short else ""
    channels = {"each": "", "mix": ", channels mixed"}.get(str(calibration.channels), f", channel {calibration.channels}")
    yield (
        f"calibration {calibration.id} for {calibration.kind}: {calibration.recordings()} normal recordings "
        f"({sources}){shorter}{channels}"
    )
    yield _lowest_alphas(calibration)


def compare_scores(new: Calibration, old: Calibration | None) -> Iterator[str]:
    """Yield quantiles of the scores of the items of the new calibration, and above them of the old one's, if there is one."""
    yield "score at     " + "".join(f"{quantile:>10.0%}" for quantile in _QUANTILES)
    if old is not None:
        yield f"{old.id} " + _quantiles(old)
    yield f"{new.id} " + _quantiles(new)


def _quantiles(calibration: Calibration) -> str:
    items = [item for each in (calibration.sources, calibration.short) for items in each.values() for item in items]
    scores = [ItemScore.of(np.array(item)).value for item in items]
    return "".join(f"{value:>10.3g}" for value in np.quantile(scores, _QUANTILES))


def _lowest_alphas(calibration: Calibration) -> str:
    """Return from which alpha on the rate is guaranteed, for the sources with the most and the fewest recordings."""
    counts = {source: calibration.count(source, is_short=False) for source in calibration.source_names}
    if not any(counts.values()):
        return "all items are shorter than the model's window, so that whole ones cannot be judged; give longer recordings"
    most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    alphas = f"alpha {_lowest_alpha(counts[most])} on"
    if counts[most] != counts[fewest]:
        alphas += f" for {most}, and from {_lowest_alpha(counts[fewest])} on for {fewest}"
    return f"the false-alarm rate is promised from {alphas} (1 / (n + 1) of n recordings; 0.01 takes 99)"


def _lowest_alpha(recordings: int) -> str:
    """Return 1 / (n + 1), rounded up to two digits: a smaller alpha would be refused."""
    digits = 1 - math.floor(math.log10(1 / (recordings + 1)))
    return f"{math.ceil(10**digits / (recordings + 1)) / 10**digits:.2g}"
