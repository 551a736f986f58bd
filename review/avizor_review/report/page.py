"""Write the page of a report: one HTML file with its scripts, charts, pictures and sounds inside."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from avizor_inference.error_text import printable
from avizor_inference.intervals import wilson
from avizor_review.report.figures import ModelFigures
from avizor_review.report.projections import Projection
from avizor_review.report.unusual import ShownItems
from avizor_review.results import Cause

# A page has at most so many bytes, whatever the job.
MOST_BYTES = 20 * 2**20

# Characters of a name that are shown.
_MOST_TEXT = 240

_VEGA_LITE = "6.4"

# Files that vl_convert opens at once, and some more: where it may not, it panics, and writes that to the terminal.
_VEGA_FILES = 24


@dataclass(frozen=True)
class Report:
    """Holds what a page says. facts: name and value of lines about the job. cards: model -> its card."""

    title: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    alpha: float
    job_alpha: float
    is_kept: bool
    can_move: bool
    models: Sequence[ModelFigures]
    grid: Sequence[float]
    shown: Sequence[ShownItems]
    projections: Sequence[Projection]
    causes: Sequence[Cause]
    dead_letters: int
    cards: Mapping[str, str]
    charts: Mapping[str, Any]


def render(report: Report) -> bytes:
    """Return the page. What names hold is escaped, and no script runs but those whose digests are named."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("avizor_review.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "number": number, "share": share, "p": p_text}
    scripts = [_vega(), _file("report.js")] if report.charts else [_file("report.js")]
    text = environment.get_template("report.html").render(
        report=report,
        style=Markup(_file("report.css")),  # noqa: S704 - our own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own files
        policy=_policy(scripts),
        data=_data(report),
        counted=_counted,
        wilson=wilson,
    )
    return text.encode("utf-8", "replace")


def shown(text: object, most: int = _MOST_TEXT) -> str:
    """Return a text as it is shown: what cannot be printed is written as its code, and the middle of a long one is left out."""
    visible = printable(str(text))
    if len(visible) <= most:
        return visible
    return f"{visible[: most // 2]} \N{HORIZONTAL ELLIPSIS} {visible[-most // 2 :]}"


def number(value: float) -> str:
    """Return a count with separators."""
    return f"{value:,}"


def share(value: float) -> str:
    """Return a share in per cent."""
    return f"{100 * value:.2f} %" if value < 0.1 else f"{100 * value:.1f} %"


def p_text(value: float | None) -> str:
    """Return a p-value, or a score."""
    return "-" if value is None else f"{value:.3g}" if isfinite(value) else str(value)


def _counted(steps: Any, alpha: float) -> int:
    return int(steps.at(alpha))


def _policy(scripts: Sequence[str]) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _data(report: Report) -> Markup:
    """Return what report.js works with as JSON, in which no character can end the element that holds it."""
    models = [
        {
            "shown": shown(model.name, 60),
            "isWeaker": bool(model.weaker),
            "leastAlpha": model.least_alpha,
            "leastShown": f"{model.supported_alpha:g}",
            "sources": [
                {
                    "name": None if source.name is None else shown(source.name, 40),
                    "judged": source.judged,
                    "alphas": source.steps.alphas,
                    "counts": source.steps.counts,
                }
                for source in model.sources
            ],
            "timeline": [
                {
                    "begin": each.begin,
                    "end": each.end,
                    "items": each.items,
                    "alphas": each.steps.alphas,
                    "counts": each.steps.counts,
                }
                for each in model.stretches
            ],
            "answered": model.answered
            and {name: getattr(model.answered, name).alphas for name in ("normal", "abnormal", "doubtful")},
        }
        for model in report.models
    ]
    alphas = {"alpha": report.alpha, "jobAlpha": report.job_alpha, "canMove": report.can_move, "grid": list(report.grid)}
    document = {**alphas, "models": models, "charts": dict(report.charts)}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - the characters that mean something in HTML are escaped


def _file(name: str) -> str:
    return files("avizor_review.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """Return the scripts of Vega, Vega-Lite and vega-embed as one. Raises OSError if too few files may be open."""
    with ExitStack() as stack:
        for _ in range(_VEGA_FILES):
            stack.enter_context(Path(os.devnull).open("rb"))
    bundle: Any = vl_convert.javascript_bundle  # its types do not know that it may be called without a snippet
    script: str = bundle(vl_version=_VEGA_LITE)
    return script.replace("</script", "<\\/script")
