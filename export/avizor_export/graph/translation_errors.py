"""Explain why a network cannot be translated to ONNX, from the errors of torch and onnx: what to change in the network."""

from __future__ import annotations

import re

from avizor_inference.error_text import one_line, shortened

_UNKNOWN = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
_MISSING = re.compile(r"No Op registered for (\w+) with domain_version of (\d+)")
_DATA_DEPENDENT = re.compile("data-dependent|Could not (guard|extract)", re.IGNORECASE)
# A place in a traceback: the file, the line, and the code.
_PLACE = re.compile(r'File "([^"]+)", line (\d+), in \w+\n\s*(\S[^\n]*)')


def why_untranslated(error: BaseException) -> str:
    """Return which operator or line of code torch.onnx.export cannot translate, and what to do instead."""
    cause = _first_cause(error)
    text = str(cause)
    if operator := _UNKNOWN.search(text):
        name = operator[1].replace(".", "::")
        return f"ONNX has no operator for {name}; write the layer that calls it with operators of torch"
    if _DATA_DEPENDENT.search(f"{type(cause).__name__} {text}"):
        place = _PLACE.search(text)
        where = f"{place[1]}, line {place[2]}: `{place[3].strip()}`" if place else shortened(text)
        return (
            f"its branches or sizes depend on the values of the items ({where}), but one graph has to serve all items; compute "
            "both branches and choose for each item by torch.where"
        )
    return one_line(cause)


def why_invalid(error: BaseException) -> str:
    """Return which operator the ONNX version lacks and what to do, or else the message of onnx.checker."""
    if operator := _MISSING.search(str(error)):
        return (
            f"{operator[1]} is not an operator of ONNX at version {operator[2]}; use other operators in the layer that needs it"
        )
    return str(error)


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
