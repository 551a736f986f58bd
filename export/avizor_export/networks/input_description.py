"""The input description on the command line: a JSON file, or `modality:key=value,...` for what needs no lists."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import AudioInput, ImageFrontEnd, ImageInput, InputSpec, LogMelFrontEnd, TensorInput
from avizor_inference.strict_json import refuse_duplicates, unknown_key, validation_message

_ADAPTER: TypeAdapter[InputSpec] = TypeAdapter(InputSpec)
_MODALITIES = ("image", "audio", "table", "tensor")
# What of a modality is written as key=value: its own keys, and those of its front end.
_KEYS = {"image": set(ImageInput.model_fields), "audio": set(AudioInput.model_fields), "tensor": set(TensorInput.model_fields)}
_FRONT_END_KEYS = {"image": set(ImageFrontEnd.model_fields), "audio": set(LogMelFrontEnd.model_fields), "tensor": set[str]()}
_NOT_WRITTEN = {"modality", "kind", "front_end"}


def parse_input(text: str) -> InputSpec:
    """Read an input description (docs/inputs.md). Raises ExportError naming each field that is wrong.

    `image:height=32,width=32,channels=1,mean=0.13,std=0.31`; numbers joined by `/` make a list, as in `mean=0.5/0.4/0.4`.
    `audio:sample_rate=16000,window_samples=32000,hop_samples=16000,n_fft=1024,hop_length=512,n_mels=64`
    `tensor:name=features,item_shape=30`
    `table:columns=amount/hour/balance`, numbers as they are; a JSON file says how columns are filled, clipped and standardised
    """
    path = Path(text)
    try:
        if path.suffix == ".json":
            described = path.read_bytes()
            spec = _ADAPTER.validate_json(described)
            refuse_duplicates(described)
        else:
            spec = _ADAPTER.validate_python(_fields(text), strict=False)
        spec.tensor()  # its size is looked at here
        return spec
    except OSError as error:
        raise ExportError(f"{text}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ExportError(f"input description {text!r}: {validation_message(error)}") from error


def _fields(text: str) -> dict[str, object]:
    modality, _, rest = text.partition(":")
    if modality not in _MODALITIES:
        *all_but_last, last = (f"{each}:" for each in _MODALITIES)
        raise ExportError(
            f"input description {text!r}: {modality!r} is not a modality; begin with {', '.join(all_but_last)} or {last}, "
            "or name a .json file"
        )
    if modality == "table":
        return {"modality": "table", "front_end": {"kind": "table", "columns": _columns(text, rest)}}
    known = sorted((_KEYS[modality] | _FRONT_END_KEYS[modality]) - _NOT_WRITTEN)
    fields: dict[str, object] = {"modality": modality}
    front_end: dict[str, object] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ExportError(f"input description {text!r}: {pair!r} is not key=value")
        if key in fields or key in front_end:
            raise ExportError(f"input description {text!r}: {key!r} is given twice")
        if key not in known:
            raise ExportError(f"input description {text!r}: {unknown_key(key, known)} ({modality} has {', '.join(known)})")
        (front_end if key in _FRONT_END_KEYS[modality] else fields)[key] = _value(key, value)
    if front_end:
        fields["front_end"] = front_end | {"kind": "image" if modality == "image" else "log_mel"}
    return fields


def _columns(text: str, rest: str) -> list[dict[str, object]]:
    key, _, names = rest.partition("=")
    if key != "columns" or not names or "," in names:
        raise ExportError(f"input description {text!r}: write table:columns=NAME/NAME/..., or a JSON file for more")
    return [{"kind": "number", "name": name} for name in names.split("/")]


def _value(key: str, text: str) -> object:
    if "/" in text or key in ("mean", "std", "item_shape"):
        return [_scalar(part) for part in text.split("/")]
    return _scalar(text)


def _scalar(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
