"""Why a network does not become an ONNX graph, from what torch and onnx raise: what in the network is to be changed."""

from __future__ import annotations

import re

from avizor_inference.error_text import one_line, shortened

_UNKNOWN = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
_MISSING = re.compile(r"No Op registered for (\w+) with domain_version of (\d+)")
_DATA_DEPENDENT = re.compile("data-dependent|Could not (guard|extract)", re.IGNORECASE)
# As in a traceback: the file, the line, and the code.
_PLACE = re.compile(r'File "([^"]+)", line (\d+), in \w+\n\s*(\S[^\n]*)')


def why_untranslated(error: BaseException) -> str:
    """Of torch.onnx.export: which operator or line of code cannot be translated, and what to do instead."""
    first = _first_cause(error)
    text = str(first)
    if operator := _UNKNOWN.search(text):
        name = operator[1].replace(".", "::")
        return f"ONNX has no operator for {name}; write the layer that calls it with operators of torch"
    if _DATA_DEPENDENT.search(f"{type(first).__name__} {text}"):
        place = _PLACE.search(text)
        where = f"{place[1]}, line {place[2]}: `{place[3].strip()}`" if place else shortened(text)
        return (
            f"its course or its sizes depend on the values of the items ({where}), and one graph has to serve all; compute "
            "both ways and choose by torch.where, item by item"
        )
    return one_line(first)


def why_invalid(error: BaseException) -> str:
    """Of onnx.checker: the operator that its version lacks, or the checker's own words."""
    if operator := _MISSING.search(str(error)):
        return (
            f"{operator[1]} is not an operator of ONNX at version {operator[2]}; write the layer that needs it in another way"
        )
    return str(error)


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
