"""Choose what a classifier takes and which network it is, from a sample of its items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avizor_export.architectures.catalogue import ARCHITECTURES, IMAGENET
from avizor_export.fitting.choices import Choice
from avizor_export.fitting.classifier.networks import Design
from avizor_export.fitting.folder import NormalItems, Where
from avizor_export.fitting.kinds.base import Chosen, KindToFit, Wanted
from avizor_export.fitting.kinds.table import is_label_name
from avizor_export.fitting.look import LOOKED_AT, columns_of, kind_of, sample
from avizor_export.fitting.unreadable import Unreadable
from avizor_export.networks.torchvision_weights import check_has_weights
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError, ExportError
from avizor_inference.items.input_spec import InputSpec

_PUBLISHED_SIDE = 224  # pixels: what torchvision's weights were trained with


@dataclass(frozen=True)
class WantedNetwork:
    """Holds what a user says of the network; None where it is chosen.

    architecture: a name in ARCHITECTURES. weights: a file of torchvision's for it. spec: of a small network.
    """

    architecture: str | None = None
    weights: Path | None = None
    spec: str | None = None

    def check(self) -> None:
        """Raise ExportError for options that contradict each other, and for weights that are not there."""
        if self.architecture and self.spec:
            raise ExportError("--architecture and --spec both say what the network is; give one of them")
        if self.weights and not self.architecture:
            raise ExportError("--weights are those of an architecture; say which, as in --architecture resnet34")
        if self.weights and self.architecture:
            check_has_weights(self.architecture, batch_norm=False)
            if not self.weights.is_file():
                raise ExportError(
                    f"{self.weights} does not exist; give a file that torchvision publishes for {self.architecture}"
                )

    @property
    def design(self) -> Design | None:
        """Return the network that is asked for."""
        if self.architecture:
            return Design(self.architecture, {"layout": "torchvision"} if self.weights else {})
        return Design(self.spec, {}) if self.spec else None


def with_label_column(where: Where, modality: str) -> tuple[Where, tuple[Choice, ...]]:
    """Return the place with the column of the labels as its sources, for a table whose rows are the items.

    Raises DatasetError if no column is asked for, and none is named like a label, or several are.
    """
    if modality != "table" or where.columns.source:
        return where, ()
    columns = columns_of(where)
    likely = [name for name in columns if is_label_name(name)]
    if len(likely) != 1:
        what = (
            f"the columns {named(likely)} may be labels" if likely else f"no column is named like a label: {', '.join(columns)}"
        )
        raise DatasetError(f"{where.name}: {what}; say which column has the classes, as in --source-column label")
    found = replace(where, columns=replace(where.columns, source=likely[0]))
    return found, (Choice("label column", likely[0], "it is the one that is named like a label"),)


def look(items: NormalItems, modality: str, seed: int = 0) -> KindToFit:
    """Show a random sample of the items to what looks at their kind. Raises DatasetError if too many cannot be read."""
    kind, unreadable = kind_of(modality), Unreadable(items)
    for number, entry, content in unreadable.contents(sample(range(len(items)), LOOKED_AT, seed)):
        with unreadable.noting(number):
            kind.look(entry, content)
    unreadable.refuse_many(" that were looked at")
    return kind


def choose_input(kind: KindToFit, wanted: Wanted, network: WantedNetwork, where: Where) -> Chosen:
    """Return what an item is, and the choices that led to it. Raises DatasetError, ExportError."""
    if kind.modality == "table":
        wanted = replace(wanted, leave_out=(*wanted.leave_out, where.columns.source))
    if network.weights and wanted.size is None:
        wanted = replace(wanted, size=(_PUBLISHED_SIDE, _PUBLISHED_SIDE))
    chosen = kind.choose_for_classes(wanted)
    if network.architecture is None:
        return chosen
    if kind.modality != "image" and network.weights:
        raise ExportError("torchvision's weights were trained on images; leave out --weights")
    return _for_published_weights(chosen, network.architecture) if network.weights else chosen


def _for_published_weights(chosen: Chosen, architecture: str) -> Chosen:
    """Return the same with three channels, and the normalisation that the weights were trained with."""
    mean, std = ARCHITECTURES[architecture].normalisation or IMAGENET
    front_end = chosen.input.front_end_parameters
    assert front_end is not None  # of an image
    spec: InputSpec = chosen.input.model_copy(
        update={"channels": len(mean), "front_end": front_end.model_copy(update={"mean": mean, "std": std})}
    )
    reason = f"torchvision's weights of {architecture} were trained so"
    kept = [choice for choice in chosen.choices if choice.name not in ("size", "channels")]
    own = [
        Choice("size", f"{_PUBLISHED_SIDE} x {_PUBLISHED_SIDE}", reason),
        Choice("channels", "3, colour", reason),
        Choice("mean and std", f"{', '.join(map(str, mean))}; {', '.join(map(str, std))}", reason),
    ]
    return Chosen(spec, (*own, *kept))


def few_note(counts: Mapping[str, int], measuring: Sequence[int], few: int) -> str:
    """Return a warning of the classes with fewer than `few` items, or "". measuring: how many of each measured."""
    rare = [(name, count, held) for (name, count), held in zip(counts.items(), measuring, strict=True) if count < few]
    if not rare:
        return ""
    listed = named([f"{name!r} has {count} ({held} to measure)" for name, count, held in rare])
    return (
        f"too few items to know how well a class is found, of which {few} and more are better: {listed}; add items, or take "
        "its figures for a guess"
    )
