"""Decide how a classifier is fitted to items in classes: look at them, and choose each setting with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue
from torch import nn

from avizor_export.fitting.choices import Choice
from avizor_export.fitting.classifier.choose import WantedNetwork, choose_input, look, with_label_column
from avizor_export.fitting.classifier.fit import EPOCHS_OF_ARCHITECTURE, affordable_steps, has_bands
from avizor_export.fitting.classifier.labelled import check_classes
from avizor_export.fitting.classifier.networks import Design, suggested_spec
from avizor_export.fitting.classifier.parts import MEASURING, MOST_MEASURING, STOPPING
from avizor_export.fitting.folder import NormalItems, Where, modality_of
from avizor_export.fitting.found import files_choice, given_input, items_found
from avizor_export.fitting.kinds.base import Wanted
from avizor_export.fitting.look import column_notes, list_items
from avizor_export.front_ends.build import feature_shape
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import DEFAULT_SOURCE

_SHOWN = 6  # classes that are named with their number of items


@dataclass(frozen=True)
class AskedClassifier:
    """Holds what a user chose; None where it is chosen from the data. See plan.Asked."""

    network: WantedNetwork = field(default_factory=WantedNetwork)
    wanted: Wanted = field(default_factory=Wanted)
    kind: str | None = None
    input: str | None = None
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ClassifierPlan:
    """Holds what was found and decided. input: without the constants of its front end."""

    items: NormalItems
    input: InputSpec
    design: Design
    asked: AskedClassifier
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the classes, sorted."""
        return tuple(sorted(name for name in self.items.by_source if name != DEFAULT_SOURCE))

    def record(self) -> Mapping[str, JsonValue]:
        """Return what is kept beside the version."""
        return {
            "task": "classify",
            "folder": self.items.where.name,
            "items": self.items.listed,
            "design": self.design.record(),
            "seed": self.asked.seed,
            "choices": [[choice.name, choice.value] for choice in self.choices],
        }


def plan_classifier(where: Where, asked: AskedClassifier) -> ClassifierPlan:
    """Look at the items of a folder, and decide. Raises DatasetError for items that no classifier can be fitted to."""
    asked.network.check()
    modality = asked.kind or modality_of(where)
    where, column = with_label_column(where, modality)
    items = list_items(where, modality, asked.seed)
    check_classes(items)
    kind = look(items, modality, asked.seed)
    warnings = (*kind.warnings(), *column_notes(items))
    chosen = (
        choose_input(kind, asked.wanted, asked.network, where)
        if asked.input is None
        else given_input(asked.input, modality, items)
    )
    design, network = _network(items, chosen.input, asked)
    steps = _steps(network, design, chosen.input, asked)
    held_out = Choice(
        "held out",
        f"{MEASURING:.0%} measure, {STOPPING:.0%} stop",
        f"figures are of items that did not train: of each class, divided by chance, {MOST_MEASURING} at most to measure; "
        "windows of one recording stay together",
    )
    classes = {name: count for name, count in items.by_source.items() if name != DEFAULT_SOURCE}
    found = items_found(items, kind.plural, f"in {len(classes)} classes", classes, _SHOWN)
    files = files_choice(items, kind.plural)
    shown = (found, *files, *column, *chosen.choices, _design_choice(design, chosen.input, asked), held_out, steps)
    return ClassifierPlan(items, chosen.input, design, asked, shown, warnings)


def _network(items: NormalItems, spec: InputSpec, asked: AskedClassifier) -> tuple[Design, nn.Module]:
    """Return the network, and one of its kind with fresh weights. Raises ExportError if it does not suit the input."""
    shape, classes = feature_shape(spec), len([name for name in items.by_source if name != DEFAULT_SOURCE])
    design = asked.network.design or Design(suggested_spec(shape, is_sound=has_bands(spec)), {})
    return design, design.build(classes, shape)


def _design_choice(design: Design, spec: InputSpec, asked: AskedClassifier) -> Choice:
    weights = asked.network.weights
    if asked.network.design:
        return Choice.given("network", f"{design.name}, weights of {weights}" if weights else design.name)
    sides = feature_shape(spec)
    shape, kind = " x ".join(map(str, sides)), "CNN" if len(sides) > 1 else "network"
    return Choice("network", design.name, f"a small {kind} for features of {shape} trains in minutes without a GPU")


def _steps(network: nn.Module, design: Design, spec: InputSpec, asked: AskedClassifier) -> Choice:
    if asked.steps:
        return Choice.given("steps", asked.steps)
    end = "the training ends before, once held-out items are no longer told apart better"
    if design.is_architecture:
        return Choice("steps", f"{EPOCHS_OF_ARCHITECTURE} times all items", end)
    return Choice("steps", str(affordable_steps(network, feature_shape(spec))), end)
