"""Hold what decides the rows of a job. It is sent to worker processes and written to job.json, so it is plain data."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from avizor_inference.anomaly.p_values import TIE
from avizor_inference.digests import digest_of_json
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import EMBEDDED
from avizor_inference.items.file_access import path_of
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.triton_config import EnginesHere
from avizor_inference.strict_json import Strict


class ChosenModel(Strict):
    """Pins one model of the job to the version, the calibration and the batch size it had when the job began.

    sha256: of model.onnx. manifest_sha256: of manifest.json, which holds labels, thresholds and how items are cut; empty in a
    job of an Avizor that did not note it.
    """

    name: str
    version: int
    sha256: str
    manifest_sha256: str = ""
    calibration_id: str | None = None
    tie: float = Field(default=TIE, description="relative difference from its scores that counts as none")
    batch_size: int = Field(default=32, ge=1, description="windows in one run")
    engine: EnginesHere | None = Field(default=None, description="that the engine `tuned` runs it on")


class PinnedCalibration(Strict):
    """Pins the calibration of one model for the files of a round. tie: see ChosenModel."""

    model: str
    calibration_id: str
    tie: float = TIE


# Size of a shard in MiB. A file of audio that is longer is cut into sections.
SHARD_MIB = 64

# Most files in a shard, and the same in jobs that do not say it: they began before it could grow.
SHARD_FILES, SHARD_FILES_BEFORE = 1024, 256

_TWICE = "{} is within {}, so its files would be counted twice; leave it out"


class JobSettings(Strict):
    """Holds everything that decides what the rows are. Two jobs with equal settings over equal files have equal rows.

    rows_format: ROWS_FORMAT of the version of Avizor that began the job. It has no default, so that a file without it is
    noticed.
    roots: folders, patterns, lists or files, as `file_access.name_of` writes names, spelt as the first command did; `-` for
    standard input. places: where they lead (`root_names.place_of`), which another spelling does not change. contents: what the
    items may be, by their names in CONTENTS.
    """

    rows_format: int
    roots: tuple[str, ...]
    places: tuple[str, ...] = ()
    repository: str
    models: tuple[ChosenModel, ...]
    contents: tuple[str, ...] = ("audio",)
    alpha: float = Field(default=0.01, gt=0, lt=1, description="promised share of false alarms")
    confidence: float | None = Field(default=None, gt=0, lt=1, description="that the calibration keeps alpha; null: on average")
    source_pattern: str = ""
    path_column: str = ""
    source_column: str = ""
    bytes_column: str = ""
    row_columns: tuple[str, ...] = Field(default=(), description="columns of a table that the models take")
    channels: ChannelMode = Field(default="each", description="of sound, for models that take one at a time")
    limit: int | None = Field(default=None, ge=1, description="files of the dataset; null: all")
    shard_mib: int = Field(default=SHARD_MIB, ge=1, description="size of a shard in MiB")
    shard_files: int = Field(default=SHARD_FILES_BEFORE, ge=1, description="most files in a shard")
    top_k: int = Field(default=3, ge=1, description="classes in the column top_k")
    embeddings: bool = Field(default=False, description="whether the column embedding is written")
    reconstructions: str = Field(default="", description="folder for reconstructions, as name_of writes it; empty: none")
    engine: str = EMBEDDED
    device: Device = "config"

    @field_validator("roots")
    @classmethod
    def _no_root_within_another(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        named = [root for root in roots if root != "-"]
        first: dict[Path, str] = {}  # a shell may have given thousands
        for root in named:
            if (path := path_of(root).resolve()) in first:
                raise ValueError(_TWICE.format(root, first[path]))
            first[path] = root
        for path, root in first.items():
            if other := next((first[above] for above in path.parents if above in first), ""):
                raise ValueError(_TWICE.format(root, other))
        return roots

    def engine_of(self, model: ChosenModel) -> str:
        """Return the name of the engine that runs a model of the job."""
        return model.engine or self.engine

    @property
    def digest(self) -> str:
        """Return the digest that identifies the settings, and is in the names of shards.

        It leaves out the digests of manifests, and the files in a shard where they are as ever: jobs that do not have them yet
        go on with the names that they have.
        """
        told = self.model_dump(mode="json", exclude={"models": {"__all__": {"manifest_sha256"}}})
        if self.shard_files == SHARD_FILES_BEFORE:
            del told["shard_files"]
        return digest_of_json(told)
