"""Say which items were found, and take the input that a user gave: alike for detectors and classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from avizor_export.fitting.choices import Choice
from avizor_export.fitting.folder import NormalItems
from avizor_export.fitting.kinds.base import Chosen
from avizor_export.networks.input_description import parse_input
from avizor_inference.error_text import named
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import DEFAULT_SOURCE

_FILES_NAMED = 6  # each with what it gave


def items_found(items: NormalItems, plural: str, groups: str, counts: Mapping[str, int], most: int) -> Choice:
    """Return what was found, as a choice. groups: what is counted, such as `in 3 classes`. most: of them that are named."""
    shown = named([f"{name} {count}" for name, count in sorted(counts.items())], most)
    chosen = f", chosen by chance of {items.listed}" if items.listed > len(items) else ""
    told = "" if list(counts) == [DEFAULT_SOURCE] else f" ({shown})"
    return Choice("items", f"{len(items)} {plural}", f"{items.where.name} lists them, {groups}{told}{chosen}")


def files_choice(items: NormalItems, plural: str) -> Iterator[Choice]:
    """Yield what each of several files gave that hold many items, such as tables: one of them may not belong there."""
    counts = {name: count for name, (_, count) in items.files().items()}
    if len(counts) < 2:
        return
    (first, most), *others = counts.items()
    if len(counts) <= _FILES_NAMED:
        reason = ", ".join([f"{first} gave {most} {plural}", *(f"{name} {count}" for name, count in others)])
    else:
        fewest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        reason = f"each gave {counts[fewest]} ({fewest}) to {counts[largest]} {plural} ({largest})"
    yield Choice("files", f"{len(counts)} files", reason)


def sources_choice(items: NormalItems) -> Iterator[Choice]:
    """Yield what the sub-folders are taken for, if there are several: they may be classes, or machines."""
    where, count = items.where, len(items.by_source)
    if count > 1 and not where.rule.pattern and not where.columns.source:
        reason = "each is a machine or a place with a promise of its own; if they are classes to tell apart, give --labels"
        yield Choice("sources", f"{count}, the sub-folders", reason)


def given_input(description: str, modality: str, items: NormalItems) -> Chosen:
    """Return the input that is described. Raises ExportError if the description is not valid, or of items of another kind."""
    spec: InputSpec = parse_input(description)
    if spec.modality != modality:
        raise ExportError(
            f"--input describes {spec.modality}, and {items.where.name} holds {modality}; give --kind {spec.modality}"
        )
    return Chosen(spec, (Choice.given("input", description),))
