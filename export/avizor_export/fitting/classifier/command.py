"""Do what `avizor fit --labels` and `avizor fit --improve` of a classifier do, and print it."""

from __future__ import annotations

from pathlib import Path

from avizor_export.fitting.classifier.cost import cost_lines
from avizor_export.fitting.classifier.improve import improve_classifier
from avizor_export.fitting.classifier.plan import AskedClassifier, plan_classifier
from avizor_export.fitting.classifier.run import fit_and_publish_classifier
from avizor_export.fitting.classifier.script import classifier_script
from avizor_export.fitting.folder import Where
from avizor_export.fitting.going_on import Earlier
from avizor_export.fitting.shown import echo, saying_if_stopped, serving_lines, show_choices, warn, write_script
from avizor_export.fitting.taken_name import check_shape
from avizor_export.report import describe_fit


def fit_classes(where: Where, asked: AskedClassifier, name: str, models: Path, explain: Path | None, *, dry_run: bool) -> None:
    """Fit a classifier to a folder of classes, and publish it.

    name: empty in a dry run alone. explain: file for the script that does the same. dry_run: say what would be chosen, and stop
    there.
    """
    plan = plan_classifier(where, asked)
    show_choices(plan.choices, plan.warnings, name, models, cost_lines(plan))
    if explain:
        write_script(explain, classifier_script(plan, name, models))
    check_shape(name, models, plan.input, plan.labels, dry_run=dry_run)
    if dry_run:
        return
    with saying_if_stopped():
        published = fit_and_publish_classifier(plan, name, models)
    warn(published.warnings)
    describe_fit(published.version)
    echo([*published.lines(), *serving_lines(plan.items.where, published.version, models)])


def improve_classes(earlier: Earlier, where: Where, models: Path, steps: int | None, seed: int, *, force: bool) -> bool:
    """Go on from a version with new items of its classes. Return whether a next version was published.

    force: publish also what is no better.
    """
    with saying_if_stopped():
        improved = improve_classifier(earlier, where, models, steps, seed, force=force)
    warn(improved.warnings)
    if improved.version:
        describe_fit(improved.version)
    echo(improved.lines(earlier.version))
    if improved.version:
        echo(serving_lines(where, improved.version, models))
    return improved.version is not None
