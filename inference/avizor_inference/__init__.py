"""Run exported models: the model repository, engines, decoding, calibration. No torch, no server.

The names below are what users import. Each loads when it is used: `import avizor_inference` alone is fast.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime's wheels report machine, models and use to their maker, unless this is set before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from avizor_inference.anomaly.calibrate import (
        NormalRecording as NormalRecording,
    )
    from avizor_inference.anomaly.calibrate import (
        calibrate as calibrate,
    )
    from avizor_inference.anomaly.item_score import ItemScore as ItemScore
    from avizor_inference.anomaly.judge import Judge as Judge
    from avizor_inference.anomaly.verdict import (
        Verdict as Verdict,
    )
    from avizor_inference.anomaly.verdict import (
        verdict as verdict,
    )
    from avizor_inference.engines.base import (
        Engine as Engine,
    )
    from avizor_inference.engines.base import (
        InferRequest as InferRequest,
    )
    from avizor_inference.engines.base import (
        ModelSpec as ModelSpec,
    )
    from avizor_inference.engines.embedded import EmbeddedEngine as EmbeddedEngine
    from avizor_inference.engines.open import (
        infer_rows as infer_rows,
    )
    from avizor_inference.engines.open import (
        open_engine as open_engine,
    )
    from avizor_inference.engines.triton import TritonEngine as TritonEngine
    from avizor_inference.errors import (
        AvizorError as AvizorError,
    )
    from avizor_inference.errors import (
        BatchTooLarge as BatchTooLarge,
    )
    from avizor_inference.errors import (
        CalibrationError as CalibrationError,
    )
    from avizor_inference.errors import (
        DeadlineExceeded as DeadlineExceeded,
    )
    from avizor_inference.errors import (
        EngineError as EngineError,
    )
    from avizor_inference.errors import (
        EngineUnavailable as EngineUnavailable,
    )
    from avizor_inference.errors import (
        ExportError as ExportError,
    )
    from avizor_inference.errors import (
        InvalidInput as InvalidInput,
    )
    from avizor_inference.errors import (
        MediaError as MediaError,
    )
    from avizor_inference.errors import (
        ModelNotFound as ModelNotFound,
    )
    from avizor_inference.errors import (
        ParityError as ParityError,
    )
    from avizor_inference.errors import (
        RepositoryError as RepositoryError,
    )
    from avizor_inference.errors import (
        RequestError as RequestError,
    )
    from avizor_inference.errors import (
        SettingsError as SettingsError,
    )
    from avizor_inference.errors import (
        UnknownOutput as UnknownOutput,
    )
    from avizor_inference.errors import (
        VersionRefused as VersionRefused,
    )
    from avizor_inference.items.audio import windows_of as windows_of
    from avizor_inference.items.images import decode_image as decode_image
    from avizor_inference.items.inputs import (
        AudioInput as AudioInput,
    )
    from avizor_inference.items.inputs import (
        CategoryColumn as CategoryColumn,
    )
    from avizor_inference.items.inputs import (
        ImageFrontEnd as ImageFrontEnd,
    )
    from avizor_inference.items.inputs import (
        ImageInput as ImageInput,
    )
    from avizor_inference.items.inputs import (
        InputSpec as InputSpec,
    )
    from avizor_inference.items.inputs import (
        LogMelFrontEnd as LogMelFrontEnd,
    )
    from avizor_inference.items.inputs import (
        NumberColumn as NumberColumn,
    )
    from avizor_inference.items.inputs import (
        TableFrontEnd as TableFrontEnd,
    )
    from avizor_inference.items.inputs import (
        TableInput as TableInput,
    )
    from avizor_inference.items.inputs import (
        TensorInput as TensorInput,
    )
    from avizor_inference.items.kinds.table import encode_row as encode_row
    from avizor_inference.items.sources import SourceRule as SourceRule
    from avizor_inference.items.tensor_spec import TensorSpec as TensorSpec
    from avizor_inference.repository.calibration import Calibration as Calibration
    from avizor_inference.repository.manifest import Manifest as Manifest
    from avizor_inference.repository.models import (
        ModelRepository as ModelRepository,
    )
    from avizor_inference.repository.models import (
        ModelVersion as ModelVersion,
    )

# Where each name lives. A module is imported when one of its names is used for the first time.
_HOMES = {
    "NormalRecording": "avizor_inference.anomaly.calibrate",
    "calibrate": "avizor_inference.anomaly.calibrate",
    "ItemScore": "avizor_inference.anomaly.item_score",
    "Judge": "avizor_inference.anomaly.judge",
    "Verdict": "avizor_inference.anomaly.verdict",
    "verdict": "avizor_inference.anomaly.verdict",
    "Engine": "avizor_inference.engines.base",
    "InferRequest": "avizor_inference.engines.base",
    "ModelSpec": "avizor_inference.engines.base",
    "EmbeddedEngine": "avizor_inference.engines.embedded",
    "infer_rows": "avizor_inference.engines.open",
    "open_engine": "avizor_inference.engines.open",
    "TritonEngine": "avizor_inference.engines.triton",
    "AvizorError": "avizor_inference.errors",
    "BatchTooLarge": "avizor_inference.errors",
    "CalibrationError": "avizor_inference.errors",
    "DeadlineExceeded": "avizor_inference.errors",
    "EngineError": "avizor_inference.errors",
    "EngineUnavailable": "avizor_inference.errors",
    "ExportError": "avizor_inference.errors",
    "InvalidInput": "avizor_inference.errors",
    "MediaError": "avizor_inference.errors",
    "ModelNotFound": "avizor_inference.errors",
    "ParityError": "avizor_inference.errors",
    "RepositoryError": "avizor_inference.errors",
    "RequestError": "avizor_inference.errors",
    "SettingsError": "avizor_inference.errors",
    "UnknownOutput": "avizor_inference.errors",
    "VersionRefused": "avizor_inference.errors",
    "windows_of": "avizor_inference.items.audio",
    "decode_image": "avizor_inference.items.images",
    "AudioInput": "avizor_inference.items.inputs",
    "CategoryColumn": "avizor_inference.items.inputs",
    "ImageFrontEnd": "avizor_inference.items.inputs",
    "ImageInput": "avizor_inference.items.inputs",
    "InputSpec": "avizor_inference.items.inputs",
    "LogMelFrontEnd": "avizor_inference.items.inputs",
    "NumberColumn": "avizor_inference.items.inputs",
    "TableFrontEnd": "avizor_inference.items.inputs",
    "TableInput": "avizor_inference.items.inputs",
    "TensorInput": "avizor_inference.items.inputs",
    "TensorSpec": "avizor_inference.items.tensor_spec",
    "SourceRule": "avizor_inference.items.sources",
    "encode_row": "avizor_inference.items.kinds.table",
    "Calibration": "avizor_inference.repository.calibration",
    "Manifest": "avizor_inference.repository.manifest",
    "ModelRepository": "avizor_inference.repository.models",
    "ModelVersion": "avizor_inference.repository.models",
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
