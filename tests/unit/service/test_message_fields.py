"""message_fields.py: fields are counted as the parser counts them, and no further than is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avizor.v1 import inference_pb2 as pb
from avizor_service.message_fields import count_of_field


@given(st.integers(0, 6), st.text(max_size=300), st.integers(0, 2**40), st.floats(0, 1, width=32), st.binary(max_size=300))
def test_items_are_counted_as_the_parser_counts_them(
    items: int, model: str, version: int, threshold: float, data: bytes
) -> None:
    item = pb.Item(source=model, image=data)
    request = pb.ClassifyRequest(model=model, version=version, items=[item] * items, threshold=threshold, outputs=[model])
    assert count_of_field(request.SerializeToString(), 3, 10) == items


def test_the_count_ends_beyond_the_limit() -> None:
    assert count_of_field(b"\x1a\x00" * 1_000_000, 3, 256) == 257


@pytest.mark.parametrize("damaged", [b"", b"\x1a", b"\x1a\xff", b"\x1b\x00", b"\xff" * 20, b"\x1a\x05ab"])
def test_what_cannot_be_read_ends_the_count(damaged: bytes) -> None:
    assert count_of_field(damaged, 3, 10) <= 1
