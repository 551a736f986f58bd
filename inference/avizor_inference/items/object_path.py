"""A place on an object store, with those methods of pathlib.Path that what is kept there needs. Errors are OSErrors.

A store has objects with names, and no folders: an object is visible when its PUT is complete, and it replaces one of its name.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, TypeVar

from avizor_inference.daemon_threads import interruptible
from avizor_inference.errors import MediaError, SettingsError, StoreUnavailable
from avizor_inference.items.file_access import name_of
from avizor_inference.items.object_files import RangeFile
from avizor_inference.object_store import ENDPOINTS, in_words, place_of_url, rests_to_retry, was_cut_off

T = TypeVar("T")

# Where can be written.
SCHEMES = ("s3", "gs", "az")

# Larger files are sent in pieces, a few at a time. They too become visible in one step, and memory is bounded by the pieces.
_PUT_BYTES = 16 * 2**20
_PIECE_BYTES = 8 * 2**20
_PIECES_AT_ONCE = 2

# Fetched whole when it is opened; and read at once from what is larger.
_WHOLE_BYTES = 4 * 2**20
_BLOCK_BYTES = 2**20


# What tells an object from an earlier one of its name: its ETag, and its version on stores that number them.
Version = tuple[str | None, str | None]


def _answer(path: ObjectPath, ask: Callable[[Any, str], T], *, patient: bool = True) -> T:
    """Return what the store answers; turn its errors into OSErrors with the texts of `object_store.in_words`.

    ask: takes the store, and the name in its bucket. Raises SettingsError if there is no library for it.
    """
    store, key = place_of_url(str(path), patient=patient)
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    rests = rests_to_retry()
    while True:
        try:
            with in_words(str(path)):
                try:
                    return interruptible(partial(ask, store, key))
                except (AlreadyExistsError, PreconditionError) as error:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        except MediaError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
            raise OSError(None, str(error), str(path)) from error
        except StoreUnavailable as error:
            if patient and was_cut_off(error) and next(rests, False):
                continue
            raise OSError(None, str(error).removeprefix(f"{path}: "), str(path)) from error


class Listed(NamedTuple):
    """Holds names, sorted. folders: of what has objects below it."""

    folders: list[str]
    objects: list[str]


@dataclass(frozen=True, order=True)
class ObjectPath:
    """Names an object, or all objects below a name. root: URL that the user gave, without a slash at its end. key: below it."""

    root: str
    key: str = ""

    @classmethod
    def parse(cls, url: str) -> ObjectPath:
        """Return the place of a URL. Raises SettingsError if nothing can be written there."""
        scheme, _, rest = url.partition("://")
        bucket, *names = rest.rstrip("/").split("/")
        if scheme not in SCHEMES:
            raise SettingsError(
                f"results cannot be written to {scheme}://; give a folder, or s3://, gs:// or az://BUCKET/PREFIX"
            )
        if set("@?#") & set(rest):
            raise SettingsError(
                f"a URL of {scheme}:// with @, ? or # may hold a password, which would be shown; credentials are taken from "
                "the environment: give BUCKET/PREFIX alone"
            )
        if not bucket or any(name in ("", ".", "..") for name in names) or not url.isprintable():
            raise SettingsError(f"{name_of(url)} names no place in a bucket; write {scheme}://BUCKET/PREFIX")
        return cls("/".join([f"{scheme}://{bucket}", *names]))

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(self.root, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """Return the last part of the name."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """Return the last part of the name without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> ObjectPath:
        """Return what it is directly below."""
        return ObjectPath(self.root, self.key.rpartition("/")[0])

    def exists(self) -> bool:
        """Return whether there is such an object. Raises OSError."""
        try:
            _answer(self, lambda store, key: store.head(key))
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """Return the names directly below, of objects and of what has objects below it. Raises OSError."""
        folders, objects = self.listed()
        return sorted(folders + objects)

    def listed(self) -> Listed:
        """Return the names directly below, by what they are of, from one request. Raises OSError."""

        def listed(store: Any, key: str) -> Listed:
            found = store.list_with_delimiter(key or None)
            # Some tools make an object `PREFIX/`, so that their users see a folder.
            objects = [each["path"] for each in found["objects"] if each["path"] != key]
            folders = [path for path in found["common_prefixes"] if path != key]
            return Listed(*(sorted(PurePosixPath(path).name for path in paths) for paths in (folders, objects)))

        return _answer(self, listed)

    def files(self, suffix: str) -> list[ObjectPath]:
        """Return the objects directly below with this suffix, by name. Raises OSError."""
        return [self / name for name in self.names() if name.endswith(suffix)]

    def read_bytes(self) -> bytes:
        """Return the content of a small object. Raises OSError."""
        return self.read_version()[0]

    def read_at_once(self) -> bytes:
        """Return the content of a small object; a store that is away is not waited for. Raises OSError."""
        return self.read_version(patient=False)[0]

    def read_version(self, *, patient: bool = True) -> tuple[bytes, Version]:
        """Return the content of a small object, and which version of it this is.

        patient: whether a store that is away is waited for. Raises OSError.
        """

        def read(store: Any, key: str) -> tuple[bytes, Version]:
            found = store.get(key)
            return bytes(found.bytes()), (found.meta["e_tag"], found.meta["version"])

        return _answer(self, read, patient=patient)

    def open(self) -> BinaryIO:
        """Open an object: a small one is fetched by one request, of a large one only what is read. Raises OSError."""

        def begin(store: Any, key: str) -> tuple[io.BytesIO | None, int, Version]:
            found = store.get(key)
            size, version = found.meta["size"], (found.meta["e_tag"], found.meta["version"])
            return io.BytesIO(found.bytes()) if size <= _WHOLE_BYTES else None, size, version

        whole, size, version = _answer(self, begin)
        return whole or io.BufferedReader(_Reader(self, size, version), _BLOCK_BYTES)

    def sha256(self) -> str:
        """Return the sha256, in hexadecimal, of the content. Raises OSError."""
        digest = hashlib.sha256()
        for piece in self._pieces():
            digest.update(piece)
        return digest.hexdigest()

    def fetch(self, file: Path) -> None:
        """Write the content to a local file. Raises OSError."""
        try:
            with file.open("wb") as local:
                for piece in self._pieces():
                    local.write(piece)
        except OSError as error:
            if error.filename is None:  # not of the store, and of the disk; what is small is written when the file is closed
                raise OSError(error.errno, os.strerror(error.errno or 0), str(file)) from error
            raise

    def _pieces(self) -> Iterator[bytes]:
        """Yield the content, by a request for each piece: one for all may take longer than it has. Raises OSError."""
        with self.open() as content:
            while piece := content.read(_PIECE_BYTES):
                yield piece

    def put(self, content: bytes, *, new: bool = False, version: Version | None = None, patient: bool = True) -> Version:
        """Write an object by one PUT; return its version.

        new: only if there is none of its name. version: only if it is this version that is replaced. patient: whether a store
        that is away is waited for.

        Raises OSError; FileExistsError if another object is there. An equal one is taken for this: an answer was lost, and the
        PUT was sent again.
        """
        mode: Any = "create" if new else "overwrite"
        if version is not None:
            mode = {name: value for name, value in zip(("e_tag", "version"), version, strict=True) if value is not None}
        try:
            written: Any = _answer(
                self, lambda store, key: store.put(key, content, mode=mode, use_multipart=False), patient=patient
            )
        except FileExistsError:
            there, found = self.read_version(patient=patient)
            if there != content:
                raise
            return found
        except NotImplementedError:  # AWS_CONDITIONAL_PUT=disabled, for stores without conditions
            self._compare(new=new, version=version)
            return self.put(content, patient=patient)
        return written["e_tag"], written["version"]

    def _compare(self, *, new: bool, version: Version | None) -> None:
        """Raise FileExistsError if the object is not as a PUT expects it. Another job may change it in between."""
        try:
            there = self.read_version()[1]
        except FileNotFoundError:
            if new:
                return
            raise
        if there != version:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))

    def put_file(self, file: Path, *, new: bool = False) -> None:
        """Write the content of a local file as an object, visible in one step. new: see `put`. Raises OSError."""
        if file.stat().st_size <= _PUT_BYTES:
            self.put(file.read_bytes(), new=new)
            return
        if new and self.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))
        _answer(self, lambda store, key: store.put(key, file, chunk_size=_PIECE_BYTES, max_concurrency=_PIECES_AT_ONCE))

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove an object. Most stores do not say whether it was there. Raises OSError."""
        with suppress(FileNotFoundError):
            _answer(self, lambda store, key: store.delete(key))

    def unlink_below(self, names: Sequence[str]) -> None:
        """Remove objects directly below, many by one request where the store can do that. Raises OSError."""
        try:
            _answer(self, lambda store, key: store.delete([f"{key}/{name}" for name in names]))
        except FileNotFoundError:  # other stores say that one of them was absent, and leave the rest
            for name in names:
                (self / name).unlink()

    def remove_with_contents(self) -> None:
        """Remove an object, and all objects below its name. Raises OSError."""

        def remove(store: Any, key: str) -> None:
            for found in store.list(key):
                store.delete([each["path"] for each in found])

        _answer(self, remove)
        self.unlink()

    def working_folder(self) -> Path:
        """Return a folder of this machine for what a job into this root has not yet sent; it is made if it is missing.

        Raises OSError, also if the folder is not of this user.
        """
        user = Path(tempfile.gettempdir()) / f"avizor-{os.getuid()}"
        user.mkdir(mode=0o700, exist_ok=True)
        if user.lstat().st_uid != os.getuid() or user.is_symlink():
            raise PermissionError(errno.EACCES, "a folder of another user", str(user))
        # Servers may have buckets of one name.
        place = "\n".join([self.root, *(os.environ.get(name, "") for name in ENDPOINTS)])
        folder = user / hashlib.sha256(place.encode()).hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        return folder


class _Reader(RangeFile):
    """Reads one version of an object by ranges. A read of another one raises OSError."""

    def __init__(self, path: ObjectPath, size: int, version: Version) -> None:
        super().__init__(size)
        self._path, self._version = path, version

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self.size - self._position)
        if length <= 0:
            return 0

        def read(store: Any, key: str) -> tuple[Any, Version]:
            found = store.get(key, options={"range": (self._position, self._position + length)})
            return found.bytes(), (found.meta["e_tag"], found.meta["version"])

        part, version = _answer(self._path, read)
        if version != self._version:
            raise OSError(None, "it was replaced while it was read", str(self._path))
        buffer[:length] = memoryview(part)
        self._position += length
        return length
