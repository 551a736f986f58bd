"""Hold job.json of a folder in which a gateway keeps what it flags."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from avizor_inference.engines.device import Device
from avizor_inference.items.input_spec import CONTENTS
from avizor_inference.strict_json import Strict


class KeptModel(Strict):
    """Names a version that has judged an item, and its calibration."""

    name: str
    version: int
    sha256: str
    calibration_id: str


class KeptJob(Strict):
    """Holds what a job's own job.json has of it. kept: tells both apart. models: the newest version of each first."""

    rows_format: int
    kept: Literal[True] = True
    repository: str
    models: tuple[KeptModel, ...]
    contents: tuple[str, ...] = tuple(CONTENTS)
    alpha: float = Field(gt=0, lt=1)
    confidence: float | None = Field(default=None, gt=0, lt=1)
    engine: str
    device: Device = "config"
