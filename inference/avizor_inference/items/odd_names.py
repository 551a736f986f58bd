"""List what obstore gives no page of: a folder of S3 in which the name of an object is no path.

S3 allows keys such as `a//b.wav`, `a/../b.wav`, or with a tab. obstore takes none of them, and refuses the whole page of a
listing with one in it. pyarrow's own client lists them.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePath

from avizor_inference.error_text import one_line
from avizor_inference.errors import DatasetError, MediaError
from avizor_inference.object_store import url_of

# How obstore tells of a key that it cannot take: the key is in what it prints for programmers.
_KEY = re.compile(r'path: "((?:[^"\\]|\\.)*)"')

WHY_ODD = "a part of its name is empty, `.` or `..`, or has a control character; rename it"


def odd_name(error: MediaError) -> str | None:
    """Return the name of the object for which a listing was refused, as it is printed; None if that was not the reason."""
    from obstore.exceptions import InvalidPathError

    if isinstance(error.__cause__, InvalidPathError) and (key := _KEY.search(str(error.__cause__))):
        return key[1]
    return None


def refused(path: PurePath, odd: str, why: str = "") -> DatasetError:
    """Return the error for a folder that cannot be listed because of an object. why: the other client cannot either."""
    ways_out = f"{WHY_ODD}, or give a list of files, or the folders beside it" + (f" ({why})" if why else "")
    return DatasetError(f'{url_of(path)} cannot be listed because of the object "{odd}": {ways_out}')


def is_odd(key: str) -> bool:
    """Return whether obstore cannot take an object of this name."""
    return any(part in ("", ".", "..") for part in key.split("/")) or any(ord(each) < 32 or ord(each) == 127 for each in key)


def all_keys(path: PurePath, odd: str) -> list[str]:
    """Return the keys of all objects below a URL, in the order of a listing of S3: that of their bytes.

    odd: the name for which the listing was refused. Memory: that of the names. Raises DatasetError, which names it, for
    another kind of store, and if pyarrow is not installed or cannot list it.
    """
    scheme, _, rest = url_of(path).partition("://")
    if scheme != "s3":
        raise refused(path, odd)
    try:
        from pyarrow.fs import FileSelector, FileType, S3FileSystem
    except ModuleNotFoundError as error:
        raise refused(path, odd, f"to leave it out, {error.name} is needed: pip install 'avizor[jobs]'") from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
    try:
        files = S3FileSystem(
            endpoint_override=endpoint,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            anonymous=os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("true", "1"),
        )
        found = files.get_file_info(FileSelector(rest.rstrip("/"), recursive=True))
    except OSError as error:
        raise refused(path, odd, f"to leave it out, pyarrow was asked: {one_line(error)}") from error
    bucket = rest.partition("/")[0] + "/"
    keys = {each.path.removeprefix(bucket) for each in found if each.type == FileType.File}
    return sorted(keys, key=lambda key: key.encode())
