"""Write the same files as tars and as a column of a Parquet file."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(seed: int, size: tuple[int, int] = (28, 28)) -> bytes:
    """A picture of noise."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """A tar of these files by name; compressed if its name says so."""
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_column(path: Path, files: Mapping[str, bytes], rows: int = 100, *, as_structs: bool = False) -> Path:
    """A Parquet file with the columns `image` and `machine` (the first folder of the name), in row groups of `rows`."""
    values = [{"bytes": data, "path": name} for name, data in files.items()] if as_structs else list(files.values())
    machines = [name.split("/")[0] for name in files]
    pq.write_table(pa.table({"image": values, "machine": machines}), path, row_group_size=rows)
    return path
