"""Describe the charts of a report in Vega-Lite. Colours are names that report.js replaces, light or dark."""

from __future__ import annotations

from typing import Any

import altair as alt

from avizor_inference.error_text import printable
from avizor_review.report.figures import ModelFigures
from avizor_review.report.projections import Projection

Spec = dict[str, Any]

_HEIGHT = 200
_MOST_IN_CHART = 40


def _finished(chart: Any, description: str, height: int = _HEIGHT) -> Spec:
    chart = chart.properties(
        width="container", height=height, description=description, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
    spec: Spec = chart.to_dict()
    spec.pop("config", None)
    spec.pop("$schema", None)
    return spec


def sources_chart(model: ModelFigures) -> Spec:
    """Return each source's flagged share with its interval, beside alpha. report.js gives the rows, and moves alpha."""
    names = [printable(each.name)[:40] for each in model.sources if each.name is not None][:_MOST_IN_CHART]
    data = alt.NamedData(name="sources")
    y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=160))
    x = alt.X("low:Q", title="share flagged, with its 95 % interval", axis=alt.Axis(format="%"), scale=alt.Scale(nice=True))
    base = alt.Chart(data)
    interval = base.mark_rule(strokeWidth=3, color="@quiet").encode(y=y, x=x, x2="high:Q")
    point = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=y,
        x="share:Q",
        color=alt.Color(
            "verdict:N",
            title=None,
            scale=alt.Scale(domain=["about alpha", "more than alpha", "fewer than alpha"], range=["@accent", "@bad", "@good"]),
            legend=alt.Legend(orient="top", columns=1),
        ),
        shape=alt.Shape(
            "verdict:N",
            title=None,
            scale=alt.Scale(
                domain=["about alpha", "more than alpha", "fewer than alpha"],
                range=["circle", "triangle-up", "triangle-down"],
            ),
        ),
    )
    line = alt.Chart(alt.NamedData(name="alpha")).mark_rule(strokeDash=[6, 4], color="@ink").encode(x="alpha:Q")
    return _finished(
        interval + line + point,
        f"Share of flagged items of each source of {printable(model.name)}",
        24 * max(2, len(names)) + 115,
    )


def scores_chart(model: ModelFigures) -> Spec:
    """Return the distribution of the scores of the job beside that of the calibration."""
    chart = (
        alt.Chart(alt.InlineData(values=model.scores))
        .mark_bar(opacity=0.55, binSpacing=0)
        .encode(
            x=alt.X(
                "from:Q",
                scale=alt.Scale(type="log", nice=False),
                title="score (logarithmic)",
                axis=alt.Axis(format="~g", tickCount=6),
            ),
            x2="to:Q",
            y2=alt.datum(0),
            y=alt.Y("share:Q", stack=None, title="share of items", axis=alt.Axis(format="%")),
            color=alt.Color(
                "of:N",
                title=None,
                scale=alt.Scale(domain=["this job", "calibration"], range=["@accent", "@warm"]),
                legend=alt.Legend(orient="top"),
            ),
        )
    )
    return _finished(chart, f"Distribution of the scores of {printable(model.name)}, in this job and in its calibration")


def p_values_chart(model: ModelFigures) -> Spec:
    """Return the distribution of the p-values; that of normal items is flat."""
    bars = (
        alt.Chart(alt.InlineData(values=model.p_values))
        .mark_bar(binSpacing=1, color="@accent")
        .encode(
            x=alt.X("from:Q", title="p-value", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y2=alt.datum(0),
            y=alt.Y("share:Q", title="share of items", axis=alt.Axis(format="%")),
        )
    )
    even = alt.Chart(alt.InlineData(values=[{"share": 0.05}])).mark_rule(strokeDash=[6, 4], color="@ink").encode(y="share:Q")
    return _finished(
        bars + even, f"Distribution of the p-values of {printable(model.name)}; the dashed line is that of normal items"
    )


def timeline_chart(model: ModelFigures) -> Spec:
    """Return items and flagged items over time. report.js gives the rows."""
    data = alt.NamedData(name="timeline")
    x = alt.X("begin:T", title=None)
    end = "end:T"
    items = (
        alt.Chart(data).mark_bar(color="@line").encode(x=x, x2=end, y=alt.Y("items:Q", title="items, flagged"), y2=alt.datum(0))
    )
    flagged = alt.Chart(data).mark_bar(color="@bad").encode(x=x, x2=end, y="flagged:Q", y2=alt.datum(0))
    return _finished(items + flagged, f"Items and flagged items of {printable(model.name)} over time")


def classes_chart(model: ModelFigures) -> Spec:
    """Return how many items each class has."""
    rows = [{"label": printable(each["label"])[:60], "items": each["items"]} for each in model.classes]
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(color="@accent")
        .encode(
            y=alt.Y("label:N", sort="-x", title=None, axis=alt.Axis(labelLimit=180)),
            x=alt.X("items:Q", title="items", axis=alt.Axis(tickMinStep=1)),
        )
    )
    return _finished(chart, f"Items of each class of {printable(model.name)}", 22 * max(2, len(rows)) + 40)


def map_chart(projection: Projection) -> Spec:
    """Return the map of the embeddings, flagged items as larger diamonds."""
    base = alt.Chart(alt.InlineData(values=projection.points))
    axis = alt.Axis(labels=False, ticks=False, title=None, grid=False)
    chart = base.mark_point(filled=True).encode(
        x=alt.X("x:Q", axis=axis, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", axis=axis, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "label:N", title=None, legend=alt.Legend(orient="bottom", columns=4), scale=alt.Scale(scheme="tableau20")
        ),
        size=alt.condition("datum.flagged", alt.value(70), alt.value(14)),
        shape=alt.condition("datum.flagged", alt.value("diamond"), alt.value("circle")),
        opacity=alt.condition("datum.flagged", alt.value(1), alt.value(0.6)),
    )
    return _finished(chart, f"Map of the embeddings of {printable(projection.model)} by {projection.method}", 420)
