"""Choose the row of an item that tells most: the window in which a class is the most probable, or the score the highest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avizor_inference.classify import MeanProbabilities
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.infer_rows import infer_batches
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.explain.target import SCORE, class_target, most_probable
from avizor_inference.repository.models import ModelVersion


def telling_row(
    engine: Engine, version: ModelVersion, rows: Sequence[RawRow], wanted: str | int | None = None
) -> tuple[RawRow, int]:
    """Return the row in which a class is the most probable, the first of equals, and the place of the class.

    rows: at least one. wanted: the label of the class, or its place; None for the class of the whole item, which is the most
    probable one by the mean over its rows. Of an autoencoder it is the row with the highest score, and place 0. Raises
    InvalidInput for an unknown class, and what Engine.infer raises.
    """
    manifest = version.manifest
    target = class_target(manifest, wanted) if wanted is not None else (SCORE if manifest.task == "reconstruct" else None)
    output = target.output if target else "probabilities"
    size = engine.spec(version.name, version.version).max_batch_size
    name = manifest.input.tensor_spec.name
    batches = ({name: np.stack([row.values for row in rows[start : start + size]])} for start in range(0, len(rows), size))
    request = InferRequest(version.name, {}, [output], version.version)
    results = infer_batches(engine, request, batches, in_flight=2)
    values = np.concatenate([result[output] for result in results])
    if target is None:
        target = most_probable(manifest, MeanProbabilities.of(values).value)
    return rows[int(values[:, target.index].argmax())], target.index
