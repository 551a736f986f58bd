"""Count flagged items at every alpha: exactly, since p-values of a conformal kind have few distinct values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from avizor_review.results import Results

# The largest alpha that the page offers.
HIGHEST_ALPHA = 0.5

# Distinct p-values of all groups together up to which each is kept: about 1 MiB of the page.
MOST_STEPS = 40_000

_MANTISSAS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)

# A group of items: a model, and a source or a stretch of time; None for all that have no group of their own.
Group = tuple[str, object]


@dataclass
class Steps:
    """Holds how many items of a group are flagged at alpha: `counts[i]` from `alphas[i]` on, both ascending."""

    alphas: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def at(self, alpha: float) -> int:
        """Return the number of items that are flagged at alpha."""
        return max((count for step, count in zip(self.alphas, self.counts, strict=True) if step <= alpha), default=0)


@dataclass(frozen=True)
class AllSteps:
    """Holds the steps of all groups. grid: the only alphas at which they are exact; empty if they are at each."""

    of: Mapping[Group, Steps]
    grid: Sequence[float]


def round_alphas(*more: float) -> list[float]:
    """Return round numbers from 0.0001 to 0.5, and `more`, ascending."""
    rounds = {round(mantissa * 10.0**power, 12) for power in (-4, -3, -2, -1) for mantissa in _MANTISSAS}
    return sorted(alpha for alpha in rounds | set(more) if alpha <= HIGHEST_ALPHA)


def steps_of(results: Results, groups: str, alphas: Sequence[float], most: int = MOST_STEPS) -> AllSteps:
    """Count the items of each group at each alpha.

    groups: SQL of rows with `model`, `part` and `p_value`. alphas: at which counts have to be exact. Where there are more
    distinct p-values than `most`, they are so at round alphas alone.
    """
    low = f"SELECT model, part, p_value, count(*) AS n FROM ({groups}) WHERE p_value <= {HIGHEST_ALPHA} GROUP BY ALL"
    ((distinct,),) = results.tables.rows(f"SELECT count(*) FROM ({low})")
    grid: list[float] = []
    parameters: list[object] = []
    if distinct > most:
        grid = round_alphas(*alphas)
        steps = f"SELECT model, part, n, list_filter(?, lambda alpha: alpha >= p_value)[1] AS step FROM ({low})"
        low = (
            f"SELECT model, part, step AS p_value, sum(n) AS n FROM ({steps}) WHERE step IS NOT NULL GROUP BY model, part, step"
        )
        parameters = [grid]
    sql = f"""
        SELECT model, part, list(p_value ORDER BY p_value), list(total::BIGINT ORDER BY p_value) FROM (
            SELECT *, sum(n) OVER (PARTITION BY model, part ORDER BY p_value) AS total FROM ({low})
        ) GROUP BY ALL
    """
    rows = results.tables.rows(sql, parameters)
    return AllSteps({(model, part): Steps(list(values), list(totals)) for model, part, values, totals in rows}, grid)
