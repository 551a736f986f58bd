"""Do what `avizor fit` was asked for, and print it. Importing this module imports torch, which takes seconds."""

from __future__ import annotations

from typing import Any

from avizor_export.fitting.classifier.choose import WantedNetwork
from avizor_export.fitting.classifier.command import fit_classes, improve_classes
from avizor_export.fitting.classifier.plan import AskedClassifier
from avizor_export.fitting.cost import cost_lines
from avizor_export.fitting.folder import Where
from avizor_export.fitting.going_on import Earlier, open_earlier
from avizor_export.fitting.improve_detector import improve_detector, look_at_new
from avizor_export.fitting.kinds.base import Wanted
from avizor_export.fitting.plan import Asked, plan_for
from avizor_export.fitting.promise import promise_lines
from avizor_export.fitting.run import fit_and_publish
from avizor_export.fitting.script import script_for
from avizor_export.fitting.shown import echo, saying_if_stopped, serving_lines, show_choices, warn, write_script
from avizor_export.fitting.taken_name import check_shape
from avizor_export.report import describe_fit


def fit_detector(where: Where, options: dict[str, Any]) -> None:
    """Fit a detector to the normal items at a place. options: of the command, by name."""
    name, models = options["name"] or "", options["models"]
    plan = plan_for(where, _asked(options))
    show_choices(plan.choices, plan.warnings, name, models, cost_lines(plan))
    if options["explain"]:
        write_script(options["explain"], script_for(plan, name, models))
    check_shape(name, models, plan.recipe.input, dry_run=options["dry_run"])
    if options["dry_run"]:
        return
    with saying_if_stopped():
        version = fit_and_publish(plan, name, models)
    describe_fit(version)
    echo([*promise_lines(plan, version), *serving_lines(where, version, models, plan.alpha)])


def fit_classifier(where: Where, options: dict[str, Any]) -> None:
    """Fit a classifier to the items in classes at a place."""
    asked = AskedClassifier(
        network=WantedNetwork(options["architecture"], options["weights"], options["spec"]),
        wanted=_wanted(options),
        **{name: options[name] for name in ("kind", "input", "steps", "seed")},
    )
    fit_classes(where, asked, options["name"] or "", options["models"], options["explain"], dry_run=options["dry_run"])


def improve(where: Where, options: dict[str, Any]) -> bool:
    """Go on from a version with the new items at a place. Return whether a next version was published."""
    earlier = open_earlier(options["models"], options["improve"])
    if earlier.is_classifier:
        return improve_classes(earlier, where, options["models"], options["steps"], options["seed"], force=options["force"])
    return _improve_detector(earlier, where, options)


def _improve_detector(earlier: Earlier, where: Where, options: dict[str, Any]) -> bool:
    models = options["models"]
    with saying_if_stopped():
        new = look_at_new(earlier, where, options["steps"], options["seed"])
        warn(new.warnings)
        echo(new.judged.lines())
        if not options["force"] and (refusal := new.judged.refusal):
            echo([refusal])
            return False
        improved = improve_detector(new, models)
    warn(new.judged.warnings())
    describe_fit(improved.version)
    echo([*improved.lines(), *promise_lines(improved.plan, improved.version)])
    echo(serving_lines(where, improved.version, models, improved.plan.alpha))
    return True


def _asked(options: dict[str, Any]) -> Asked:
    names = ("kind", "input", "spec", "latent", "width", "local", "steps", "folds", "calibration", "alpha", "seed")
    return Asked(wanted=_wanted(options), **{name: options[name] for name in names})


def _wanted(options: dict[str, Any]) -> Wanted:
    return Wanted(
        sample_rate=options["sample_rate"],
        window_s=options["window"],
        hop_s=options["hop"],
        size=options["size"],
        channels=options["channels"],
        columns=options["take"],
        leave_out=options["leave_out"],
    )
