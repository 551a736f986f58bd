"""Go on training a published detector with new normal items, and calibrate it with them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.detection.bank import bank_of
from avizor_export.detection.early_stopping import error_of, train_until_flat
from avizor_export.detection.fit import MOST_STEPS, local_part, with_parts
from avizor_export.detection.scores import NeighbourDistance, mean_error
from avizor_export.detection.views import view_of
from avizor_export.exporter import export_model
from avizor_export.fitting.computing import same_everywhere
from avizor_export.fitting.detector import FittedDetector, Recipe, request_for
from avizor_export.fitting.folder import NormalItems, Where
from avizor_export.fitting.going_on import Earlier, check_same_outputs, improving, list_new_items, load_kept, record_after
from avizor_export.fitting.judged_new import JudgedNew, judge_new
from avizor_export.fitting.look import LOOKED_AT, kind_of, read_once, sample
from avizor_export.fitting.plan import Plan, smallest_alpha
from avizor_export.fitting.progress import training_progress
from avizor_export.fitting.sample import features, sample_of
from avizor_export.fitting.split import Parts, split_items
from avizor_export.fitting.unreadable import Unreadable
from avizor_export.fitting.wrong_input import check_count, check_names, check_sources, check_varied
from avizor_export.front_ends.build import feature_shape
from avizor_export.stages import stage
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.models import ModelVersion
from avizor_inference.repository.trained_items import read_trained

_OWN_BANK = "parts.neighbour_score."


@dataclass(frozen=True)
class NewItems:
    """Holds what training goes on from, and with.

    network: the autoencoder of the version before, with its weights. judged: what that version says of the new items. warnings:
    what is odd about them, each a sentence without a full stop.
    """

    earlier: Earlier
    items: NormalItems
    parts: Parts
    network: nn.Module
    recipe: Recipe
    judged: JudgedNew
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ImprovedDetector:
    """Holds what came of it: the errors of the reconstruction of held-out new items, before and after.

    plan: for `promise_lines`.
    """

    version: ModelVersion
    before: float
    after: float
    plan: Plan

    def lines(self) -> Iterator[str]:
        """Yield the figures as lines for people."""
        yield f"mean error of held-out new items: {self.before:.4g} before, {self.after:.4g} now"
        yield "it is calibrated anew, with new items alone; how many abnormal ones it finds is not known from normal ones"


def look_at_new(earlier: Earlier, where: Where, steps: int | None = None, seed: int = 0) -> NewItems:
    """List new items, hold some of them out, and ask the version before about these.

    steps: most of the training; None for as many as of a first one. Raises DatasetError for items of another kind, or too few.
    """
    items, spec = list_new_items(earlier, where, seed), earlier.version.manifest.input
    named = list(check_names(items, spec.modality))
    parts = _parts(items, spec, seed)
    warnings = (*named, *check_varied(items, spec))
    network, design = _open(earlier)
    with stage(f"ask version {earlier.version.version} about them"):
        judged = judge_new(earlier.version, items, parts)
    return NewItems(earlier, items, parts, network, Recipe(spec, design, steps or MOST_STEPS, seed), judged, warnings)


def improve_detector(new: NewItems, models: Path) -> ImprovedDetector:
    """Train on from the weights of a version, calibrate with new items that were held out, and publish the next version.

    The rows of normal items that it compares with are kept, and new ones join them.
    """
    items, parts, network, recipe = new.items, new.parts, new.network, new.recipe
    spec, seed = recipe.input, recipe.seed
    before_these = read_trained(new.earlier.version.folder)
    trained = set(before_these or ())
    with same_everywhere(), training_progress("train") as progress:
        learnt, held, shown = (
            features(items, sample_of(items, part, spec, seed), spec, seed, read)
            for part, read in ((parts.training, trained), (parts.stopping, trained), (parts.calibration, None))
        )
        before, at_first = error_of(network, shown), error_of(network, held)
        weights = copy.deepcopy(network.state_dict())
        history = train_until_flat(network, learnt, held, most_steps=recipe.most_steps, seed=seed, watch=progress)
        if error_of(network, held) > at_first:  # it was as good as it gets
            network.load_state_dict(weights)
        distance = _joined(_bank(new.earlier), learnt, recipe)
        local = local_part(learnt, is_sound=recipe.is_sound, seed=seed, wanted=_is_local(new.earlier))
        detector = with_parts(network, distance, local, held)
        after = error_of(network, shown)
    assert recipe.spec  # that of the version before
    fitted = FittedDetector(detector, spec, history, recipe.spec, None if before_these is None else frozenset(trained))
    version = _publish(new.earlier, fitted, items, parts, models)
    return ImprovedDetector(version, before, after, Plan(items, recipe, (smallest_alpha(items, parts),), (), parts))


def _joined(earlier: Mapping[str, Tensor], learnt: Tensor, recipe: Recipe) -> NeighbourDistance:
    """Return the distance to the bank of an earlier detector, which the items that were learnt join.

    earlier: `mean` and `turn`, if vectors are changed by them, and `bank`.
    """
    view = view_of(tuple(learnt.shape[1:]), is_sound=recipe.is_sound)
    mean, turn, bank = (earlier.get(name) for name in ("mean", "turn", "bank"))
    assert bank is not None
    with torch.no_grad():
        as_before = NeighbourDistance(view, mean, turn, bank)
        vectors = torch.cat([as_before.vectors(batch) for batch in learnt.split(256)])
        new = bank_of(vectors, recipe.seed, is_sound=recipe.is_sound)
        return NeighbourDistance(view, mean, turn, bank_of(torch.cat([bank, new]), recipe.seed, is_sound=recipe.is_sound))


def _parts(items: NormalItems, spec: InputSpec, seed: int) -> Parts:
    """Divide new items; those that cannot be read are left out, and named. Raises DatasetError if they are too many."""
    while True:
        check_count(items, kind_of(spec.modality).plural)
        check_sources(items)
        parts, unreadable = split_items(items.sources, seed), Unreadable(items)
        read_once(unreadable, [*sample([*parts.training, *parts.stopping], LOOKED_AT, seed), *parts.calibration], spec)
        if not unreadable.leave_out():
            return parts


def _open(earlier: Earlier) -> tuple[nn.Module, str]:
    """Return the autoencoder of the version with its weights, and its spec."""
    try:
        choices: JsonValue = earlier.kept.record["choices"]
        design = str(dict(choices)["network"])  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise earlier.damaged(error) from error
    network = build_autoencoder(design, feature_shape(earlier.version.manifest.input))
    load_kept(network, _below(earlier.kept.tensors, "autoencoder."), earlier)
    check_same_outputs(lambda features: mean_error((features - network(features)) ** 2), "reconstruction_score", earlier)
    return network, design


def _bank(earlier: Earlier) -> Mapping[str, Tensor]:
    """Return the bank that was kept; of a cross-fitted version, that of its first detector."""
    scores = _below(earlier.kept.tensors, "scores.")
    bank = _below(scores, _OWN_BANK) or _below(_below(scores, "first."), _OWN_BANK)
    if "bank" not in bank:
        raise earlier.damaged(KeyError("no bank of normal items"))
    return bank


def _is_local(earlier: Earlier) -> bool:
    """Return whether the version compares pictures place by place: the next one has the same outputs."""
    return any("parts.local_score." in name for name in earlier.kept.tensors)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _publish(earlier: Earlier, fitted: FittedDetector, items: NormalItems, parts: Parts, models: Path) -> ModelVersion:
    request = request_for(earlier.version.name, fitted, items, parts.calibration, record_after(earlier, items))
    request = replace(request, normal=items.recordings(parts.calibration, fitted.input))
    return export_model(fitted.detector, improving(request, earlier, items), models)
