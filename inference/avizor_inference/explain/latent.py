"""Decode a sheet of an autoencoder's latent space: steps along the two directions in which its embeddings differ most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import onnx

from avizor_inference.arrays import Array, Floats, Items
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.engines.ort_installed import require_onnxruntime
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.decoder import EMBEDDING, RECONSTRUCTION, cut_decoder
from avizor_inference.items.data.folder_notes import Notes
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.windows import ChannelMode
from avizor_inference.principal_components import Components, principal_components
from avizor_inference.repository.models import ModelVersion

# Rows whose embeddings are looked at.
MOST_ROWS = 2000

# The sheet goes so many standard deviations to each side: 95 % of normally distributed items are there.
_REACH = 2.0

# Share of the largest value up to which the cut decoder may differ from the model.
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class LatentSheet:
    """Holds the sheet.

    x, y: float64[n], the steps of the columns and of the rows, in standard deviations, ascending; y is [0] if the embeddings
    have one direction. reconstructions: float32[rows, columns, *shape]. embeddings: float64[rows, columns, numbers], what was
    decoded. shares: of the variance, of both directions. items: rows of data that the directions come from.
    """

    x: Floats
    y: Floats
    reconstructions: Array
    embeddings: Floats
    shares: tuple[float, float]
    items: int


def read_some(path: Path, spec: InputSpec, channels: ChannelMode) -> Items:
    """Read the first MOST_ROWS rows of a file or folder: windows, images, or rows of a table. Raises DatasetError.

    Logs what may surprise of those: pictures that lose their proportions, samples that are clipped.
    """
    notes = Notes()
    recordings = read_recordings(path, spec, SourceRule(""), notes=notes, channels=channels)
    rows = list(islice(chain.from_iterable(each.windows for each in recordings), MOST_ROWS))
    notes.warn(path)
    if len(rows) < 2:
        raise InvalidInput(f"{path} has {len(rows)} rows for the model; directions need at least two that differ")
    return np.stack(rows)


def latent_sheet(engine: Engine, version: ModelVersion, rows: Items, size: int) -> LatentSheet:
    """Return a sheet of size x size reconstructions around the mean embedding of rows[n, *item_shape].

    Raises InvalidInput if the model has no decoder that can be cut out, or tells no row from another; EngineError;
    SettingsError without ONNX Runtime.
    """
    require_onnxruntime("a sheet of the latent space")
    from avizor_inference.engines.ort_session import open_session  # an extra, which the other explanations may do without

    decoder = cut_decoder(onnx.load(version.model_path))
    session = open_session(decoder.SerializeToString(), "the decoder")
    request = InferRequest(
        version.name, {version.manifest.input.tensor().name: rows}, [EMBEDDING, RECONSTRUCTION], version=version.version
    )
    answer = infer_rows(engine, request)
    embeddings = answer[EMBEDDING]

    def decode(values: Array) -> Array:
        shaped = values.astype(np.float32).reshape(-1, *embeddings.shape[1:])
        return np.asarray(session.run([RECONSTRUCTION], {EMBEDDING: shaped})[0])

    _check_same(decode(embeddings[:64]), answer[RECONSTRUCTION][:64])
    found = principal_components(embeddings.reshape(len(embeddings), -1), 2)
    if not np.isfinite(found.variances).all() or found.variances[0] <= 0:
        raise InvalidInput(f"the embeddings of all {len(rows)} rows are equal or not finite: there is no direction to follow")
    return _decoded(found, decode, size, len(rows))


def _decoded(found: Components, decode: Callable[[Array], Array], size: int, items: int) -> LatentSheet:
    steps = np.linspace(-_REACH, _REACH, size)
    deviations = np.sqrt(found.variances)
    x, y = steps, steps if len(deviations) > 1 and deviations[1] > 0 else np.zeros(1)
    grid = found.mean + x[None, :, None] * deviations[0] * found.directions[0]
    if len(y) > 1:
        grid = grid + y[:, None, None] * deviations[1] * found.directions[1]
    decoded = decode(grid.reshape(-1, grid.shape[-1]))
    shares = [float(each / found.total) for each in found.variances] + [0.0]
    return LatentSheet(x, y, decoded.reshape(len(y), len(x), *decoded.shape[1:]), grid, (shares[0], shares[1]), items)


def _check_same(decoded: Array, expected: Array) -> None:
    """Raise InvalidInput if the decoder does not return the model's own reconstructions."""
    difference, largest = float(np.abs(decoded - expected).max()), float(np.abs(expected).max())
    if not difference <= _TOLERANCE * max(largest, 1e-30):
        raise InvalidInput(
            f"the decoder that was cut out of the graph returns other reconstructions than the model (by {difference:.1e} of "
            f"{largest:.1e}): the graph draws random numbers, or does more than a decoder"
        )
