"""Pack and unpack bodies: gzip and deflate. What is unpacked is bounded before it is there."""

from __future__ import annotations

import zlib

from avizor_inference.errors import InvalidInput

# zlib's names of the two formats. HTTP calls zlib's own format `deflate`.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}

# Smaller answers are sent as they are. The level is the fastest: to save a network costs this machine.
_LEAST_BYTES = 1 << 10
_LEVEL = 1


def unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """Return a body unpacked, or, of one that unpacks to more than most_bytes, one byte more than those.

    Raises InvalidInput for another encoding, and for what is not in that format or does not end.
    """
    if encoding not in _WINDOW_BITS:
        raise InvalidInput(
            f"Content-Encoding {encoding[:50]!r} is not known; send gzip, deflate, or neither",
            field="content-encoding",
        )
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        made = unpacker.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not in the format of Content-Encoding {encoding}: {error}") from error
    if len(made) <= most_bytes and (not unpacker.eof or unpacker.unused_data):
        raise InvalidInput(f"the body does not end where its {encoding} does; send the whole body as one stream of it")
    return made


def wanted_encoding(accepted: str) -> str:
    """Return the encoding of an answer by the client's Accept-Encoding: gzip, deflate, or "" for none."""
    for part in accepted.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in _WINDOW_BITS and quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return name.strip()
    return ""


def packed(body: bytes, encoding: str) -> bytes:
    """Return a body packed."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return packer.compress(body) + packer.flush()


def is_worth_packing(body: bytes) -> bool:
    """Return whether a body is large enough to be packed."""
    return len(body) >= _LEAST_BYTES
