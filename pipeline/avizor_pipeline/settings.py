"""What a batch job is asked to do. It crosses to worker processes and is written to job.json, so it is plain data."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from avizor_inference.digests import digest_of
from avizor_inference.embedded import Device
from avizor_inference.engines import EMBEDDED
from avizor_inference.errors import JobError
from avizor_inference.files import path_of
from avizor_inference.strict import Strict, describe

JOB_FILE = "job.json"


class ChosenModel(Strict):
    """One model of the job, pinned to the version, the calibration and the batch size that were there when it began."""

    name: str
    version: int
    sha256: str
    calibration_id: str | None = None
    batch_size: int = Field(default=32, ge=1, description="windows in one run")


class JobSettings(Strict):
    """Everything that decides what the rows are. Two jobs with equal settings over equal files give equal rows."""

    roots: tuple[str, ...]
    repository: str
    models: tuple[ChosenModel, ...]
    alpha: float = Field(default=0.01, gt=0, lt=1, description="promised share of false alarms")
    source_pattern: str = ""
    engine: str = EMBEDDED
    device: Device = "config"

    @field_validator("roots")
    @classmethod
    def _no_root_within_another(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        paths = [path_of(root).resolve() for root in roots]
        for index, path in enumerate(paths):
            for other in paths[:index] + paths[index + 1 :]:
                if path == other or other in path.parents:
                    raise ValueError(f"{roots[index]} lies within {other}: its files would be counted twice")
        return roots

    @property
    def digest(self) -> str:
        """Identifies the settings."""
        return digest_of(self)


def claim_output(out: Path, settings: JobSettings) -> None:
    """Make `out` this job's folder, or find that it is already. Raises JobError if it holds another job's rows."""
    path = out / JOB_FILE
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise JobError(f"{out} is not empty and holds no job of avizor; choose another --out")
        out.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
        return
    try:
        found = JobSettings.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise JobError(f"{path} cannot be read: {describe(error)}; choose another --out") from error
    if found != settings:
        names = [name for name in JobSettings.model_fields if getattr(found, name) != getattr(settings, name)]
        raise JobError(f"{out} holds a job with other {', '.join(names)}; choose another --out, or remove it to start anew")
