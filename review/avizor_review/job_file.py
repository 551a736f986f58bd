"""Read job.json: what decided the rows of a job, as far as it is needed to look at them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avizor_inference.engines.device import Device
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_inference.items.windows import ChannelMode
from avizor_inference.job_results import JOB_FILE
from avizor_inference.regular_files import read_regular
from avizor_inference.strict_json import validation_message

_NONE_HERE = (
    "{folder} holds no results of `avizor batch` or of a gateway ({why}); give the folder that was its --out, or --keep-flagged"
)


class JobModel(BaseModel):
    """Holds which version of a model a job used, and which calibration its scores were compared with."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    sha256: str = ""
    calibration_id: str | None = None
    engine: str | None = None


class JobFile(BaseModel):
    """Holds what is needed here of a job's settings. What other versions of Avizor add is left aside."""

    model_config = ConfigDict(frozen=True)

    kept: bool = Field(default=False, description="by a gateway, as flagged: its files are in the folder itself")
    roots: tuple[str, ...] = ()
    repository: str = "models"
    models: tuple[JobModel, ...]
    contents: tuple[str, ...] = ("audio",)
    alpha: float = Field(default=0.01, gt=0, lt=1)
    confidence: float | None = Field(default=None, gt=0, lt=1)
    bytes_column: str = ""
    source_column: str = ""
    path_column: str = ""
    row_columns: tuple[str, ...] = ()
    channels: ChannelMode = "each"
    embeddings: bool = False
    engine: str = "ort"
    device: Device = "config"

    @classmethod
    def read(cls, folder: Path) -> JobFile:
        """Read the settings of the job whose results are in a folder. Raises SettingsError if it has none that can be read."""
        path = folder / JOB_FILE
        try:
            return cls.model_validate_json(read_regular(path))
        except FileNotFoundError as error:
            why = f"it has no {JOB_FILE}" if folder.is_dir() else "there is no such folder"
            raise SettingsError(_NONE_HERE.format(folder=folder, why=why)) from error
        except OSError as error:
            raise SettingsError(_NONE_HERE.format(folder=folder, why=f"{path}: {reason(error)}")) from error
        except ValidationError as error:
            raise SettingsError(_NONE_HERE.format(folder=folder, why=f"{path}: {validation_message(error)}")) from error

    def model(self, name: str, version: int | None = None) -> JobModel | None:
        """Return one of the models by its name; None if the job had no such model. version: None for the only or the newest."""
        return next((model for model in self.models if model.name == name and version in (None, model.version)), None)
