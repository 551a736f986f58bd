"""Format layers as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avizor_export.description.layer import Layer

_WHOLE = "all"
_UNKNOWN = "?"


def layer_table(layers: Sequence[Layer], total: int | None = None) -> list[tuple[str, ...]]:
    """Return the rows of the table: a header, the layers, the totals. A question mark is a number that the graph does not show.

    total: parameters of the network; if None, those of the layers are added up. Shares are of all multiply-adds.
    """
    counted = [layer.multiply_adds for layer in layers if layer.multiply_adds is not None]
    multiply_adds, is_complete = sum(counted), len(counted) == len(layers)
    parameters = _parameters(layers) if total is None else total
    rows = [("layer", "kind", "output", "field", "parameters", "multiply-adds", "share")]
    rows += [
        (
            layer.name,
            layer.kind,
            "x".join(str(size) if size else _UNKNOWN for size in layer.output),
            _WHOLE if layer.field is None else "x".join(map(str, layer.field)),
            f"{layer.parameters:,}",
            _UNKNOWN if layer.multiply_adds is None else f"{layer.multiply_adds:,}",
            _UNKNOWN if layer.multiply_adds is None or not is_complete else f"{layer.multiply_adds / (multiply_adds or 1):.1%}",
        )
        for layer in layers
    ]
    totals = (f"{multiply_adds:,}", "100.0%") if is_complete else (f"over {multiply_adds:,}", _UNKNOWN)
    return [*rows, ("total", "", "", "", f"{parameters:,}", *totals)]


def unexplained_parameters(layers: Sequence[Layer], total: int | None) -> str:
    """Return a sentence on why the rows do not add up to the total; empty if they do, or if it is not known."""
    counted = _parameters(layers)
    if total is None or counted == total:
        return ""
    if counted > total:
        reason = "buffers are not parameters"
    else:
        reason = f"export {', and '.join(_changes_by_export(layers, total - counted))}"
    return f"The layers of the graph have {counted:,} numbers, the network has {total:,} parameters: {reason}."


def _changes_by_export(layers: Sequence[Layer], missing: int) -> Iterator[str]:
    """Yield what export did to the weights, as far as the graph shows it, else what is likely.

    missing: parameters of the network that no row has.
    """
    norms = [norm for norm in ("batch norm", "weight norm") if any(layer.norm_inside == norm for layer in layers)]
    again = sum(layer.again for layer in layers)
    if norms:
        yield f"folds {' and '.join(norms)} into the layers they belong to"
    if again:
        yield "stores equal weights once"
    if not norms and missing > again:
        yield "folds batch norms into the layers before them, and leaves out weights that no output needs"


def _parameters(layers: Sequence[Layer]) -> int:
    return sum(layer.parameters for layer in layers)
