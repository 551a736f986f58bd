"""Keep what is needed to place new points in a map: maps/MODEL-METHOD.npz, arrays alone, which are read without pickle.

What t-SNE knows of its points (their neighbours and affinities) is computed again from them when it is needed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, get_args
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from avizor_inference.arrays import Array, Floats
from avizor_inference.error_text import one_line
from avizor_inference.errors import AvizorError, SettingsError
from avizor_inference.neighbourhoods import of_unit_length
from avizor_inference.numpy_headers import with_headers
from avizor_inference.principal_components import Components
from avizor_pipeline.projection.embeddings import KEYS
from avizor_pipeline.projection.methods import Method, Metric
from avizor_pipeline.sinks.output_files import OutputPath, output_path, publish, temporary_for

MAPS = "maps"

# Version of the file.
_FORMAT = 1

# Of all arrays of a map: many times what 100,000 points take.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class MapFile:
    """Holds a map of n points and how embeddings become the numbers that it was made from.

    mean, directions: see Components; they are of embeddings, of length 1 if the metric is cosine. points: float32[n, k], the
    embeddings along these directions. places: float64[n, 2]. keys: uint8[n, 16], digests of the keys of the rows.
    """

    method: Method
    metric: Metric
    model: str
    sha256: str
    perplexity: float
    seed: int
    mean: Floats
    directions: Floats
    points: NDArray[np.float32]
    places: Floats
    keys: NDArray[np.uint8]

    def reduced(self, vectors: NDArray[np.float32]) -> Floats:
        """Return float64[m, k]: embeddings[m, numbers] along the map's directions."""
        components = Components(self.mean, self.directions, np.empty(0), 0.0)
        return components.place(measured(vectors, self.metric))


def measured(vectors: NDArray[np.float32], metric: Metric) -> Array:
    """Return the embeddings as the metric takes them: for cosine of length 1."""
    return of_unit_length(vectors) if metric == "cosine" else vectors


def key_digests(rows: pa.Table) -> NDArray[np.uint8]:
    """Return uint8[n, 16]: a digest of the key of each row of windows/. Two rows share one with a probability under 1e-20."""
    columns = zip(*(rows[name].to_pylist() for name in KEYS), strict=True)
    digests = b"".join(hashlib.blake2b(repr(key).encode(), digest_size=16).digest() for key in columns)
    return np.frombuffer(digests, np.uint8).reshape(-1, 16)


def map_path(out: OutputPath, model: str, method: str) -> OutputPath:
    """Return the file of a map in the results of a job."""
    return out / MAPS / f"{model}-{method}.npz"


def write_map(path: OutputPath, map: MapFile) -> None:
    """Write the file in one step. Raises OSError."""
    temporary = temporary_for(path)
    with temporary.open("wb") as file:
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(map, field.name)) for field in fields(MapFile)}
        np.savez_compressed(file, format=np.asarray(_FORMAT), **arrays)
    publish(temporary, path)


def read_map(old: str, model: str, method: str) -> MapFile:
    """Read a map: a .npz file, or that of the model and method in the results of a job. Raises SettingsError."""
    path = output_path(old)
    if not str(old).endswith(".npz"):
        path = map_path(path, model, method)
    try:
        if isinstance(path, Path) and not path.is_file():
            raise FileNotFoundError(path)
        with path.open("rb") if isinstance(path, Path) else path.open() as content:
            arrays = with_headers(lambda: _arrays_of(content))
    except FileNotFoundError as error:
        raise SettingsError(f"--place-in {old}: there is no map {path}; `avizor project` makes it") from error
    except AvizorError:  # of the store that it is on
        raise
    except Exception as error:  # a damaged archive, and a hostile header in it, can raise nearly anything
        raise SettingsError(
            f"--place-in {old}: {path} is no map that can be read ({one_line(error)}); make it again"
        ) from error
    if (format := arrays.pop("format", None)) is None or format.shape != () or format != _FORMAT:
        raise SettingsError(f"--place-in {old}: {path} is not a map of this version of Avizor; make it again")
    if not _belong_together(arrays):
        raise SettingsError(f"--place-in {old}: the arrays of {path} do not belong together; make it again")
    values: dict[str, Any] = {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}
    return MapFile(**values)


def _arrays_of(content: BinaryIO) -> dict[str, Array]:
    """Return the arrays of a .npz file. Raises ValueError for what is none, or unpacks to too much."""
    with ZipFile(content) as archive:
        size = sum(each.file_size for each in archive.infolist())
        if size > _MOST_BYTES:
            raise ValueError(f"it unpacks to {size / 2**30:.1f} GiB, and a map has at most {_MOST_BYTES / 2**30:.0f}")
    content.seek(0)
    with np.load(content, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _belong_together(arrays: dict[str, Array]) -> bool:
    """Return whether arrays are those of a map: their names, types and shapes, and finite numbers."""
    if arrays.keys() != {field.name for field in fields(MapFile)}:
        return False
    texts = {"method": get_args(Method), "metric": get_args(Metric), "model": None, "sha256": None}
    for name, allowed in texts.items():
        if arrays[name].shape != () or arrays[name].dtype.kind != "U" or (allowed and arrays[name].item() not in allowed):
            return False
    numbers = {"perplexity": "f", "seed": "iu", "mean": "f", "directions": "f", "points": "f", "places": "f", "keys": "u"}
    for name, kinds in numbers.items():
        if arrays[name].dtype.kind not in kinds or not np.isfinite(arrays[name]).all():
            return False
    n, k, numbers_of_one = arrays["places"].shape[:1], arrays["directions"].shape[:1], arrays["mean"].shape
    shapes = {
        "perplexity": (),
        "seed": (),
        "points": n + k,
        "places": (*n, 2),
        "keys": (*n, 16),
        "directions": k + numbers_of_one,
    }
    fits = all(arrays[name].shape == shape for name, shape in shapes.items()) and arrays["mean"].ndim == 1
    good: bool = fits and 0 not in (*n, *k)
    return good and 0 <= float(arrays["perplexity"]) < max(2, *n) and int(arrays["seed"]) >= 0
