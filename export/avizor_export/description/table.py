"""Layers as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avizor_export.description.layer import Layer

_WHOLE = "all"
_UNKNOWN = "?"


def layer_table(layers: Sequence[Layer], total: int | None = None) -> list[tuple[str, ...]]:
    """The header first and the totals last. Shares are of all multiply-adds; a question mark is what the graph does not tell.

    total: parameters of the network where they are known; what its layers hold otherwise.
    """
    counted = [layer.multiply_adds for layer in layers if layer.multiply_adds is not None]
    work, is_whole = sum(counted), len(counted) == len(layers)
    numbers = _held(layers) if total is None else total
    rows = [("layer", "kind", "output", "field", "parameters", "multiply-adds", "share")]
    rows += [
        (
            layer.name,
            layer.kind,
            "x".join(str(size) if size else _UNKNOWN for size in layer.output),
            _WHOLE if layer.field is None else "x".join(map(str, layer.field)),
            f"{layer.parameters:,}",
            _UNKNOWN if layer.multiply_adds is None else f"{layer.multiply_adds:,}",
            _UNKNOWN if layer.multiply_adds is None or not is_whole else f"{layer.multiply_adds / (work or 1):.1%}",
        )
        for layer in layers
    ]
    whole = (f"{work:,}", "100.0%") if is_whole else (f"over {work:,}", _UNKNOWN)
    return [*rows, ("total", "", "", "", f"{numbers:,}", *whole)]


def unexplained_parameters(layers: Sequence[Layer], total: int | None) -> str:
    """Why the rows do not add up to the total; empty where they do."""
    held = _held(layers)
    if total is None or held == total:
        return ""
    why = f"export {', and '.join(_causes(layers, total - held))}" if held < total else "buffers are not parameters"
    return f"The layers of the graph hold {held:,} numbers, the network has {total:,} parameters: {why}."


def _causes(layers: Sequence[Layer], missing: int) -> Iterator[str]:
    """What export does that the graph shows; where it shows nothing, what is likely. missing: parameters that no row has."""
    norms = [norm for norm in ("batch norm", "weight norm") if any(layer.norm_inside == norm for layer in layers)]
    again = sum(layer.again for layer in layers)
    if norms:
        yield f"folds {' and '.join(norms)} into the layers they belong to"
    if again:
        yield "stores equal weights once"
    if not norms and missing > again:
        yield "folds batch norms into the layers before them, and leaves out weights that no output needs"


def _held(layers: Sequence[Layer]) -> int:
    return sum(layer.parameters for layer in layers)
