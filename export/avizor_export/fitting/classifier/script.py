"""Write what `avizor fit --labels` does as a Python script, to be kept and changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avizor_export.fitting.classifier.plan import ClassifierPlan
from avizor_export.fitting.script import code_of, comment_lines, head_lines, where_code


def classifier_script(plan: ClassifierPlan, name: str, models: Path) -> str:
    """Return the script that fits and publishes the same classifier."""
    return "\n".join(_lines(plan, name, models)) + "\n"


def _lines(plan: ClassifierPlan, name: str, models: Path) -> Iterator[str]:
    asked, names = plan.asked, set[str]()
    described, place = code_of(plan.input, names), where_code(plan.items.where, names)
    weights = f"Path({str(asked.network.weights)!r})" if asked.network.weights else None
    yield f'"""What `avizor fit --labels` did for the model {name}; the same items and seed give the same model."""'
    yield ""
    yield from head_lines()
    yield "from pathlib import Path"
    yield ""
    yield "from avizor_export import ("
    for each in _OF_EXPORT:
        yield f"    {each},"
    yield ")"
    yield f"from avizor_inference import {', '.join(sorted(names))}"
    yield ""
    yield from comment_lines(plan.choices)
    yield f"INPUT = {described}"
    yield f"DESIGN = Design({plan.design.name!r}, {dict(plan.design.settings)!r})"
    yield ""
    yield f"items = NormalItems({place}, INPUT, seed={asked.seed})"
    yield f"data = read_labelled(items, INPUT, seed={asked.seed})"
    yield f"fitted = fit_classifier(data, INPUT, DESIGN, weights={weights}, most_steps={asked.steps}, seed={asked.seed})"
    yield 'print(*fitted.confusion.lines(), sep="\\n")'
    yield f"request = classifier_request({name!r}, fitted, data)"
    yield f"describe_export(export_model(fitted.network, request, Path({str(models)!r})))"


_OF_EXPORT = (
    *("Design", "NormalItems", "Where", "classifier_request", "describe_export", "export_model", "fit_classifier"),
    "read_labelled",
)
