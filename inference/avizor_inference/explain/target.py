"""Find the number of a model that an explanation is about: the probability of a class, or the score of an autoencoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avizor_inference.arrays import Array, Floats, Items
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.infer_rows import infer_batches
from avizor_inference.error_text import named
from avizor_inference.errors import InvalidInput
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelVersion


@dataclass(frozen=True)
class Target:
    """Names one number of an output of a model, for each row: `output`[:, `index`]; its name, and what it is."""

    output: str
    index: int
    name: str
    unit: Literal["probability", "score"]


SCORE = Target("score", 0, "score", "score")


def class_target(manifest: Manifest, wanted: str | int) -> Target:
    """Return the probability of a class, by its label or its place. Raises InvalidInput if the model has no such class."""
    if manifest.task != "classify":
        raise InvalidInput(f"model {manifest.name!r} is an autoencoder, which has no classes; leave out the class")
    count = next(each.item_shape[0] for each in manifest.outputs if each.name == "probabilities")
    labels = manifest.labels or tuple(map(str, range(count)))
    index = labels.index(wanted) if isinstance(wanted, str) and wanted in labels else wanted
    if isinstance(index, str) or not 0 <= index < count:
        raise InvalidInput(f"model {manifest.name!r} has no class {wanted!r}; it has {named(labels, 20)}")
    return Target("probabilities", index, labels[index], "probability")


def most_probable(manifest: Manifest, probabilities: Array) -> Target:
    """Return the probability of the class that is the most probable, probabilities: float[classes]."""
    return class_target(manifest, int(np.argmax(probabilities)))


def target_values(
    engine: Engine,
    version: ModelVersion,
    batches: Iterable[Items],
    wanted: str | int | None,
    timeout_s: float | None = None,
) -> tuple[Target, Floats]:
    """Return the target and its value for each row, float64[n], of batches that are made while the model runs.

    batches: of at least one row, each at most max_batch_size, [n, *item_shape]. wanted: a label or the place of a class; None
    for the class that is the most probable for the first row, or for an autoencoder its score. timeout_s: for each batch.
    Raises InvalidInput for an unknown class or a value that is not finite, and what Engine.infer raises.
    """
    manifest = version.manifest
    target = class_target(manifest, wanted) if wanted is not None else (SCORE if manifest.task == "reconstruct" else None)
    output = target.output if target else "probabilities"
    values: list[Floats] = []
    for answer in _answers(engine, version, batches, output, timeout_s):
        target = target or most_probable(manifest, answer[0])
        values.append(answer[:, target.index].astype(np.float64))
    assert target is not None  # there is at least one row
    all_values = np.concatenate(values)
    if not np.isfinite(all_values).all():
        raise InvalidInput(
            f"the {target.unit} is not a finite number for row {int(np.argmin(np.isfinite(all_values)))} of {len(all_values)} "
            "masked copies (row 0 is the item itself); try another fill"
        )
    return target, all_values


def _answers(
    engine: Engine, version: ModelVersion, batches: Iterable[Items], output: str, timeout_s: float | None
) -> Iterator[Array]:
    name = version.manifest.input.tensor_spec.name
    request = InferRequest(version.name, {}, [output], version.version, timeout_s)
    for result in infer_batches(engine, request, ({name: rows} for rows in batches), in_flight=2):
        yield result[output]
