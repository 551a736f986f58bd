"""Layers as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from avizor_export.description.layer import Layer

_WHOLE = "all"


def table(layers: Sequence[Layer], total: int | None = None) -> list[tuple[str, ...]]:
    """The header first and the totals last. Shares are of all multiply-adds.

    total: parameters of the network where they are known; what its layers hold otherwise.
    """
    work = sum(layer.multiply_adds for layer in layers) or 1
    numbers = _held(layers) if total is None else total
    rows = [("layer", "kind", "output", "field", "parameters", "multiply-adds", "share")]
    rows += [
        (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.output)),
            _WHOLE if layer.field is None else "x".join(map(str, layer.field)),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            f"{layer.multiply_adds / work:.1%}",
        )
        for layer in layers
    ]
    return [*rows, ("total", "", "", "", f"{numbers:,}", f"{sum(layer.multiply_adds for layer in layers):,}", "100.0%")]


def difference(layers: Sequence[Layer], total: int | None) -> str:
    """Why the rows do not add up to the total; empty where they do."""
    held = _held(layers)
    if total is None or held == total:
        return ""
    return (
        f"The layers of the graph hold {held:,} numbers, the network has {total:,} parameters: export folds batch norms into "
        "the layers before them and stores equal weights once, and buffers are no parameters."
    )


def _held(layers: Sequence[Layer]) -> int:
    return sum(layer.parameters for layer in layers)
