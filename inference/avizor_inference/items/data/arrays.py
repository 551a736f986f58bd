"""Read arrays of .npy and .npz files, which come from elsewhere and may be damaged."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.error_text import one_line
from avizor_inference.errors import DatasetError, MediaError, StoreUnavailable
from avizor_inference.items.file_access import name_of, open_file
from avizor_inference.items.object_files import check_store
from avizor_inference.numpy_headers import with_headers
from avizor_inference.object_store import is_url


def open_array(path: Path) -> Array:
    """Open the array of a .npy file; parts are read from the disk when they are used. An object is read whole.

    Raises DatasetError, StoreUnavailable.
    """
    array = _load(path)
    if isinstance(array, np.lib.npyio.NpzFile):
        array.close()
        raise DatasetError(f"{path} is a file of several arrays; give a .npy file of one")
    return array


def read_arrays(path: Path, *names: str) -> list[Array]:
    """Read arrays of a .npz file by name. Raises DatasetError if it cannot be read or lacks one."""
    archive = _load(path)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DatasetError(f"{path} is a file of one array; give a .npz file of the arrays {', '.join(names)}")
    with archive:
        if missing := [name for name in names if name not in archive.files]:
            raise DatasetError(f"{path} has no array {', '.join(missing)}; it has {', '.join(archive.files) or 'none'}")
        try:
            return with_headers(lambda: [archive[name] for name in names])
        except Exception as error:
            raise _damaged(path, error) from error


def _load(path: Path) -> Array | np.lib.npyio.NpzFile:
    try:
        if is_url(path):
            return _load_object(path)
        return with_headers(lambda: np.load(path, mmap_mode="r", allow_pickle=False))  # type: ignore[no-any-return]
    except StoreUnavailable:
        raise
    except MediaError as error:
        raise DatasetError(f"{name_of(str(path))}: {error}") from error
    except OSError as error:
        check_store()
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        raise _damaged(path, error) from error


def _load_object(path: Path) -> Array | np.lib.npyio.NpzFile:
    with open_file(path) as file:
        if path.suffix == ".npz":  # each of its arrays is read when it is used, and the file is closed then
            return np.load(BytesIO(file.read()), allow_pickle=False)  # type: ignore[no-any-return]

        def whole() -> Array:
            file.seek(0)
            return np.load(file, allow_pickle=False)  # type: ignore[no-any-return]

        return with_headers(whole)


def _damaged(path: Path, error: Exception) -> DatasetError:
    """Return the error for any exception: numpy, zipfile, zlib and Python's tokenizer, for headers, each raise their own."""
    return DatasetError(f"{path} is not a {path.suffix} file that can be read: {one_line(error)}; write it again")
