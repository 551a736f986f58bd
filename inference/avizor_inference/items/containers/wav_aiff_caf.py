"""Containers made of chunks: WAV (RIFF, RIFX), RF64, W64, AIFF, CAF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at
from avizor_inference.items.containers.tags import before_tags


@dataclass(frozen=True)
class Dialect:
    """How one container writes its chunks."""

    name: str
    order: Literal["little", "big"]
    first: int  # position of the first chunk
    id_bytes: int
    size_bytes: int
    size_counts_head: bool  # the size is of the whole chunk, not of what follows its head
    align: int  # chunks begin at multiples of so many bytes
    sound: bytes  # id of the chunk of sound


@dataclass(frozen=True)
class _Chunk:
    id: bytes
    position: int  # of its content
    size: int  # as it claims


_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_WAV = Dialect("WAV", "little", 12, 4, 4, False, 2, b"data")
_DIALECTS = {
    b"RIFF": _WAV,
    b"RIFX": Dialect("WAV", "big", 12, 4, 4, False, 2, b"data"),
    b"RF64": Dialect("RF64", "little", 12, 4, 4, False, 2, b"data"),
    b"FORM": Dialect("AIFF", "big", 12, 4, 4, False, 2, b"SSND"),
    b"riff": Dialect("W64", "little", 40, 16, 8, True, 8, b"data" + _W64_TAIL),
    b"caff": Dialect("CAF", "big", 8, 4, 8, False, 1, b"data"),
}

# Sizes that writers of WAV put where they cannot know it: those just below 2 and 4 GiB, as into a pipe.
_UNKNOWN_WAV = ((0x7FFF0000, 0x80000000), (0xFFFF0000, 0xFFFFFFFF))
_UNKNOWN_CAF = 2**64 - 1
_LARGEST_WAV = 2**32 - 1
_LARGEST_FORMAT = 2**16  # bytes; a usual one has 16 to 40
_LARGEST_HEADER = 2**20  # bytes that are kept in memory
_MOST_CHUNKS = 10_000  # before the sound; files have a few
_DESCRIBING = (b"fmt ", b"ds64")


def dialect_of(mark: bytes) -> Dialect | None:
    """The dialect of a file by its first bytes; None where it is not made of chunks."""
    return _DIALECTS.get(mark[:4])


def chunk_stream(file: BinaryIO, size: int, dialect: Dialect) -> Stream:
    """The file's stream, once its chunks account for every byte. Raises MediaError where they do not.

    A WAV whose size of sound is 0 or unknown (a recorder that lost power, a pipe) is read to its end.
    """
    before: dict[bytes, _Chunk] = {}
    for number, chunk in enumerate(_chunks(file, dialect, dialect.first, size)):
        if chunk.id == dialect.sound:
            return _of_sound(file, size, dialect, chunk, before)
        if number == _MOST_CHUNKS:
            raise MediaError(f"the {dialect.name} file has more than {_MOST_CHUNKS} chunks before its sound; it is damaged")
        if chunk.id in _DESCRIBING:
            before.setdefault(chunk.id, chunk)
    raise MediaError(f"the {dialect.name} file has no chunk of sound: it holds no samples, or is damaged")


def _of_sound(file: BinaryIO, size: int, dialect: Dialect, sound: _Chunk, before: Mapping[bytes, _Chunk]) -> Stream:
    there, claimed = size - sound.position, sound.size
    if dialect.name == "CAF" and claimed == _UNKNOWN_CAF:
        return _with_its_size(file, size, sound)
    if dialect.name == "RF64" and claimed == _LARGEST_WAV:
        claimed = _size_in_ds64(file, before)
    if claimed > there and dialect.name == "WAV" and any(low <= claimed <= high for low, high in _UNKNOWN_WAV):
        return _to_the_end(file, size, dialect, sound, before)
    if claimed > there:
        said = f"its {dialect.name} header says {claimed} bytes of sound"
        raise MediaError(f"the file was cut off: {said}, and {there} are there")
    never_finished = claimed == 0 and dialect.name == "WAV" and there > 0
    if never_finished and not _is_named(read_at(file, sound.position, 4)):
        return _to_the_end(file, size, dialect, sound, before)
    if _accounts_for_the_rest(file, size, dialect, sound.position + claimed):
        # libsndfile takes all that follows in a W64 for sound.
        return Stream(0, sound.position + claimed if dialect.name == "W64" else size)
    if never_finished:
        return _to_the_end(file, size, dialect, sound, before)
    raise MediaError(
        f"the {dialect.name} header says {claimed} bytes of sound, and {there - claimed} more follow that are no chunks: it "
        "was never finished, or the file was appended to; write the file anew with a header that fits"
    )


def _chunks(file: BinaryIO, dialect: Dialect, position: int, size: int) -> Iterator[_Chunk]:
    """Chunks from `position` on, as long as they lie within the file; the last may claim more than is there."""
    head_bytes = dialect.id_bytes + dialect.size_bytes
    while position + head_bytes <= size:
        head = read_at(file, position, head_bytes)
        claimed = int.from_bytes(head[dialect.id_bytes :], dialect.order)
        if dialect.size_counts_head:
            claimed = max(0, claimed - head_bytes)
        yield _Chunk(head[: dialect.id_bytes], position + head_bytes, claimed)
        position += head_bytes + claimed
        position += -position % dialect.align


def _accounts_for_the_rest(file: BinaryIO, size: int, dialect: Dialect, position: int) -> bool:
    """Whether what follows the sound is chunks up to the file's end, or padding, or tags. Raises MediaError for more sound."""
    end = before_tags(file, position, size)
    # Some writers leave out the byte that makes an odd size even.
    return any(_are_chunks(file, end, dialect, each) for each in {position + -position % dialect.align, position})


