"""Open a figure, and write it as PNG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from avizor_inference.durable_files import write_bytes
from avizor_inference.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches. Raises SettingsError if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # slow to import, and an extra
    except ModuleNotFoundError as error:
        raise SettingsError("pictures need matplotlib, which is not installed; pip install 'avizor[pictures]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: Figure, dpi: int = 100) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def write_png(figure: Figure, path: Path, dpi: int = 100) -> None:
    """Write the figure to a PNG file, whole or not at all. Raises OSError."""
    write_bytes(path, png_of(figure, dpi))
