"""Choose the variant of an architecture that a weights file belongs to; what the file does not show, the user has to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avizor_export.architectures.catalogue import ARCHITECTURES, Variant, option_text
from avizor_export.networks.state_dicts import matches, nearest
from avizor_export.networks.weights_files import WeightsFile
from avizor_inference.errors import ExportError

_MEANING: Mapping[tuple[str, bool | str], str] = {
    ("layout", "torchvision"): "trained in torchvision's module",
    ("layout", "adapted"): "trained in the network that Avizor's `build` returns for inputs of this size",
    ("transform_input", True): "trained in torchvision's module created with weights=..., which normalises its input again",
    ("transform_input", False): "trained in any other, from random weights or with transform_input=False",
}


def settings_for(
    design: str, variants: Sequence[Variant], settings: Mapping[str, bool | str], weights: WeightsFile, key: str | None
) -> Mapping[str, bool | str]:
    """Return all settings of the variant that the weights fit and that has the user's `settings`.

    key: where the file has the weights, if the user chose. If no variant fits, return the settings of the nearest one, for the
    error message that follows. Raises ExportError if the weights do not fit with the user's settings, or fit several variants
    that compute different things: a file that was trained in one must not be published as another.
    """
    fitting = [variant for variant in variants if matches(variant.network.state_dict(), weights.tensors, key)]
    candidates = [variant for variant in fitting if settings.items() <= variant.settings.items()]
    if fitting and not candidates:
        raise ExportError(
            f"{weights.path} does not fit {design!r} with {_as_options(settings)}; it fits with "
            f"{' or '.join(_as_options(variant.settings) for variant in fitting)}"
        )
    if not candidates:
        requested = [variant for variant in variants if settings.items() <= variant.settings.items()]
        return min(requested or variants, key=lambda variant: _count_misfits(variant, weights, key)).settings
    if len({variant.computes() for variant in candidates}) > 1:
        raise _ambiguity_error(design, candidates, settings, weights)
    return candidates[0].settings


def _ambiguity_error(
    design: str, candidates: Sequence[Variant], settings: Mapping[str, bool | str], weights: WeightsFile
) -> ExportError:
    """Return the error that asks the user for the settings that tell the candidates apart."""
    questions = []
    for name, values in ARCHITECTURES[design].choices.items():
        if name in settings or not _matters(name, candidates):
            continue
        possible = [value for value in values if any(variant.settings[name] == value for variant in candidates)]
        questions.append(" or ".join(f"--set {name}={option_text(value)} ({_MEANING[name, value]})" for value in possible))
    return ExportError(
        f"{weights.path} fits several networks of the name {design!r} that return different results, and does not show in "
        f"which it was trained; say so with {', and with '.join(questions)}"
    )


def _matters(name: str, variants: Sequence[Variant]) -> bool:
    """Return whether two variants that differ in this setting alone compute different things."""
    by_others: dict[tuple[object, ...], set[tuple[object, ...]]] = {}
    for variant in variants:
        others = tuple(value for key, value in variant.settings.items() if key != name)
        by_others.setdefault(others, set()).add(variant.computes())
    return any(len(computed) > 1 for computed in by_others.values())


def _count_misfits(variant: Variant, weights: WeightsFile, key: str | None) -> int:
    """Count the variant's tensors that the file lacks or has in another shape."""
    expected = variant.network.state_dict()
    state = nearest(expected, weights.tensors, key).state
    return sum(name not in state or state[name].shape != value.shape for name, value in expected.items())


def _as_options(settings: Mapping[str, bool | str]) -> str:
    return " ".join(f"--set {name}={option_text(value)}" for name, value in settings.items())
