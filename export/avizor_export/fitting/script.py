"""Write what `avizor fit` does as a Python script, to be kept and changed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from avizor_export.fitting.choices import Choice
from avizor_export.fitting.folder import Where
from avizor_export.fitting.plan import Plan
from avizor_inference.items.dataset import Columns
from avizor_inference.strict_json import Strict

_LINE = 110


def script_for(plan: Plan, name: str, models: Path) -> str:
    """Return the script that fits and publishes the same model."""
    return "\n".join(_lines(plan, name, models)) + "\n"


def _lines(plan: Plan, name: str, models: Path) -> Iterator[str]:
    recipe, where = plan.recipe, plan.items.where
    names = set[str]()
    place = where_code(where, names)
    described = code_of(recipe.input, names)
    way = "fit_detector" if plan.parts else "cross_fit"
    divide = "split_items" if plan.parts else "fold_items"
    from_export = sorted(
        ["NormalItems", "Recipe", "Where", "describe_export", "export_model", "request_for", way, divide], key=str.casefold
    )
    yield f'"""What `avizor fit` did for the model {name}, as a script; the same items and seed give the same model."""'
    yield ""
    yield from head_lines()
    yield "from dataclasses import replace"
    yield "from pathlib import Path"
    yield ""
    yield f"from avizor_export import {', '.join(from_export)}"
    yield f"from avizor_inference import {', '.join(sorted(names))}"
    yield ""
    yield from comment_lines(plan.choices)
    yield f"INPUT = {described}"
    yield ""
    without = f", without={list(plan.items.without)!r}" if plan.items.without else ""  # they cannot be read
    yield f"items = NormalItems({place}, INPUT, seed={recipe.seed}{without})"
    local = "" if recipe.with_local is None else f", with_local={recipe.with_local}"
    yield f"recipe = Recipe(INPUT, spec={recipe.spec!r}, most_steps={recipe.most_steps}, seed={recipe.seed}{local})"
    if plan.parts:
        yield f"parts = split_items(items.sources, seed={recipe.seed}, calibration={plan.calibration_share})"
        yield "fitted = fit_detector(items, parts.training, parts.stopping, recipe)"
        yield f"request = request_for({name!r}, fitted, items, shown=parts.calibration)"
        yield "request = replace(request, normal=items.recordings(parts.calibration, fitted.input))"
    else:
        assert plan.folds
        yield f"folds = fold_items(items.sources, {len(plan.folds.folds)}, seed={recipe.seed})"
        yield "fitted, scored = cross_fit(items, folds, recipe)"
        yield f"request = replace(request_for({name!r}, fitted, items, shown=folds.all()), scored=scored)"
    yield f"describe_export(export_model(fitted.detector, request, Path({str(models)!r})))"


def head_lines() -> Iterator[str]:
    """Yield what has to be done before torch is imported, and what a run does."""
    yield "# Each run publishes another version."
    yield "import os"
    yield ""
    yield 'os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else threads that wait take the cores from those that work'
    yield ""


def comment_lines(choices: Sequence[Choice]) -> Iterator[str]:
    """Yield the choices as comments."""
    for choice in choices:
        text = f"{choice.name}: {choice.value}, {choice.why}"
        yield from textwrap.wrap(text, _LINE, initial_indent="# ", subsequent_indent="#     ")


def code_of(value: object, names: set[str], indent: str = "") -> str:
    """Return a description of an input as code, without what is the default. names: takes note of the classes."""
    inner = indent + "    "
    if isinstance(value, Strict):
        names.add(type(value).__name__)
        given = [
            f"{name}={code_of(each, names, inner)}"
            for name, field in type(value).model_fields.items()
            if (each := getattr(value, name)) != field.get_default(call_default_factory=True)
        ]
        return _joined(f"{type(value).__name__}(", given, ")", indent)
    if isinstance(value, tuple):
        return _joined("(", [code_of(each, names, inner) for each in value], ",)" if len(value) == 1 else ")", indent)
    return repr(value)


def _joined(begin: str, parts: Sequence[str], end: str, indent: str) -> str:
    """Return the parts with commas between them, each on a line of its own if they are too long for one."""
    line = f"{begin}{', '.join(parts)}{end}"
    if len(indent) + len(line) <= _LINE - 20 and "\n" not in line:
        return line
    lines = "".join(f"{indent}    {part},\n" for part in parts)
    return f"{begin}\n{lines}{indent}{end.lstrip(',')}"


def _has_columns(where: Where) -> bool:
    return where.columns != Columns()


def where_code(where: Where, names: set[str]) -> str:
    """Return the place of the items as code. names: takes note of the classes."""
    names |= {name for name, used in (("SourceRule", where.rule.pattern), ("Columns", _has_columns(where))) if used}
    given = [f"Path({str(where.path)!r})"]
    if where.rule.pattern:
        given.append(f"rule=SourceRule({where.rule.pattern!r})")
    if _has_columns(where):
        columns = {name: value for name, value in vars(where.columns).items() if value}
        given.append(f"columns=Columns({', '.join(f'{name}={value!r}' for name, value in columns.items())})")
    if where.channels != "each":
        given.append(f"channels={where.channels!r}")
    if where.first is not None:
        given.append(f"first={where.first}")
    return f"Where({', '.join(given)})"
