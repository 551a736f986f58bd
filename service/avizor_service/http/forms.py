"""Make a request of files: of a form with several, or of a body that is one. The rest of it is in the query or the form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service.gateway import ItemsRequest
from avizor_service.http.json_messages import filled, object_of

# The part of a form, or what stands for the body, that is whatever the model takes.
ITEM = "item"

_MOST_FIELDS, _MOST_FIELD_BYTES = 64, 4096

# Fields of each item, which are given once for all.
_OF_ITEMS = {each.name for each in pb.Item.DESCRIPTOR.fields if each.containing_oneof is None}
_CONTENTS: dict[str, Any] = {each.name: each for each in pb.Item.DESCRIPTOR.oneofs_by_name["content"].fields}


@dataclass
class Form:
    """Holds what a client sends besides JSON. files: name and content of each. fields: name and text of each."""

    files: list[tuple[str, bytes]] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Part:
    """Holds a part of a form while it is read."""

    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""
    content: list[bytes] = field(default_factory=list)


def one_file(content_type: str, body: bytes) -> Form:
    """Return the form of a body that is one file. The first half of its type may say what it is, such as `image/png`."""
    kind = content_type.partition("/")[0].strip().lower()
    return Form([(kind if _is_file(kind) else ITEM, body)])


def parsed_form(content_type: str, body: bytes, most_files: int) -> Form:
    """Return a form of multipart/form-data. Raises InvalidInput, also if it has more than so many files."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise InvalidInput("multipart/form-data needs a boundary in its Content-Type", field="content-type")
    form, part = Form(), _Part()
    is_ended = False

    def begin() -> None:
        nonlocal part
        part = _Part()

    def end_header() -> None:
        if bytes(part.header).lower() == b"content-disposition":
            part.disposition = bytes(part.value)
        part.header.clear()
        part.value.clear()

    def end_part() -> None:
        _add(form, part)
        if len(form.files) > most_files or len(form.fields) > _MOST_FIELDS:
            raise InvalidInput(
                f"the form has more than {most_files} files or {_MOST_FIELDS} other fields; send fewer in one request",
                field="items",
            )

    def end() -> None:
        nonlocal is_ended
        is_ended = True

    callbacks = {
        "on_part_begin": begin,
        "on_header_field": lambda data, start, end: part.header.extend(data[start:end]),
        "on_header_value": lambda data, start, end: part.value.extend(data[start:end]),
        "on_header_end": end_header,
        "on_part_data": lambda data, start, end: part.content.append(data[start:end]),
        "on_part_end": end_part,
        "on_end": end,
    }
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidInput(f"the body is not multipart/form-data: {error}") from error
    if not is_ended:
        raise InvalidInput("the body is not multipart/form-data: it ends before its last boundary")
    return form


def _add(form: Form, part: _Part) -> None:
    options = parse_options_header(part.disposition)[1]
    name = options.get(b"name", b"").decode(errors="replace")
    content = part.content[0] if len(part.content) == 1 else b"".join(part.content)
    if name == ITEM or name in _CONTENTS:
        form.files.append((name, content))
        return
    if b"filename" in options:
        raise InvalidInput(
            f"the form has a file {name[:50]!r}; name it {ITEM}, or by what it is: {', '.join(_CONTENTS)}", field=name[:50]
        )
    if len(content) > _MOST_FIELD_BYTES:
        raise InvalidInput(f"field {name[:50]!r} of the form has more than {_MOST_FIELD_BYTES} bytes", field=name[:50])
    form.fields.append((name, content.decode(errors="replace")))


def request_of(
    kind: type[ItemsRequest], form: Form, query: Iterable[tuple[str, str]], given: Mapping[str, Any], taken: str
) -> ItemsRequest:
    """Return the request that a form, a query and a path make.

    given: fields that the path has. taken: the field of an Item that the model takes, for what is only called an item. Raises
    InvalidInput.
    """
    fields = dict(given)
    of_items: dict[str, Any] = {}
    for name, text in [*query, *form.fields]:
        _set(fields, of_items, kind.DESCRIPTOR, name, text)
    request = filled(kind(), fields)
    common = filled(pb.Item(), of_items)
    for number, (name, content) in enumerate(form.files):
        item = request.items.add()
        item.CopyFrom(common)
        _put(item, taken if name == ITEM else name, content, number)
    return request


def _put(item: pb.Item, name: str, content: bytes, number: int) -> None:
    """Put the content of a file where it belongs: bytes as they are, and a message as JSON."""
    if _is_file(name):
        setattr(item, name, content)
        return
    try:
        filled(getattr(item, name), object_of(content))
        getattr(item, name).SetInParent()
    except InvalidInput as error:
        shown = ', such as {"COLUMN": 12.5}; of a table each row is a part of its own' if name == "row" else ""
        raise InvalidInput(f"{name} is sent as a JSON object{shown}: {error}", field=f"items[{number}].{name}") from error


def _is_file(name: str) -> bool:
    return name in _CONTENTS and _CONTENTS[name].type == FieldDescriptor.TYPE_BYTES


def _set(fields: dict[str, Any], of_items: dict[str, Any], message: Any, path: str, text: str) -> None:
    """Set the field that a name of the query means, `top_k`, `topK` or `occlusion.size`, to a text."""
    *outer, last = path.split(".")
    target = fields
    if not outer and _field(pb.Item.DESCRIPTOR, last, _OF_ITEMS):
        target, message = of_items, pb.Item.DESCRIPTOR
    for name in outer:
        inner = _field(message, name)
        if inner is None or inner.message_type is None or inner.is_repeated:
            raise _unknown(path, message)
        target, message = target.setdefault(inner.name, {}), inner.message_type
    found = _field(message, last)
    if found is None or found.message_type is not None:
        raise _unknown(path, message)
    value = _value(found, text)
    if found.is_repeated:
        target.setdefault(found.name, []).append(value)
    elif found.name in target:
        raise InvalidInput(f"{path[:50]} is given twice", field=found.name)
    else:
        target[found.name] = value


def _field(message: Any, name: str, among: set[str] | None = None) -> Any:
    """Return the field of a message by its name, as the .proto or as JSON has it; None if there is none (among these)."""
    found = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
    return found if found and (among is None or found.name in among) else None


def _value(field: Any, text: str) -> Any:
    """Return a value as JSON has it. Of an enumeration the end of its name is enough, such as `png`."""
    if field.enum_type:
        names = field.enum_type.values_by_name
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        name = text.upper().replace("-", "_")
        return name if name in names else f"{prefix}{name}" if f"{prefix}{name}" in names else text
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}.get(text.lower(), text)
    return text


def _unknown(path: str, message: Any) -> InvalidInput:
    names = sorted(each.name for each in message.fields if each.message_type is None)
    return InvalidInput(f"there is no field {path[:50]!r} here; there are {', '.join(names)}", field=path[:50])
