"""Read containers that consist of chunks: WAV (RIFF, RIFX), RF64, W64, AIFF, CAF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at
from avizor_inference.items.containers.tags import before_tags


@dataclass(frozen=True)
class Dialect:
    """Describes how one container writes its chunks."""

    name: str
    order: Literal["little", "big"]
    first: int  # position of the first chunk
    id_bytes: int
    size_bytes: int
    size_counts_head: bool  # whether a chunk's size includes its head
    align: int  # chunks begin at multiples of this number of bytes
    sound: bytes  # id of the chunk with the sound


@dataclass(frozen=True)
class _Chunk:
    id: bytes
    position: int  # where its content begins
    size: int  # bytes of its content, as its head says


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

# Sizes that programs write into a WAV header if they cannot know the size, for example into a pipe: just below 2 and 4 GiB.
_UNKNOWN_WAV = ((0x7FFF0000, 0x80000000), (0xFFFF0000, 0xFFFFFFFF))
_UNKNOWN_CAF = 2**64 - 1
_LARGEST_WAV = 2**32 - 1
_LARGEST_FORMAT = 2**16  # bytes; usually 16 to 40
_LARGEST_HEADER = 2**20  # bytes, because it is kept in memory
_MOST_CHUNKS = 10_000  # before the sound; usually a few
_DESCRIBING = (b"fmt ", b"ds64")


def dialect_of(mark: bytes) -> Dialect | None:
    """Return the dialect of a file by its first bytes; None if it does not consist of chunks."""
    return _DIALECTS.get(mark[:4])


def chunk_stream(file: BinaryIO, size: int, dialect: Dialect) -> Stream:
    """Return the stream of a file whose chunks cover every byte of it. Raises MediaError if they do not.

    A WAV file whose size of the sound is 0 or unknown (a recorder lost power, it was written by a pipe) is read to its end.
    """
    before: dict[bytes, _Chunk] = {}
    for number, chunk in enumerate(_chunks(file, dialect, dialect.first, size)):
        if chunk.id == dialect.sound:
            return _sound_stream(file, size, dialect, chunk, before)
        if number == _MOST_CHUNKS:
            raise MediaError(f"the {dialect.name} file has more than {_MOST_CHUNKS} chunks before its sound; it is damaged")
        if chunk.id in _DESCRIBING:
            before.setdefault(chunk.id, chunk)
    raise MediaError(f"the {dialect.name} file has no chunk of sound: it holds no samples, or is damaged")


def _sound_stream(file: BinaryIO, size: int, dialect: Dialect, sound: _Chunk, before: Mapping[bytes, _Chunk]) -> Stream:
    """Return the stream of a file with this chunk of sound. before: some of the chunks before it."""
    actual, claimed = size - sound.position, sound.size
    if dialect.name == "CAF" and claimed == _UNKNOWN_CAF:
        return _with_size_in_header(file, size, sound)
    if dialect.name == "RF64" and claimed == _LARGEST_WAV:
        claimed = _size_in_ds64(file, before)
    if claimed > actual and dialect.name == "WAV" and any(low <= claimed <= high for low, high in _UNKNOWN_WAV):
        return _to_the_end(file, size, dialect, sound, before)
    if claimed > actual:
        raise MediaError(f"the file was cut off: its {dialect.name} header says {claimed} bytes of sound, but it has {actual}")
    never_finished = claimed == 0 and dialect.name == "WAV" and actual > 0
    if never_finished and not _is_chunk_name(read_at(file, sound.position, 4)):
        return _to_the_end(file, size, dialect, sound, before)
    if _is_valid_after_sound(file, size, dialect, sound.position + claimed):
        # In a W64 file libsndfile reads everything after the sound as sound.
        return Stream(0, sound.position + claimed if dialect.name == "W64" else size)
    if never_finished:
        return _to_the_end(file, size, dialect, sound, before)
    raise MediaError(
        f"the {dialect.name} header says {claimed} bytes of sound, and {actual - claimed} bytes that are not chunks follow: it "
        "was never finished, or the file was appended to; write the file again with a correct header"
    )


def _chunks(file: BinaryIO, dialect: Dialect, position: int, size: int) -> Iterator[_Chunk]:
    """Yield the chunks from `position` on that begin within the file; the last one may claim more bytes than the file has."""
    head_bytes = dialect.id_bytes + dialect.size_bytes
    while position + head_bytes <= size:
        head = read_at(file, position, head_bytes)
        claimed = int.from_bytes(head[dialect.id_bytes :], dialect.order)
        if dialect.size_counts_head:
            claimed = max(0, claimed - head_bytes)
        yield _Chunk(head[: dialect.id_bytes], position + head_bytes, claimed)
        position += head_bytes + claimed
        position += -position % dialect.align


def _is_valid_after_sound(file: BinaryIO, size: int, dialect: Dialect, position: int) -> bool:
    """Return whether only chunks, padding or tags follow the sound up to the end. Raises MediaError for more sound."""
    end = before_tags(file, position, size)
    # Some programs do not write the byte that makes an odd size even.
    return any(_are_chunks(file, end, dialect, start) for start in {position + -position % dialect.align, position})


def _are_chunks(file: BinaryIO, end: int, dialect: Dialect, position: int) -> bool:
    for chunk in _chunks(file, dialect, position, end):
        head = chunk.position - dialect.id_bytes - dialect.size_bytes
        if dialect_of(chunk.id):
            raise MediaError(
                f"another file begins behind the sound of the {dialect.name} file; write them again as one file or as two"
            )
        if not _is_chunk_name(chunk.id) or chunk.position + chunk.size > end:
            return _is_padding(file, head, end)
        if chunk.id == dialect.sound:
            raise MediaError(f"the {dialect.name} file has more than one chunk of sound; write it again with one")
        position = chunk.position + chunk.size
        position += -position % dialect.align
    return _is_padding(file, position, end)


def _is_chunk_name(id: bytes) -> bool:
    """Return whether a chunk may begin with these bytes: a name in printable ASCII characters."""
    return id[:4].isascii() and id[:4].decode().isprintable()


def _is_padding(file: BinaryIO, position: int, end: int) -> bool:
    """Return whether only zeros follow, or fewer bytes than the head of a chunk has."""
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
        raise MediaError("the RF64 file has no ds64 chunk, which holds its size")
    return int.from_bytes(read_at(file, before[b"ds64"].position + 8, 8), "little")


def _to_the_end(file: BinaryIO, size: int, dialect: Dialect, sound: _Chunk, before: Mapping[bytes, _Chunk]) -> Stream:
    """Return the sound up to the end of the file, with a new header that has this size."""
    actual = size - sound.position
    format = before.get(b"fmt ")
    if format is None or format.size > _LARGEST_FORMAT:
        raise MediaError("the WAV file has no chunk that describes the format of its sound")
    if actual > _LARGEST_WAV - 2 * _LARGEST_FORMAT:
        raise MediaError("the WAV header was never finished, and the file is too long for one; write it again as RF64")
    described = read_at(file, format.position, format.size)

    def number(value: int) -> bytes:
        return value.to_bytes(4, dialect.order)

    inner = b"WAVEfmt " + number(len(described)) + described + b"data" + number(actual)
    head = read_at(file, 0, 4) + number(len(inner) + actual) + inner
    return Stream(sound.position, size, head)


def _with_size_in_header(file: BinaryIO, size: int, sound: _Chunk) -> Stream:
    """Return the stream of a CAF file whose size of the sound is unknown, with a header that has the size.

    The format allows an unknown size, but libsndfile does not read it.
    """
    if sound.position > _LARGEST_HEADER:
        raise MediaError(f"the CAF header has {sound.position} bytes; at most {_LARGEST_HEADER} are read")
    head = read_at(file, 0, sound.position - 8) + (size - sound.position).to_bytes(8, "big")
    return Stream(sound.position, size, head)
