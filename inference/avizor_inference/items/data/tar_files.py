"""List and open the files in tars (.tar, .tar.gz), one at a time and never unpacked to the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import BinaryIO, cast

from avizor_inference.error_text import one_line
from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, StreamFile
from avizor_inference.items.data.packs import PackOfItems, contents_by_suffix, open_listed
from avizor_inference.items.dataset import Entry, Part
from avizor_inference.items.file_access import name_of
from avizor_inference.items.find_files import LeftOut, suffix_of
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.seen_keys import SeenKeys
from avizor_inference.items.source_rule import SourceRule

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")

# Smaller files are read at once. Larger ones are read where they are in a plain tar; in a compressed one they are refused.
_IN_MEMORY = 16 * 2**20
_MOST_COMPRESSED = 256 * 2**20

_BLOCK = tarfile.BLOCKSIZE

# The first bytes of what gzip has compressed.
_GZIP = b"\x1f\x8b"

# Bytes of the headers of one file: long names, attributes and the map of a sparse file take far less. A damaged header may
# claim any size, and Python would read as much.
_MOST_HEADER = 2**20

# Bytes of a file that no disk holds.
_TOO_MANY = 2**60


@dataclass
class TarPack(PackOfItems):
    """Takes each file in a tar that has a suffix of `files` for an item. Its name in the tar follows the `#` of its uri.

    The source is the first folder of that name, or else the tar's.
    """

    files: Sequence[type[FileContent]]
    _opened: tuple[Entry, BinaryIO] | None = field(default=None, repr=False)  # the last one: the next item is behind this one

    def contents(self, entry: Entry) -> Sequence[type[Content]]:
        """See PackOfItems."""
        return contents_by_suffix(entry, self.files)

    def parts(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """See PackOfItems. The hash of each name is kept: a name that comes again is left out."""
        suffixes = {suffix for each in self.files for suffix in each.suffixes}
        seen, count = SeenKeys(), 0
        with _reading(), _open(file) as opened:
            for member in _members(opened):
                path = PurePosixPath(member.name)
                if _is_left_out(member, path, suffixes, left_out):
                    continue
                if not seen.add(hash(path)):
                    left_out.counts["listed again"] += 1
                    continue
                source = rule.source_of(relative / path if rule.pattern else path)
                own = bool(rule.pattern) or len(path.parts) > 1
                part = Part(name_of(str(path)), count, offset=member.offset)
                yield file.of_part(part, member.size, source if own else "")
                count += 1

    def items(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """See PackOfItems."""
        assert entry.part
        with _reading():
            file = self._file(entry)
            tar, member = _member_at(file, entry.part.offset)
            if name_of(str(PurePosixPath(member.name))) != entry.part.item:
                raise MediaError("the tar was changed since it was listed; run again when it is finished")
            whole = None if _is_read_in_place(file, member) else cast(BinaryIO, tar.extractfile(member)).read()
        for content in contents_by_suffix(entry, self.files):
            if whole is None:
                place = Stream(member.offset_data, member.offset_data + member.size)
                yield entry, content(cast(BinaryIO, io.BufferedReader(StreamFile(file, place))))
            else:
                yield entry, content(whole)

    def _file(self, entry: Entry) -> BinaryIO:
        """Return the open tar; it stays open, because a compressed one can only be read on from where it is."""
        if self._opened:
            before, file = self._opened
            if (before.file, before.modified_ns) == (entry.file, entry.modified_ns):
                return file
            file.close()
        self._opened = entry, _open(entry)
        return self._opened[1]


def _is_read_in_place(file: BinaryIO, member: tarfile.TarInfo) -> bool:
    """Return whether a file is read from the tar as it is needed, and not at once. Raises MediaError if neither can be."""
    if member.size <= _IN_MEMORY:
        return False
    if not isinstance(file, gzip.GzipFile) and not member.issparse():
        return True
    if member.size > _MOST_COMPRESSED:
        raise MediaError(f"it has {member.size:,} bytes; from a compressed tar {_MOST_COMPRESSED:,} are read: use a .tar")
    return False


def _open(entry: Entry) -> BinaryIO:
    file = open_listed(entry)
    return file if suffix_of(entry.file) == ".tar" else cast(BinaryIO, _Gzip(file))


class _Gzip(gzip.GzipFile):
    """Reads a compressed file, which it closes with itself."""

    def __init__(self, file: BinaryIO) -> None:
        self._compressed = file
        super().__init__(fileobj=file, mode="rb")

    def close(self) -> None:
        super().close()
        self._compressed.close()


class _Headers:
    """Reads the headers of one file of a tar, and no more than these can have. See `tarfile.TarFile`, whose fileobj it is."""

    name = None

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, _MOST_HEADER

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise MediaError(f"the tar is damaged: the header of a file in it has more than {_MOST_HEADER:,} bytes")
        self._left -= size
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        return self._file.seek(position)


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield what is in a tar, also in tars that were joined. Raises MediaError, once everything before was yielded."""
    position, has_ended = 0, False
    while True:
        file.seek(position)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            if not has_ended:
                raise MediaError(f"the tar was cut off: it has no end mark after {position} bytes")
            return
        if not any(block):
            has_ended, position = True, position + _BLOCK
            continue
        has_ended = False
        tar, member = _member_at(file, position)
        if member.size and not _has_byte(file, member.offset_data + member.size - 1):
            raise MediaError(f"the tar was cut off: it ends within {name_of(member.name)}")
        position = tar.offset
        yield member


def _member_at(file: BinaryIO, offset: int) -> tuple[tarfile.TarFile, tarfile.TarInfo]:
    """Return what begins at this place, with the tar that it is read from, whose `offset` is behind it. Raises MediaError."""
    file.seek(offset)
    try:
        tar = tarfile.TarFile(fileobj=cast(BinaryIO, _Headers(file)))  # it reads the first header
        member = tar.next()
    except (tarfile.TarError, IndexError, KeyError, OverflowError, RecursionError) as error:
        raise _damaged(file, offset) from error
    if member is None or not 0 <= member.size < _TOO_MANY or tar.offset <= offset:  # or else it might be read for ever
        raise _damaged(file, offset)
    tar.fileobj = file
    return tar, member


def _damaged(file: BinaryIO, offset: int) -> MediaError:
    """Return the error of a header that makes no sense."""
    file.seek(0)
    if not offset and file.read(len(_GZIP)) == _GZIP:
        return MediaError("the tar is compressed by gzip: let its name end in .tar.gz")
    return MediaError(f"the tar is damaged at byte {offset}" if offset else "this is no tar, or it is damaged at its beginning")


def _has_byte(file: BinaryIO, position: int) -> bool:
    file.seek(position)
    return bool(file.read(1))


def _is_left_out(member: tarfile.TarInfo, path: PurePosixPath, suffixes: set[str], left_out: LeftOut) -> bool:
    """Return whether something in a tar is no item; count it unless it is a folder."""
    if member.isdir():
        return True
    if not member.isreg():
        left_out.counts["links in tars"] += 1
    elif any(part.startswith(".") for part in path.parts):
        left_out.counts["hidden"] += 1
    elif path.suffix.lower() not in suffixes:
        left_out.add(path)
    else:
        return False
    return True


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what a damaged tar raises into a MediaError."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, OverflowError, zlib.error, ValueError) as error:
        raise MediaError(f"the tar cannot be read on ({one_line(error)})") from error
