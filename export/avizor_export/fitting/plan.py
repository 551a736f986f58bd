"""Decide how a detector is fitted to the normal items of a folder: look at them, and choose each setting with its reason."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue
from torch import Tensor

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.detection.early_stopping import FEWEST_STEPS, STEPS_BETWEEN
from avizor_export.detection.fit import MOST_STEPS
from avizor_export.detection.local import PICTURES, RESEMBLANCE, can_be_local, local_of
from avizor_export.detection.sizes import suggested_spec
from avizor_export.fitting.choices import Choice
from avizor_export.fitting.detector import Recipe
from avizor_export.fitting.folder import NormalItems, Where, modality_of
from avizor_export.fitting.found import files_choice, given_input, items_found, sources_choice
from avizor_export.fitting.kinds.base import Chosen, Wanted
from avizor_export.fitting.look import LOOKED_AT, column_notes, kind_of, list_items, looked_at, read_once, sample
from avizor_export.fitting.sample import features, raw_batches
from avizor_export.fitting.split import FEWEST, Folds, Parts, fold_items, held_of, split_items, stopping_of
from avizor_export.fitting.unreadable import Unreadable
from avizor_export.fitting.wrong_input import check_count, check_names, check_sources, check_varied, source_notes
from avizor_export.front_ends.build import feature_shape, fit_constants
from avizor_export.stages import stage
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec

# Below so many items a split is thin on both sides, and each of them is used twice.
FEW = 100
# From so many on a split leaves enough for the training whatever the sources have, and training K times takes long.
MANY = 400
FOLDS = 5
_LEAST_STEPS = 300
# A step costs about as much as the features have values: with those of 64 x 64 all steps take minutes on two cores.
_USUAL_VALUES = 64 * 64
# Items from which the size of the latent space of rows is computed.
_FOR_SPEC = 2000
_COMPARED, _NOT_COMPARED = "compared, too", "not compared"
_SHOWN = 4  # sources that are named with their number of items
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2)
LARGEST_OF_SOURCES = 0.05


@dataclass(frozen=True)
class Asked:
    """Holds what a user chose; None, or empty, where it is chosen from the data.

    kind: of the items: image, audio, signal or table. input: a description as `avizor export --input` takes it. spec: of the
    autoencoder; latent, width: numbers of its latent space, and channels or values of its first layer. local: whether pictures
    are compared place by place, too. calibration: share of the items, 0 to 1. folds: of cross-fitting; 0: a split.
    """

    kind: str | None = None
    input: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    spec: str | None = None
    latent: int | None = None
    width: int | None = None
    local: bool | None = None
    steps: int | None = None
    folds: int | None = None
    calibration: float | None = None
    alpha: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """Holds what was found and decided. parts or folds: whichever is done. calibration_share: if it was given.

    steps_given: whether a user said how many.
    """

    items: NormalItems
    recipe: Recipe
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]
    parts: Parts | None = None
    folds: Folds | None = None
    calibration_share: float | None = None
    steps_given: bool = False

    @property
    def alpha(self) -> str:
        """Return the alpha of the commands at the end."""
        return next(choice.value for choice in self.choices if choice.name == "alpha")

    @property
    def calibrating(self) -> tuple[int, ...]:
        """Return the numbers of the items of the calibration, sorted."""
        if self.parts:
            return self.parts.calibration
        assert self.folds
        return self.folds.all()

    def record(self) -> Mapping[str, JsonValue]:
        """Return what is kept beside the version: a second run compares its own choices with these."""
        return {
            "task": "reconstruct",
            "folder": self.items.where.name,
            "items": self.items.listed,
            "choices": [[choice.name, choice.value] for choice in self.choices],
        }


def plan_for(where: Where, asked: Asked) -> Plan:
    """Look at the items of a folder, and decide. Raises DatasetError for items that no model can be fitted to."""
    modality = asked.kind or modality_of(where)
    with stage("list the items"):
        items = list_items(where, modality, asked.seed)
    named = list(check_names(items, modality))
    seen = _look(items, asked, modality)
    spec, parts, folds = seen.chosen.input, seen.parts, seen.folds
    warnings = [*named, *source_notes(items), *seen.warnings]
    warnings += [*check_varied(items, spec), *column_notes(items)]
    sources = items.by_source
    found = items_found(items, seen.plural, f"of {len(sources)} source{'s' * (len(sources) > 1)}", sources, _SHOWN)
    with stage("choose the network"):
        network, places = _network_and_places(items, seen, asked)
    steps = _steps(spec, asked, len(folds.folds) if folds else 1)
    compares = places[0].value == _COMPARED if places else None
    recipe = Recipe(spec, network.value, int(steps.value), asked.seed, compares)
    alpha = Choice.given("alpha", asked.alpha) if asked.alpha else smallest_alpha(items, parts, folds)
    files = files_choice(items, seen.plural)
    all_choices = (found, *files, *sources_choice(items), *seen.chosen.choices, network, *places, steps, *seen.how, alpha)
    return Plan(items, recipe, all_choices, tuple(warnings), parts, folds, asked.calibration, asked.steps is not None)


@dataclass(frozen=True)
class _Seen:
    """Holds how the items are divided, and what a look at them led to. training: numbers of those that are not held out."""

    plural: str
    how: Sequence[Choice]
    parts: Parts | None
    folds: Folds | None
    training: Sequence[int]
    warnings: Sequence[str]
    chosen: Chosen


def _look(items: NormalItems, asked: Asked, modality: str) -> _Seen:
    """Divide the items, look at them, and choose the input.

    What cannot be read is left out, and all is done as if it had not been there. Raises DatasetError.
    """
    while True:
        kind, unreadable = kind_of(modality), Unreadable(items)
        check_count(items, kind.plural)
        check_sources(items)
        how, parts, folds = _division(items, asked, kind.plural)
        training = sorted([*parts.training, *parts.stopping]) if parts else range(len(items))
        with stage("look at them"):
            looked_at(unreadable, kind, training, asked.seed)  # a choice by what calibrates would be learnt from it
        warnings = [*kind.warnings()]
        chosen = given_input(asked.input, modality, items) if asked.input else kind.choose(asked.wanted)
        some = [*sample(training, LOOKED_AT, asked.seed), *parts.calibration] if parts else range(len(items))
        with stage("read them"):
            read_once(unreadable, some, chosen.input)
        if not unreadable.leave_out():
            return _Seen(kind.plural, how, parts, folds, training, warnings, chosen)


def _division(items: NormalItems, asked: Asked, plural: str) -> tuple[list[Choice], Parts | None, Folds | None]:
    """Choose between a split and cross-fitting."""
    count = folds_for(items.sources) if asked.folds is None and asked.calibration is None else asked.folds or 0
    if count:
        if count < 2 or count > len(items):
            raise ExportError(f"--folds {count}: give 2 to {len(items)}, as many as there are {plural}")
        folds = fold_items(items.sources, count, asked.seed)
        value = f"cross-fitting, {count} folds"
        why = (
            f"a split of {len(items)} leaves too few on a side, so each one calibrates a detector that was trained without "
            "it; its promise is weaker (docs/fit.md)"
        )
        return [Choice.given("held out", value) if asked.folds else Choice("held out", value, why)], None, folds
    parts = split_items(items.sources, asked.seed, asked.calibration)
    value = f"{len(parts.training)} / {len(parts.stopping)} / {len(parts.calibration)}"
    why = f"training, stopping and calibration are of other {plural}, divided by chance in each source"
    if asked.calibration is not None:
        return [Choice.given("held out", value)], parts, None
    return [Choice("held out", value, why)], parts, None


def folds_for(sources: Sequence[str]) -> int:
    """Return how many folds items of these sources are cross-fitted in; 0 for a split.

    They are if there are fewer than FEW, or fewer than MANY, and a source would keep too few for alpha 0.05 with a split, but
    not without one.
    """
    if len(sources) < FEW:
        return FOLDS
    counts = {source: sources.count(source) for source in set(sources)} if len(sources) < MANY else {}
    return FOLDS if any(held_of(count) < FEWEST - 1 <= count // FOLDS * FOLDS for count in counts.values()) else 0


def _network_and_places(items: NormalItems, seen: _Seen, asked: Asked) -> tuple[Choice, tuple[Choice, ...]]:
    """Choose the autoencoder, and of pictures whether their places are compared. Features are computed only if they decide."""
    spec = seen.chosen.input
    is_image = spec.modality == "image"
    if asked.spec and not is_image:
        return _network(asked.spec, spec, asked), ()
    learnt = _learnt(items, seen.training, spec, asked.seed)
    network = _network(asked.spec or suggested_spec(learnt, is_sound=spec.modality == "audio"), spec, asked)
    return network, (_places(learnt, _fewest_trained(items, seen, asked.seed), asked),) if is_image else ()


def _fewest_trained(items: NormalItems, seen: _Seen, seed: int) -> int:
    """Return how many items the training has; of several, the one with the fewest."""
    if seen.parts:
        return len(seen.parts.training)
    assert seen.folds
    outside = map(seen.folds.outside, range(len(seen.folds.folds)))
    return min(len(stopping_of(numbers, items.sources, seed)[0]) for numbers in outside)


def _learnt(items: NormalItems, training: Sequence[int], spec: InputSpec, seed: int) -> Tensor:
    """Return features of some items of the training, float32[n, ...]."""
    some = training[:: max(1, len(training) // _FOR_SPEC)]
    return features(items, some, fit_constants(spec, raw_batches(items, some, spec, seed)), seed)


def _network(suggested: str, spec: InputSpec, asked: Asked) -> Choice:
    """Choose the autoencoder. suggested: its spec, before what was given of it."""
    shape = feature_shape(spec)
    changed = with_width(with_latent(suggested, asked.latent), asked.width)
    build_autoencoder(changed, shape)  # raises ExportError if it does not fit
    given = asked.spec or asked.latent or asked.width
    return Choice.given("network", changed) if given else Choice("network", changed, _why_network(shape))


def _places(learnt: Tensor, trained: int, asked: Asked) -> Choice:
    """Choose whether pictures are compared place by place. trained: how many of them the training has."""
    can_be = can_be_local(tuple(learnt.shape[1:]), min(trained, len(learnt)), is_sound=False)
    if asked.local is not None:
        if asked.local and not can_be:
            raise ExportError(f"--local: it takes {PICTURES}; give --size or more of them, or leave it out")
        return Choice.given("places", _COMPARED if asked.local else _NOT_COMPARED)
    if not can_be:
        return Choice("places", _NOT_COMPARED, f"places are compared in {PICTURES}; others are compared as wholes")
    local = local_of(learnt, asked.seed)
    explained = f"principal components explain {local.resemblance:.0%} of how they differ"
    if local.applies:
        return Choice("places", _COMPARED, f"pictures show the same thing in the same place: {explained}")
    return Choice("places", _NOT_COMPARED, f"pictures differ as wholes: {explained}, and {RESEMBLANCE:.0%} are needed")


def _why_network(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f"the latent numbers are as many as principal components that explain 95 % of the {shape[0]} numbers of a row"
    sides = " x ".join(map(str, shape))
    return f"its layers halve features of {sides} to a few numbers, which are enough to make normal ones again"


def with_latent(spec: str, latent: int | None) -> str:
    """Return a spec with another number of latent values."""
    return re.sub(r"\blatent\d+", f"latent{latent}", spec) if latent else spec


def with_width(spec: str, width: int | None) -> str:
    """Return a spec whose first layer has so many channels or values, and the others in proportion."""
    if not width:
        return spec
    first = re.search(r"\b(?:conv|fc)(\d+)", spec)
    if not first:
        raise ExportError(f"--width: the network {spec!r} has no layer whose width could be changed; give --spec")
    times = width / int(first[1])
    return re.sub(r"\b(conv|fc)(\d+)", lambda match: f"{match[1]}{max(1, round(int(match[2]) * times))}", spec)


def _steps(spec: InputSpec, asked: Asked, rounds: int) -> Choice:
    """Choose how many steps a training has at most: by the size of the features, so that it takes minutes on two cores."""
    if asked.steps:
        return Choice.given("steps", asked.steps)
    steps = steps_for(feature_shape(spec), rounds)
    why = "features are large, and so many steps take minutes on two cores"
    if steps > FEWEST_STEPS:
        why = "more are hardly ever needed, and the training ends before if the error of what is held out no longer falls"
    elif steps == _LEAST_STEPS:
        why = "fewer would teach too little, and each takes long: features are large, or folds many"
    elif rounds > 1:
        why = "all folds together have as many as one training would have"
    return Choice("steps", str(steps), why)


def steps_for(shape: tuple[int, ...], rounds: int = 1) -> int:
    """Return how many steps each of so many trainings has at most, on features of a shape."""
    share = min(1.0, _USUAL_VALUES / math.prod(shape)) / rounds  # all folds together take as long as one training
    return max(_LEAST_STEPS, int(MOST_STEPS * share) // STEPS_BETWEEN * STEPS_BETWEEN)


def smallest_alpha(items: NormalItems, parts: Parts | None, folds: Folds | None = None) -> Choice:
    """Choose the alpha of the commands at the end: the smallest usual one that each source supports.

    Sources that do not support LARGEST_OF_SOURCES are left out if others do, as all together judge their items.
    """
    numbers = parts.calibration if parts else [number for fold in (folds.folds if folds else ()) for number in fold]
    counts = Counter(items.sources[number] for number in numbers)
    large = {source: count for source, count in counts.items() if 1 / (count + 1) <= LARGEST_OF_SOURCES}
    fewest = min((large or counts).values())
    alpha = next((each for each in ALPHAS if 1 / (fewest + 1) <= each), ALPHAS[-1])
    which = "the calibration" if len(counts) == 1 else "the source with the fewest"
    small = len(items.by_source) - len(large)
    others = f"; {small} smaller source{'s are' if small > 1 else ' is'} judged by all together" if large and small else ""
    weaker = "; what that promises with cross-fitting is said below" if folds else ""
    return Choice(
        "alpha", f"{alpha:g}", f"{which} has {fewest} items, and 1 / ({fewest} + 1) is {1 / (fewest + 1):.2g}{others}{weaker}"
    )
