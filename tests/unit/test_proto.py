"""The contract stays compatible with the last released one, and its files are whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.rpc import error_details_pb2, status_pb2
from support.environment import ROOT

from avizor.v1 import inference_pb2 as pb

PROTO = ROOT / "proto"
(RELEASED,) = FileDescriptorSet.FromString((PROTO / "released.binpb").read_bytes()).file
NOW = FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)


def breaks(old: FileDescriptorProto, new: FileDescriptorProto) -> list[str]:
    """What a client of the old contract cannot rely on in the new one; empty if it can rely on everything."""
    found = [] if new.package == old.package else ["the package is renamed"]
    return [*found, *_messages(old, new), *_enums(old, new), *_methods(old, new)]


def _messages(
    old: FileDescriptorProto | DescriptorProto, new: FileDescriptorProto | DescriptorProto, inside: str = ""
) -> Iterator[str]:
    ours = old.message_type if isinstance(old, FileDescriptorProto) else old.nested_type
    theirs = {each.name: each for each in (new.message_type if isinstance(new, FileDescriptorProto) else new.nested_type)}
    for message in ours:
        name = f"{inside}{message.name}"
        if message.name not in theirs:
            yield f"{name} is gone"
            continue
        yield from _fields(name, message, theirs[message.name])
        yield from _messages(message, theirs[message.name], f"{name}.")


def _fields(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    fields = {field.number: field for field in new.field}
    reserved = {number for range_ in new.reserved_range for number in range(range_.start, range_.end)}
    for field in old.field:
        now = fields.get(field.number)
        if now is None:
            if field.number not in reserved or field.name not in new.reserved_name:
                yield f"{name}.{field.name} is gone, and {field.number} or its name is not reserved"
            continue
        if now.name != field.name:
            yield f"{name}: {field.number} was {field.name} and is {now.name}"
        if (now.type, now.type_name, now.label) != (field.type, field.type_name, field.label):
            yield f"{name}.{field.name} has another type"
        if _oneof(old, field.number) != _oneof(new, field.number):
            yield f"{name}.{field.name} is in another oneof"
    for range_ in old.reserved_range:
        if any(range_.start <= number < range_.end for number in fields):
            yield f"{name} uses a reserved number"


def _oneof(message: DescriptorProto, number: int) -> str | None:
    field = next(field for field in message.field if field.number == number)
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None


def _enums(old: FileDescriptorProto, new: FileDescriptorProto) -> Iterator[str]:
    enums: dict[str, EnumDescriptorProto] = {enum.name: enum for enum in new.enum_type}
    for enum in old.enum_type:
        values = {value.number: value.name for value in enums[enum.name].value} if enum.name in enums else {}
        yield from (
            f"{enum.name}: {value.number} was {value.name}" for value in enum.value if values.get(value.number) != value.name
        )


def _methods(old: FileDescriptorProto, new: FileDescriptorProto) -> Iterator[str]:
    methods = {(service.name, method.name): method for service in new.service for method in service.method}
    for service in old.service:
        for method in service.method:
            if methods.get((service.name, method.name)) != method:
                yield f"{service.name}.{method.name} is gone or has other messages"


def test_a_client_of_the_last_release_is_understood() -> None:
    assert breaks(RELEASED, NOW) == []
    assert RELEASED.name == NOW.name


def changed(name: str, file: FileDescriptorProto) -> None:
    """Change the contract in a way that breaks clients."""
    messages = {message.name: message for message in file.message_type}
    fields = {(message, field.name): field for message in messages for field in messages[message].field}
    if name == "renumbered":
        fields["ClassifyRequest", "top_k"].number = 99
    elif name == "renamed":
        fields["ClassifyRequest", "top_k"].name = "k"
    elif name == "retyped":
        fields["DetectAnomalyRequest", "alpha"].type = FieldDescriptorProto.TYPE_FLOAT
    elif name == "repeated":
        fields["DetectAnomalyRequest", "alpha"].label = FieldDescriptorProto.LABEL_REPEATED
    elif name == "removed":
        del messages["Verdict"].field[2]
    elif name == "out of its oneof":
        fields["Item", "audio"].ClearField("oneof_index")
    elif name == "message":
        del file.message_type[[*messages].index("Tensor")]
    elif name == "map entry":
        del messages["Calibration"].nested_type[:]
    elif name == "enum":
        file.enum_type[0].value[1].number = 7
    elif name == "rpc":
        file.service[0].method[2].client_streaming = True
    else:
        file.package = "avizor.v2"


CHANGES = {
    "renumbered": "ClassifyRequest.top_k is gone, and 4",
    "renamed": "ClassifyRequest: 4 was top_k and is k",
    "retyped": "DetectAnomalyRequest.alpha has another type",
    "repeated": "DetectAnomalyRequest.alpha has another type",
    "removed": "Verdict.p_value is gone, and 3",
    "out of its oneof": "Item.audio is in another oneof",
    "message": "Tensor is gone",
    "map entry": "Calibration.RecordingsEntry is gone",
    "enum": "Task: 1 was TASK_CLASSIFY",
    "rpc": "InferenceService.Classify is gone or has other messages",
    "package": "the package is renamed",
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_breaks_a_client_is_noticed(name: str) -> None:
    new = FileDescriptorProto()
    new.CopyFrom(NOW)
    changed(name, new)
    (found,) = breaks(NOW, new)
    assert found.startswith(CHANGES[name])


def test_a_field_may_go_if_its_number_and_name_are_reserved() -> None:
    new = FileDescriptorProto()
    new.CopyFrom(NOW)
    verdict = next(message for message in new.message_type if message.name == "Verdict")
    del verdict.field[2]
    verdict.reserved_range.add(start=3, end=4)
    verdict.reserved_name.append("p_value")
    assert breaks(NOW, new) == []
    later = FileDescriptorProto()
    later.CopyFrom(new)
    message = next(message for message in later.message_type if message.name == "Verdict")
    message.field.add(name="another", number=3, type=5, label=1)
    assert breaks(new, later) == ["Verdict uses a reserved number"]


def test_every_import_is_shipped_or_comes_with_protobuf() -> None:
    for path in PROTO.rglob("*.proto"):
        imports = [line.split('"')[1] for line in path.read_text().splitlines() if line.startswith("import ")]
        for name in imports:
            assert name.startswith("google/protobuf/") or (PROTO / name).is_file(), f"{path} imports {name}"


@pytest.mark.parametrize("module", [status_pb2, error_details_pb2])
def test_the_files_of_google_rpc_are_those_that_the_gateway_uses(module: object) -> None:
    file = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)  # type: ignore[attr-defined]
    text = (PROTO / file.name).read_text()
    assert "Licensed under the Apache License, Version 2.0" in text
    for message in file.message_type:
        body = text.partition(f"message {message.name} {{\n")[2]
        for field in message.field:
            assert f" {field.name} = {field.number};" in body, f"{message.name}.{field.name}"
