"""Which of an architecture's networks a weights file belongs to; what the file does not tell has to be said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avizor_export.architectures.catalogue import ARCHITECTURES, Variant, option_text
from avizor_export.networks.state_dicts import matches, nearest
from avizor_export.networks.weights_files import WeightsFile
from avizor_inference.errors import ExportError

_MEANING: Mapping[tuple[str, bool | str], str] = {
    ("layout", "torchvision"): "trained in torchvision's module",
    ("layout", "adapted"): "trained in what Avizor's `build` gives for inputs of this size",
    (
        "transform_input",
        True,
    ): "trained in torchvision's module that was made with weights=..., which normalises its input anew",
    ("transform_input", False): "trained in any other, from random weights or with transform_input=False",
}


def settings_for(
    design: str, variants: Sequence[Variant], given: Mapping[str, bool | str], weights: WeightsFile, key: str | None
) -> Mapping[str, bool | str]:
    """The settings of the one network that has the given settings and that the weights fit.

    Raises ExportError where several fit that compute different things: a file that was trained in one must not be published as
    another. Where none fits, the settings of the one that is nearest, for the message that follows.
    """
    fitting = [variant for variant in variants if matches(variant.network.state_dict(), weights.tensors, key)]
    left = [variant for variant in fitting if given.items() <= variant.settings.items()]
    if fitting and not left:
        raise ExportError(
            f"{weights.path} does not fit {design!r} with {_written(given)}; it fits with "
            f"{' or '.join(_written(each.settings) for each in fitting)}"
        )
    if not left:
        asked = [variant for variant in variants if given.items() <= variant.settings.items()]
        return min(asked or variants, key=lambda each: _misfits(each, weights, key)).settings
    if len({variant.computes() for variant in left}) > 1:
        raise _ask(design, left, given, weights)
    return left[0].settings


def _ask(design: str, left: Sequence[Variant], given: Mapping[str, bool | str], weights: WeightsFile) -> ExportError:
    questions = []
    for name, values in ARCHITECTURES[design].choices.items():
        if name in given or not _matters(name, left):
            continue
        there = [value for value in values if any(each.settings[name] == value for each in left)]
        questions.append(" or ".join(f"--set {name}={option_text(value)} ({_MEANING[name, value]})" for value in there))
    return ExportError(
        f"{weights.path} fits several networks of the name {design!r} that give different results, and does not tell in which "
        f"it was trained; say so with {', and with '.join(questions)}"
    )


def _matters(name: str, variants: Sequence[Variant]) -> bool:
    """Whether two variants that differ in this setting alone compute different things."""
    by_others: dict[tuple[object, ...], set[tuple[object, ...]]] = {}
    for variant in variants:
        others = tuple(value for key, value in variant.settings.items() if key != name)
        by_others.setdefault(others, set()).add(variant.computes())
    return any(len(computed) > 1 for computed in by_others.values())


def _misfits(variant: Variant, weights: WeightsFile, key: str | None) -> int:
    own = variant.network.state_dict()
    state = nearest(own, weights.tensors, key).state
    return sum(name not in state or state[name].shape != value.shape for name, value in own.items())


def _written(settings: Mapping[str, bool | str]) -> str:
    return " ".join(f"--set {name}={option_text(value)}" for name, value in settings.items())
