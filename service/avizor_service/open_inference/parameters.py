"""Check the parameters of a request that Triton gives a meaning."""

from __future__ import annotations

from collections.abc import Mapping

from avizor_inference.errors import InvalidInput, SharedMemoryUnknown

# None stands for a parameter without a value.
Value = bool | int | float | str | None

EMPTY_FINAL = "triton_enable_empty_final_response"

_RESERVED = "triton_"

# Types of the parameters that Triton knows. Avizor's models have no sequences and no priorities: those change nothing.
_TYPES: dict[str, tuple[type, ...]] = {
    "sequence_id": (int, str),
    "sequence_start": (bool,),
    "sequence_end": (bool,),
    "priority": (int,),
    "timeout": (int,),
    EMPTY_FINAL: (bool,),
}


def check_parameters(parameters: Mapping[str, Value]) -> None:
    """Raise InvalidInput, naming the parameter, for those of a request that Triton refuses. Others are let through unread."""
    for name, value in parameters.items():
        kinds = _TYPES.get(name)
        if kinds is None and name.startswith(_RESERVED):
            raise InvalidInput(
                f"parameter {name[:64]!r} is not known, and names that begin with triton_ are reserved", field=name
            )
        if not isinstance(value, bool | int | float | str):
            raise InvalidInput(
                f"parameter {name[:64]!r} has no value; give a number, a text, true or false, or leave it out", field=name
            )
        if kinds is not None and type(value) not in kinds:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise InvalidInput(f"parameter {name!r} is a {type(value).__name__}; give {wanted}", field=name)


def check_input_parameters(name: str, parameters: Mapping[str, Value]) -> None:
    """Raise SharedMemoryUnknown for an input that lies in shared memory. There is none here."""
    _refuse_shared_memory(f"input {name!r}", name, parameters)


def class_count(name: str, parameters: Mapping[str, Value]) -> int:
    """Return how many classes an output's parameters ask for, 0 for the output itself.

    Raises InvalidInput for what is no number over 0, SharedMemoryUnknown for an output that is to be put in shared memory.
    """
    if "classification" in parameters and "shared_memory_region" in parameters:
        raise InvalidInput(f"output {name!r} has both classification and shared_memory_region; ask for one", field=name)
    _refuse_shared_memory(f"output {name!r}", name, parameters)
    if "classification" not in parameters:
        return 0
    count = parameters["classification"]
    if type(count) is not int or count < 1:
        raise InvalidInput(f"output {name!r} has classification {count!r}; give the number of classes, at least 1", field=name)
    return count


def _refuse_shared_memory(what: str, name: str, parameters: Mapping[str, Value]) -> None:
    region = parameters.get("shared_memory_region")
    if "shared_memory_region" not in parameters and not parameters.keys() & {"shared_memory_byte_size", "shared_memory_offset"}:
        return
    if not isinstance(region, str) or type(parameters.get("shared_memory_byte_size")) is not int:
        raise InvalidInput(
            f"{what} names shared memory without a region and its size, shared_memory_region and shared_memory_byte_size; send "
            "the bytes in the request",
            field=name,
        )
    raise SharedMemoryUnknown(
        f"{what} is in the shared memory region {region[:64]!r}, and this gateway has none; send the bytes in the request",
        field=name,
    )
