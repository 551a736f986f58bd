"""Read the maps of embeddings that `avizor project` has made, as points of a chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from avizor_inference.error_text import printable
from avizor_review.results import Results
from avizor_review.tables import quoted

# Points that are shown: more cannot be told apart.
_MOST_POINTS = 4000
_MOST_LABELS = 20


@dataclass(frozen=True)
class Projection:
    """Holds the points of one map: `x`, `y`, `label`, `flagged` each. of: how many the map has."""

    model: str
    method: str
    points: list[dict[str, Any]]
    of: int


def projections_of(results: Results) -> list[Projection]:
    """Return the maps of a job; [] if there are none. Of many points some are drawn by their digests. Raises JobError."""
    found = []
    for path in sorted((results.folder / "projection").glob("*.parquet")):
        table = f"read_parquet({quoted(path)}, hive_partitioning = false)"
        ((model, method, count),) = results.tables.rows(f"SELECT any_value(model), any_value(method), count(*) FROM {table}")
        if not count:
            continue
        sql = f"""
            SELECT p.x, p.y, coalesce(p.true_label, r.label, r.source), coalesce(r.is_anomaly, false)
            FROM (SELECT * FROM {table} ORDER BY md5(uri || coalesce(start_sample, 0)) LIMIT {_MOST_POINTS}) p
            LEFT JOIN recordings r ON p.uri = r.uri AND p.model = r.model
        """
        rows = results.tables.rows(sql)
        frequent = sorted({row[2] for row in rows if row[2]}, key=lambda label: -sum(row[2] == label for row in rows))
        named = set(frequent[:_MOST_LABELS])
        points = [
            {
                "x": round(x, 3),
                "y": round(y, 3),
                "label": printable(label)[:60] if label in named else "others",
                "flagged": flagged,
            }
            for x, y, label, flagged in rows
        ]
        found.append(Projection(model, method, points, count))
    return found
