"""Read the input description on the command line: a JSON file, or `modality:key=value,...` for what needs no lists."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import KINDS, InputSpec
from avizor_inference.strict_json import refuse_duplicates, validation_message

_ADAPTER: TypeAdapter[InputSpec] = TypeAdapter(InputSpec)


def parse_input(text: str) -> InputSpec:
    """Read an input description (docs/inputs.md). Raises ExportError naming each field that is wrong.

    `image:height=32,width=32,channels=1,mean=0.13,std=0.31`; numbers joined by `/` make a list, as in `mean=0.5/0.4/0.4`.
    `audio:sample_rate=16000,window_samples=32000,hop_samples=16000,n_fft=1024,hop_length=512,n_mels=64`
    `signal:channels=2,window_samples=1000,hop_samples=1000,columns=ax/ay`
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
    if modality not in KINDS:
        *all_but_last, last = (f"{each}:" for each in KINDS)
        raise ExportError(
            f"input description {text!r}: {modality!r} is not a modality; begin with {', '.join(all_but_last)} or {last}, "
            "or name a .json file"
        )
    return {"modality": modality} | KINDS[modality].fields_of(rest)
