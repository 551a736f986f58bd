"""Say which items of a job are wanted, and in which order; translate that to SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from avizor_inference.errors import SettingsError

# unusual: the smallest p-value first, then the largest score; of a classifier the least probable. uncertain: those that are
# nearest to being judged otherwise. time: the oldest first. source: by source, then the most unusual.
Order = Literal["unusual", "uncertain", "time", "source", "uri"]

_UNUSUAL = "p_value ASC NULLS LAST, score DESC NULLS LAST, probability ASC NULLS LAST, uri, model"


@dataclass(frozen=True)
class ItemQuery:
    """Holds which rows of `recordings` are wanted. Empty texts and None mean all.

    alpha: at which an item counts as flagged; None for the job's own verdict. flagged: only those that are, or are not.
    text: a part of the uri. label: the class that a classifier found.
    """

    model: str = ""
    source: str | None = None
    alpha: float | None = None
    flagged: bool | None = None
    label: str = ""
    text: str = ""
    order: Order = "unusual"

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise SettingsError(f"order {self.order!r} is not one of {', '.join(get_args(Order))}")
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise SettingsError(f"alpha {self.alpha:g} is not between 0 and 1; it is the share of false alarms, e.g. 0.01")

    def where(self) -> tuple[str, list[object]]:
        """Return the condition, and its parameters."""
        conditions, parameters = ["true"], list[object]()
        for column, value in (("model", self.model or None), ("source", self.source), ("label", self.label or None)):
            if value is not None:
                conditions.append(f"{column} = ?")
                parameters.append(value)
        if self.text:
            conditions.append("contains(lower(uri), lower(?))")
            parameters.append(self.text)
        if self.flagged is not None:
            condition, values = flagged_at(self.alpha)
            conditions.append(condition if self.flagged else f"NOT {condition}")
            parameters += values
        return " AND ".join(conditions), parameters

    def order_by(self, job_alpha: float) -> tuple[str, list[object]]:
        """Return what the rows are sorted by, and its parameters. No two rows are equal in it."""
        if self.order == "uncertain":
            return f"abs(ln(p_value / ?)) ASC NULLS LAST, {_UNUSUAL}", [self.alpha or job_alpha]
        return {
            "unusual": _UNUSUAL,
            "time": f"time ASC NULLS LAST, {_UNUSUAL}",
            "source": f"source, {_UNUSUAL}",
            "uri": "uri, model",
        }[self.order], []


def flagged_at(alpha: float | None) -> tuple[str, list[object]]:
    """Return the condition that an item is flagged at alpha, never null, and its parameters; None: by the job's verdict."""
    if alpha is None:
        return "coalesce(is_anomaly, false)", []
    return "coalesce(p_value <= ?, false)", [alpha]