def _are_chunks(file: BinaryIO, end: int, dialect: Dialect, position: int) -> bool:
    for chunk in _chunks(file, dialect, position, end):
        head = chunk.position - dialect.id_bytes - dialect.size_bytes
        if dialect_of(chunk.id):
            raise MediaError(
                f"another file begins behind the sound of the {dialect.name} file; write them anew as one, or apart"
            )
        if not _is_named(chunk.id) or chunk.position + chunk.size > end:
            return _is_padding(file, head, end)
        if chunk.id == dialect.sound:
            raise MediaError(f"the {dialect.name} file has more than one chunk of sound; write it anew with one")
        position = chunk.position + chunk.size
        position += -position % dialect.align
    return _is_padding(file, position, end)


def _is_named(id: bytes) -> bool:
    """Whether these may be the first bytes of a chunk: its name, in letters."""
    return id[:4].isascii() and id[:4].decode().isprintable()


def _is_padding(file: BinaryIO, position: int, end: int) -> bool:
    """Whether nothing but zeros, or less than the head of a chunk, is left."""
    if end - position < 8:
        return True
    file.seek(position)
    while position < end:
        block = file.read(min(2**16, end - position))
        if not block or block.strip(b"\0"):
            return False
        position += len(block)
    return True


def _size_in_ds64(file: BinaryIO, before: Mapping[bytes, _Chunk]) -> int:
    if b"ds64" not in before:
        raise MediaError("the RF64 file has no chunk ds64, which holds its size")
    return int.from_bytes(read_at(file, before[b"ds64"].position + 8, 8), "little")


def _to_the_end(file: BinaryIO, size: int, dialect: Dialect, sound: _Chunk, before: Mapping[bytes, _Chunk]) -> Stream:
    """The sound up to the file's end, behind a header of ours that says so."""
    there = size - sound.position
    format = before.get(b"fmt ")
    if format is None or format.size > _LARGEST_FORMAT:
        raise MediaError("the WAV file has no chunk that says how its sound is written")
    if there > _LARGEST_WAV - 2 * _LARGEST_FORMAT:
        raise MediaError("the WAV header was never finished, and the file is longer than one can say; write it anew as RF64")
    described = read_at(file, format.position, format.size)

    def number(value: int) -> bytes:
        return value.to_bytes(4, dialect.order)

    inner = b"WAVEfmt " + number(len(described)) + described + b"data" + number(there)
    head = read_at(file, 0, 4) + number(len(inner) + there) + inner
    return Stream(sound.position, size, head)


def _with_its_size(file: BinaryIO, size: int, sound: _Chunk) -> Stream:
    """A CAF whose size of sound is unknown, which the format allows and libsndfile does not: behind a header with the size."""
    if sound.position > _LARGEST_HEADER:
        raise MediaError(f"the CAF header has {sound.position} bytes; at most {_LARGEST_HEADER} are read")
    head = read_at(file, 0, sound.position - 8) + (size - sound.position).to_bytes(8, "big")
    return Stream(sound.position, size, head)
