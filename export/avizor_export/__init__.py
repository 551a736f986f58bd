"""Export trained torch networks to a Triton model repository. Only this package imports torch.

The names below are what users import. Each loads when it is used: `import avizor_export` alone does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import avizor_inference  # noqa: F401 - it keeps ONNX Runtime from reporting, and so comes first

if TYPE_CHECKING:
    from avizor_export.architectures.catalogue import (
        ARCHITECTURES as ARCHITECTURES,
    )
    from avizor_export.architectures.catalogue import (
        build as build,
    )
    from avizor_export.architectures.catalogue import (
        build_autoencoder as build_autoencoder,
    )
    from avizor_export.data.item_files import read_recordings as read_recordings
    from avizor_export.data.labelled_items import LabelledItems as LabelledItems
    from avizor_export.data.table_data import read_table as read_table
    from avizor_export.exporter import (
        adopt_model as adopt_model,
    )
    from avizor_export.exporter import (
        export_model as export_model,
    )
    from avizor_export.front_ends.build import build_front_end as build_front_end
    from avizor_export.front_ends.build import fit_constants as fit_constants
    from avizor_export.graph.wrapped import (
        WrappedNetwork as WrappedNetwork,
    )
    from avizor_export.graph.wrapped import (
        wrap as wrap,
    )
    from avizor_export.networks.input_description import parse_input as parse_input
    from avizor_export.report import describe_export as describe_export
    from avizor_export.request import ExportRequest as ExportRequest
    from avizor_inference.anomaly.calibrate import NormalRecording as NormalRecording

# Where each name lives. A module is imported when one of its names is used for the first time.
_HOMES = {
    "ARCHITECTURES": "avizor_export.architectures.catalogue",
    "build": "avizor_export.architectures.catalogue",
    "build_autoencoder": "avizor_export.architectures.catalogue",
    "read_recordings": "avizor_export.data.item_files",
    "LabelledItems": "avizor_export.data.labelled_items",
    "read_table": "avizor_export.data.table_data",
    "adopt_model": "avizor_export.exporter",
    "export_model": "avizor_export.exporter",
    "build_front_end": "avizor_export.front_ends.build",
    "fit_constants": "avizor_export.front_ends.build",
    "WrappedNetwork": "avizor_export.graph.wrapped",
    "wrap": "avizor_export.graph.wrapped",
    "parse_input": "avizor_export.networks.input_description",
    "describe_export": "avizor_export.report",
    "ExportRequest": "avizor_export.request",
    "NormalRecording": "avizor_inference.anomaly.calibrate",
}

__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # or mypy would take any name for one of the face

    def __getattr__(name: str) -> Any:
        """Import a name of the face when it is used for the first time."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return __all__
