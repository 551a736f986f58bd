"""Go on training a published classifier with new items of its classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path

import torch
from torch import Tensor, nn

from avizor_export.exporter import export_model
from avizor_export.fitting.classifier.choose import with_label_column
from avizor_export.fitting.classifier.confusion import Confusion
from avizor_export.fitting.classifier.fit import TUNING_RATE, Fitted, Trainer, recipe_for
from avizor_export.fitting.classifier.labelled import Labelled, check_classes, read_labelled
from avizor_export.fitting.classifier.networks import Design
from avizor_export.fitting.classifier.parts import Parts, divide
from avizor_export.fitting.classifier.run import SEEN, classifier_request, kept_tensors, warnings_of
from avizor_export.fitting.computing import same_everywhere
from avizor_export.fitting.folder import NormalItems, Where
from avizor_export.fitting.going_on import Earlier, check_same_outputs, improving, list_new_items, load_kept, record_after
from avizor_export.fitting.kept import Kept
from avizor_export.fitting.progress import training_progress
from avizor_export.front_ends.build import feature_shape
from avizor_export.stages import stage
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.repository.models import ModelVersion

# With a larger probability a difference between two networks is called chance.
SURE = 0.05


@dataclass(frozen=True)
class ImprovedClassifier:
    """Holds what came of it. before, after: figures on the same new items. version: None if it was no better.

    won, lost: how many of the items are right that were wrong before, and the other way round.
    """

    before: Confusion
    after: Confusion
    won: int
    lost: int
    version: ModelVersion | None
    warnings: tuple[str, ...]

    def lines(self, earlier: ModelVersion) -> Iterator[str]:
        """Yield the figures as lines for people."""
        for what, confusion in ((f"before, version {earlier.version}", self.before), ("after", self.after)):
            yield from (f"{what}: {line}" if not line.startswith(" ") else line for line in confusion.lines())
        if self.won or self.lost:
            chance = ": that may be chance" if sign_test(max(self.won, self.lost), min(self.won, self.lost)) > SURE else ""
            yield f"of these items {self.won} are right that were wrong before, and {self.lost} wrong that were right{chance}"
        if self.version is None:
            yield (
                f"nothing was published: on these items the new version is no better than version {earlier.version}; add "
                "items, or give --force to publish it all the same"
            )


def improve_classifier(
    earlier: Earlier, where: Where, models: Path, steps: int | None = None, seed: int = 0, *, force: bool = False
) -> ImprovedClassifier:
    """Train on from the weights of a version, measure on new items that were held out, and publish the next version.

    force: publish it even if neither figure of held-out new items is better. Raises DatasetError for other classes or items.
    """
    where, _ = with_label_column(where, earlier.version.manifest.input.modality)
    items = list_new_items(earlier, where, seed)
    manifest = earlier.version.manifest
    labels = manifest.labels or ()
    check_same_classes(items, labels, manifest.name)
    design, network = _open(earlier)
    with stage("read the items"):
        data = read_labelled(items, manifest.input, seed, labels)
    with same_everywhere():
        torch.manual_seed(seed)
        parts = _parts(earlier, data, items, seed)
        trainer = Trainer(network, manifest.input, data, parts, seed)
        before = trainer.predicted()
        recipe = recipe_for(network, design, feature_shape(manifest.input), trainer.rows, is_trained=True)
        with training_progress("train") as progress:
            curve = trainer.run(replace(recipe, most_steps=steps or recipe.most_steps, rate=TUNING_RATE), progress)
        after, classes = trainer.predicted(), trainer.classes
    was, now = (Confusion.of(labels, classes, predicted) for predicted in (before, after))
    won, lost = (int(((first == classes) & (second != classes)).sum()) for first, second in ((after, before), (before, after)))
    fitted = Fitted(network, manifest.input, design, tuple(labels), parts, now, curve)
    warnings = tuple(warnings_of(fitted, data))
    if not (force or is_better(now, was)):
        return ImprovedClassifier(was, now, won, lost, None, warnings)
    version = _publish(earlier, fitted, data, was, items, models)
    return ImprovedClassifier(was, now, won, lost, version, (*warnings, *_falls(was, now, manifest.name)))


def check_same_classes(items: NormalItems, labels: tuple[str, ...], name: str) -> None:
    """Raise DatasetError unless the items are of all classes of the model, and of no other ones."""
    check_classes(items)
    found = {each for each in items.by_source if each != DEFAULT_SOURCE}
    if others := sorted(found - set(labels)):
        raise DatasetError(
            f"{items.where.name} has {_classes(others)}, and {name!r} knows {', '.join(labels[:10])}"
            f"{', ...' if len(labels) > 10 else ''}; take them out, or fit a new model with all classes"
        )
    if missing := sorted(set(labels) - found):
        raise DatasetError(
            f"{items.where.name} has no items of {_classes(missing)}, which {name!r} would unlearn; add some, earlier ones too"
        )


def _classes(names: list[str]) -> str:
    return f"the class{'es' * (len(names) > 1)} {named([*map(repr, names)], 5)}"


def _open(earlier: Earlier) -> tuple[Design, nn.Module]:
    """Return the network of the version, with its weights."""
    manifest = earlier.version.manifest
    try:
        design = Design.of_record(earlier.kept.record["design"])
    except (KeyError, TypeError, ValueError) as error:
        raise earlier.damaged(error) from error
    network = design.build(len(manifest.labels or ()), feature_shape(manifest.input))
    load_kept(network, _weights(earlier), earlier)
    check_same_outputs(nn.Sequential(network, nn.Softmax(dim=1)).eval(), "probabilities", earlier)
    return design, network


def is_better(after: Confusion, before: Confusion) -> bool:
    """Return whether more items are right, or more of equally many of each class."""
    return after.accuracy > before.accuracy or after.balanced_accuracy > before.balanced_accuracy


def sign_test(won: int, lost: int) -> float:
    """Return the probability that of won + lost tosses of a coin so many or more are won: of as good a network, by chance."""
    tosses = won + lost
    ways: int = sum(comb(tosses, count) for count in range(won, tosses + 1))
    return ways / float(2**tosses)


def _falls(before: Confusion, after: Confusion, name: str) -> Iterator[str]:
    """Yield a warning for each figure that is lower than before."""
    for what, was, now in (
        ("accuracy", before.accuracy, after.accuracy),
        ("balanced accuracy", before.balanced_accuracy, after.balanced_accuracy),
    ):
        if now < was:
            yield (
                f"the {what} on held-out new items fell from {was:.4f} to {now:.4f}; `avizor models rollback {name}` takes the "
                "version back"
            )


def _parts(earlier: Earlier, data: Labelled, items: NormalItems, seed: int) -> Parts:
    """Divide the items: those that trained the version already, or ended its training, do not measure."""
    seen = earlier.kept.tensors.get(SEEN)
    try:
        return divide(data.classes, data.groups, seed, None if seen is None else seen.numpy())
    except ValueError as error:
        name, number = earlier.version.name, earlier.version.version
        raise DatasetError(
            f"{items.where.name} has no new items: version {number} of {name!r} was fitted to all of them; add new ones"
        ) from error


def _weights(earlier: Earlier) -> dict[str, Tensor]:
    return {name: value for name, value in earlier.kept.tensors.items() if name != SEEN}


def _publish(
    earlier: Earlier, fitted: Fitted, data: Labelled, before: Confusion, items: NormalItems, models: Path
) -> ModelVersion:
    kept = Kept(record_after(earlier, items), kept_tensors(fitted, data, earlier.kept.tensors.get(SEEN)))
    request = classifier_request(earlier.version.name, fitted, data, kept)
    before_name = f"accuracy of version {earlier.version.version} on the same items"
    request = replace(request, evaluation={**request.evaluation, before_name: before.accuracy})
    return export_model(fitted.network, improving(request, earlier, items), models)
