"""Say what the calibration of a fitted model promises, and how many more items smaller alphas would need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from avizor_export.fitting.plan import Plan
from avizor_export.fitting.split import held_of
from avizor_inference.anomaly.calibration_text import lowest_alpha_text
from avizor_inference.anomaly.confidence import flagged_on_average, items_needed_on_average
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelVersion

_ASKED = (0.05, 0.01)
_NINE_OF_TEN, _DRAWN = (0.05, 0.95), 100_000


def promise_lines(plan: Plan, version: ModelVersion) -> Iterator[str]:
    """Yield the smallest alphas, of the source with the fewest items and of all together, and what 0.05 and 0.01 need."""
    for calibration in version.calibrations():
        yield from _lines(plan, calibration)


def _lines(plan: Plan, calibration: Calibration) -> Iterator[str]:
    counts = {source: calibration.count(source, is_short=False) for source in plan.items.by_source}
    worst = min(counts, key=counts.__getitem__)
    fewest = counts[worst]
    yield from smallest_lines(counts, calibration.count(is_short=False))
    if not plan.folds:
        yield from spread_lines(float(plan.alpha), fewest)
    for alpha in _ASKED:
        lacking = {source: more for source, count in counts.items() if (more := _more_for(alpha, plan, source, count))}
        if not lacking:
            yield f"  alpha {alpha:g}: there are enough items"
        elif len(counts) == 1:
            yield f"  alpha {alpha:g}: add {lacking[worst]} more"
        else:
            which = "each source" if len(lacking) == len(counts) else f"{len(lacking)} of {len(counts)} sources"
            yield f"  alpha {alpha:g}: add up to {max(lacking.values())} more of {which}"


def smallest_lines(counts: Mapping[str, int], of_all: int) -> Iterator[str]:
    """Yield the smallest alpha of each source by itself, and the one that commands take: that of all sources together.

    counts: items in the calibration, by source. of_all: the same of all sources.
    """
    worst = min(counts, key=counts.__getitem__)
    of = f", of the source with the fewest ({worst})" if len(counts) > 1 else ""
    yield f"smallest alpha: {lowest_alpha_text(counts[worst])}, by {counts[worst]} items in the calibration{of}"
    if of_all > counts[worst]:
        yield (
            f"  commands take alpha from {lowest_alpha_text(of_all)} on, by {of_all} items of all sources together: they judge "
            "the items of a source that has too few for alpha"
        )


def spread_lines(alpha: float, count: int) -> Iterator[str]:
    """Yield what alpha flags on average, and how far off one calibration with so many items may be: see confidence.py."""
    flagging = flagged_on_average(count, alpha)
    if not flagging:
        return
    rates = np.random.default_rng(0).beta(flagging, count + 1 - flagging, _DRAWN)
    low, high = np.quantile(rates, _NINE_OF_TEN)
    yield f"  alpha {alpha:g} flags {flagging / (count + 1):.1%} of normal items on average over calibrations"
    yield f"  one calibration of {count} items flags {low:.1%} to {high:.1%}, nine times of ten; more items narrow that"


def _more_for(alpha: float, plan: Plan, source: str, count: int) -> int:
    """Return how many more items of a source it takes until so many are in the calibration as alpha needs."""
    needed = items_needed_on_average(alpha)
    if count >= needed:
        return 0
    have = plan.items.by_source[source]
    if plan.folds:
        folds = len(plan.folds.folds)
        return -(-needed // folds) * folds - have
    total = have
    while held_of(total, plan.calibration_share) < needed:
        total += 1
    return max(1, total - have)
