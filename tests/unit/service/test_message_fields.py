"""message_fields.py: what a message may unpack to is bounded before it is parsed, and what is in order is not refused."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service.message_fields import MOST_PARTS, Fields, count_parts

CLASSIFY = Fields(pb.ClassifyRequest.DESCRIPTOR)
MIB = 1 << 20


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes in the wire format."""
    size, head = len(content), bytes([number << 3 | 2])
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + content


def item(content: bytes) -> bytes:
    return field(3, content)


def value(content: bytes) -> bytes:
    """Return a row with one value."""
    return item(field(5, field(1, field(1, b"a") + field(2, content))))


def parts(message: bytes, most: int = MOST_PARTS, fields: Fields = CLASSIFY) -> int:
    return asyncio.run(count_parts(message, fields, most))


def row(columns: int) -> pb.Item:
    made = pb.Item()
    made.row.update({f"column {number}": float(number) for number in range(columns)})
    return made


def test_each_field_number_and_piece_of_text_is_a_part() -> None:
    # item, tensor, dtype, shape and its 3 bytes, data
    tensor = pb.Item(tensor=pb.Tensor(dtype="uint8", shape=[2, 300], data=bytes(600)))
    request = pb.ClassifyRequest(model="m" * 64, items=[tensor], outputs=["embedding"])  # model + 2, outputs
    assert parts(request.SerializeToString()) == 8 + 3 + 1


def test_data_costs_nothing_whatever_its_size_and_a_value_of_a_row_four() -> None:
    data = pb.ClassifyRequest(items=[pb.Item(image=bytes(60 * MIB)), pb.Item(tensor=pb.Tensor(data=bytes(MIB)))])
    assert parts(data.SerializeToString()) == 5
    assert parts(pb.ClassifyRequest(items=[row(1000)]).SerializeToString()) == 2 + 4 * 1000


def test_the_largest_table_of_docs_is_taken() -> None:
    assert parts(pb.ClassifyRequest(items=[row(390)] * 100).SerializeToString()) < MOST_PARTS


MANY = MIB // 2
HOSTILE = {
    "items": b"\x1a\x00" * MANY,
    "outputs": b"\x32\x00" * MANY,
    "model": field(1, bytes(8 * MIB)),
    "15": b"\x78\x01\x10\x01" * MANY,  # unknown, between known ones
    "items.tensor.shape": item(field(4, field(2, b"\x01" * MANY))),
    "items.tensor.dtype": item(field(4, field(1, bytes(8 * MIB)))),
    "items.source": item(b"\x0a\x00" * MANY),
    "items.row.fields": item(field(5, b"\x0a\x00" * MANY)),
    "items.row.fields.15": item(field(5, b"\x0a\x02\x78\x01" * MANY)),
    "items.row.fields.value.list_value.values": value(field(6, b"\x0a\x00" * MANY)),
    "items.row.fields.value.list_value.values.struct_value": value(field(6, b"\x0a\x02\x2a\x00" * MANY)),
    "items.row.fields.value.string_value": value(field(3, bytes(8 * MIB))),
    "items.row.fields.key": item(field(5, field(1, field(1, bytes(8 * MIB))))),
}


@pytest.mark.parametrize("path", HOSTILE)
def test_a_message_of_too_many_parts_is_refused_and_names_field_and_limit(path: str) -> None:
    message = HOSTILE[path]
    pb.ClassifyRequest.FromString(message)  # which it could be
    with pytest.raises(InvalidInput, match=f"more than the {MOST_PARTS} parts") as caught:
        parts(message)
    assert caught.value.field in (path, path.rpartition(".")[0])
    assert caught.value.field


def test_the_limit_of_the_caller_counts_if_it_is_smaller() -> None:
    message = pb.ClassifyRequest(items=[row(10)]).SerializeToString()
    assert parts(message, 42) == 42
    with pytest.raises(InvalidInput, match="41 parts"):
        parts(message, 41)


@pytest.mark.parametrize(
    "damaged",
    [b"\x1a", b"\x1a\xff", b"\x1b\x00", b"\xff" * 20, b"\x10" + b"\xff" * MIB, b"\x1a\x05ab", b"\x1a\x02\x22\x01", b"\x15\x00"],
)
def test_what_cannot_be_read_is_refused(damaged: bytes) -> None:
    with pytest.raises(DecodeError):
        pb.ClassifyRequest.FromString(damaged)
    with pytest.raises(InvalidInput, match="wire format"):
        parts(damaged)


def test_messages_within_messages_end_where_the_parser_ends() -> None:
    deep = b""
    for _ in range(60):
        deep = field(6, field(1, deep))  # lists in lists
    with pytest.raises(DecodeError):
        pb.ClassifyRequest.FromString(value(deep))
    with pytest.raises(InvalidInput, match="wire format"):
        parts(value(deep))


@given(st.binary(max_size=60), st.integers(0, 255), st.integers(0, 400))
def test_what_the_parser_takes_is_counted(rubbish: bytes, byte: int, place: int) -> None:
    request = pb.ClassifyRequest(model="m", version=2**40, items=[row(3), pb.Item(image=rubbish)], threshold=0.5, outputs=["x"])
    whole = bytearray(request.SerializeToString())
    whole[place % len(whole)] = byte
    for message in (bytes(whole), rubbish):
        try:
            pb.ClassifyRequest.FromString(message)
        except DecodeError:
            continue
        try:
            assert parts(message) <= 2 * len(message) + 1
        except InvalidInput:
            assert has_group(message)


def has_group(message: bytes) -> bool:
    """Return whether the message may have groups, which are no part of avizor.v1 and are refused."""
    return any(byte & 7 in (3, 4) for byte in message)


def test_other_tasks_run_while_parts_are_counted() -> None:
    async def run() -> int:
        turns, counting = 0, asyncio.create_task(count_parts(b"\x32\x00" * (MOST_PARTS - 1), CLASSIFY, MOST_PARTS))
        while not counting.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(run()) > 10


def test_a_message_whose_first_field_is_of_its_own_kind_is_described() -> None:
    file = FileDescriptorProto(name="tree.proto", package="test", syntax="proto3")
    field = FieldDescriptorProto(name="inner", number=1, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=".test.Tree")
    file.message_type.add(name="Tree", field=[field])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    tree = Fields(pool.FindMessageTypeByName("test.Tree"))
    assert tree[0x0A] is tree
