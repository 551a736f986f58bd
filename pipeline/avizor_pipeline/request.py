"""Take what a person asks of a batch job, and make settings of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from avizor_inference.anomaly.confidence import level_problem
from avizor_inference.anomaly.engine_calibration import check_same_channels, find_calibration
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import EMBEDDED, TUNED, asked_first, engine_options, open_engine
from avizor_inference.engines.tuned import engine_of
from avizor_inference.errors import RepositoryError, SettingsError
from avizor_inference.items.file_access import name_of
from avizor_inference.items.input_spec import has_channels
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.windows import ChannelMode
from avizor_inference.job_results import ROWS_FORMAT
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.strict_json import validation_message
from avizor_pipeline.models import choose, contents_for, row_columns_for
from avizor_pipeline.settings import SHARD_FILES, SHARD_MIB, ChosenModel, JobSettings
from avizor_pipeline.sources.root_names import place_of


@dataclass(frozen=True)
class JobRequest:
    """Holds a batch job as it is asked for.

    datasets: folders, patterns, lists or files. models: names in the repository. engine: see open_engine. alpha:
    promised share of false alarms, 0 to 1. confidence: that each calibration keeps alpha, 0 to 1; None: on average over
    calibrations. source_pattern: regular expression whose first group in a file's path is its source; without one it is the
    first folder of the path. path_column: of CSV and Parquet files that list files. source_column: of these, of tables whose
    rows are the items, or of Parquet files whose column bytes_column holds whole files. channels: of a sound, for models that
    take one at a time. limit: items to read; None: all. batch_size: windows in one run; None takes what each model's config
    says. shard_mib: size of a shard in MiB. top_k: classes in the column top_k. embeddings: whether the column embedding is
    written, of the models that have this output. reconstructions: folder for what autoencoders make of the items; None: they
    are not written.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    repository: Path = Path("models")
    engine: str = EMBEDDED
    alpha: float = 0.01
    confidence: float | None = None
    source_pattern: str = ""
    path_column: str = ""
    source_column: str = ""
    bytes_column: str = ""
    channels: ChannelMode = "each"
    limit: int | None = None
    batch_size: int | None = None
    shard_mib: int = SHARD_MIB
    top_k: int = 3
    embeddings: bool = False
    reconstructions: Path | None = None
    device: Device = "config"

    def to_settings(self, begun: JobSettings | None = None) -> JobSettings:
        """Pin each model to its newest version, and to the calibration for the scores of the engine.

        begun: the settings of the job that is in the output folder: it keeps its versions and calibrations, whatever was
        exported or activated since, and the spelling of its roots. Raises SettingsError, RepositoryError (also if a version of
        the job is gone), JobError, CalibrationError, EngineUnavailable.
        """
        if len(set(self.models)) != len(self.models):
            raise SettingsError("a model is named twice; name each once")
        if problem := level_problem(self.alpha, self.confidence):
            raise SettingsError(f"--{problem[1]}")
        SourceRule(self.source_pattern)
        repository = ModelRepository(self.repository)
        versions = [_version(repository, name, begun) for name in self.models]
        if self.channels != "each" and not any(has_channels(version.manifest.input) for version in versions):
            raise SettingsError("--channels is about sound, for models that take one channel at a time; leave it out")
        roots, places = tuple(map(name_of, self.datasets)), tuple(map(place_of, map(name_of, self.datasets)))
        try:
            return JobSettings(
                rows_format=ROWS_FORMAT,
                roots=begun.roots if begun and begun.places == places else roots,
                places=places,
                repository=self._spelt_as(begun),
                models=self._choices(repository, versions, begun),
                contents=contents_for(versions),
                alpha=self.alpha,
                confidence=self.confidence,
                source_pattern=self.source_pattern,
                path_column=self.path_column,
                source_column=self.source_column,
                bytes_column=self.bytes_column,
                channels=self.channels,
                row_columns=row_columns_for(versions),
                limit=self.limit,
                shard_mib=self.shard_mib,
                shard_files=begun.shard_files if begun else SHARD_FILES,
                top_k=self.top_k,
                embeddings=self.embeddings,
                reconstructions=name_of(str(self.reconstructions)) if self.reconstructions else "",
                engine=self.engine,
                device=self.device,
            )
        except ValidationError as error:
            raise SettingsError(validation_message(error).removeprefix("roots: ")) from error  # no name that users know

    def _spelt_as(self, begun: JobSettings | None) -> str:
        """Return the folder of the models, spelt as the job began with it if that leads to the same one from here."""
        is_same = begun is not None and Path(begun.repository).resolve() == self.repository.resolve()
        return begun.repository if begun and is_same else str(self.repository)

    def _choices(
        self, repository: ModelRepository, versions: Sequence[ModelVersion], begun: JobSettings | None
    ) -> tuple[ChosenModel, ...]:
        options = engine_options(self.engine, self.device)
        choices = []
        with (
            open_engine(self.engine, repository, device=self.device, intra_op_threads=1) as engine,
            asked_first(self.engine),
        ):
            for version in versions:
                if before := _pinned(version.name, begun):
                    choices.append(before.model_copy(update={"batch_size": self.batch_size} if self.batch_size else {}))
                else:
                    found = find_calibration(engine, version, options)
                    if found:
                        check_same_channels(version, found.calibration, self.channels, options)
                    tuned = engine_of(repository, version.name) if self.engine == TUNED else None
                    engine_class = engine.spec(version.name, version.version).engine_class
                    choices.append(choose(version, found, self.batch_size, tuned, engine_class))
        return tuple(choices)


def _pinned(name: str, begun: JobSettings | None) -> ChosenModel | None:
    return next((model for model in begun.models if model.name == name), None) if begun else None


def _version(repository: ModelRepository, name: str, begun: JobSettings | None) -> ModelVersion:
    """Return the version that the job began with, or else the one in force."""
    before = _pinned(name, begun)
    if before is None:
        return repository.served(name)
    try:
        return repository.version(name, before.version)
    except RepositoryError as error:
        raise RepositoryError(
            f"the job began with {name} version {before.version}, which cannot be had ({error}): put it back, or choose "
            "another --out to use the one that is served now"
        ) from error
