"""Show where in an item an autoencoder's reconstruction is wrong: its output `error_map`, over the item."""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.axes import on_axes
from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import AudioInput, ImageInput, InputSpec, SignalInput, TableInput, TensorInput
from avizor_inference.items.kinds.sound_front_ends import WaveformFrontEnd
from avizor_inference.repository.models import ModelVersion


def error_map(engine: Engine, version: ModelVersion, row: RawRow, timeout_s: float | None = None) -> HeatMap:
    """Return the squared error of each place of a row, the mean over the channels of an image or a sound.

    Of a table it is the sum over the features of each column. Raises InvalidInput for a classifier, and for a tensor whose
    places are not known; and what Engine.infer raises.
    """
    manifest = version.manifest
    if manifest.task != "reconstruct":
        raise InvalidInput(f"model {version.name!r} is a classifier, which has no error map; use `avizor explain occlusion`")
    spec = manifest.input
    inputs = {spec.tensor_spec.name: row.values[None]}
    request = InferRequest(version.name, inputs, ["error_map", "score"], version.version, timeout_s)
    result = engine.infer(request)
    places = _places(spec, result["error_map"][0].astype(np.float64))
    values, y, x = on_axes(spec, places, row.span)
    if isinstance(spec, TableInput):
        x = Axis(x.edges, names=spec.columns)
    return HeatMap("error_map", row, "score", float(result["score"][0, 0]), "score", values, y, x)


def _places(spec: InputSpec, errors: Floats) -> Floats:
    """Return the errors as [h, w] or [length], without the dimension of channels."""
    if isinstance(spec, TableInput):
        return _by_column(spec, errors)
    if isinstance(spec, SignalInput):
        return errors
    if isinstance(spec, ImageInput):
        return np.asarray(errors.mean(axis=2 if spec.front_end.layout == "nhwc" else 0))
    if isinstance(spec, AudioInput):
        return _of_sound(spec, errors)
    if isinstance(spec, TensorInput) and errors.ndim > 3:
        raise InvalidInput(f"errors of shape {list(errors.shape)} have no known places; a map is of at most 3 dimensions")
    return np.mean(errors, axis=0) if errors.ndim == 3 else errors


def _of_sound(spec: AudioInput, errors: Floats) -> Floats:
    if isinstance(spec.front_end, WaveformFrontEnd):
        return np.asarray(errors.reshape(-1, errors.shape[-1]).mean(axis=0))
    return np.mean(errors, axis=0) if errors.ndim == 3 else errors


def _by_column(spec: TableInput, errors: Floats) -> Floats:
    """Return the error of each column, in their order: of a name, the sum over its features."""
    front_end = spec.front_end
    widths = [1] * len(front_end.numbers) + [len(each.categories) for _, each in front_end.categories]
    columns = [place for place, _ in (*front_end.numbers, *front_end.categories)]
    sums = np.add.reduceat(errors, np.cumsum([0, *widths[:-1]]))
    result = np.empty(len(columns))
    result[columns] = sums
    return result
