"""Pin the models of a job when it begins, and open them in each process."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from avizor_inference.anomaly.engine_calibration import Comparable
from avizor_inference.anomaly.p_values import TIE, Judge
from avizor_inference.engines.base import Engine
from avizor_inference.engines.open_engine import EMBEDDED, open_engine
from avizor_inference.errors import InvalidInput, JobError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content, TensorBytes
from avizor_inference.items.windows import WindowFormat
from avizor_inference.repository.calibration import Calibration, EngineClass
from avizor_inference.repository.calibration_store import calibration_path
from avizor_inference.repository.manifest import MANIFEST_FILE, MODEL_FILE
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import EnginesHere, call_batch_size, preferred_batch_size
from avizor_pipeline.settings import ChosenModel, JobSettings, PinnedCalibration

# Windows in one run of a model whose config.pbtxt names no batch size. With ONNX Runtime on a CPU, what the layers of a small
# network pass on is in the caches with 16 windows, and no longer with 32 (docs/decisions/0088).
DEFAULT_BATCH_SIZE, CPU_BATCH_SIZE = 32, 16

EMBEDDING = "embedding"
RECONSTRUCTION = "reconstruction"

# Names in CONTENTS.
ROW, SIGNAL = "row", "signal"


@dataclass(frozen=True)
class JobModel:
    """Holds one model of the job: which one it is, what it takes, and what its scores are compared with.

    format: how recordings are cut for it; None for a model whose items are one row each. embeds: whether the job wants its
    embedding. reconstructs: whether it wants its reconstruction, as a picture or a sound.
    """

    choice: ChosenModel
    version: ModelVersion
    spec: InputSpec
    format: WindowFormat | None
    calibration: Calibration | None
    embeds: bool = False
    reconstructs: bool = False

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.choice.name

    @property
    def items(self) -> str:
        """Return what its items are called, in the plural: `recordings`, `rows`."""
        return content_of(self.spec).several

    def takes(self, content: Content) -> bool:
        """Return whether an item of the dataset is of the kind that the model takes. Of arrays it is that of its tensor."""
        if isinstance(content, TensorBytes):
            wanted = self.spec.tensor_spec
            return (content.dtype, content.shape) == (wanted.dtype, wanted.item_shape)
        return self.spec.takes(content)

    @property
    def outputs(self) -> list[str]:
        """Return the outputs the job needs: `probabilities` or `score`; then the embedding; the reconstruction last."""
        result = "probabilities" if self.labels else "score"
        return [result, *[EMBEDDING] * self.embeds, *[RECONSTRUCTION] * self.reconstructs]

    def classes_shown(self, top_k: int) -> int:
        """Return the number of classes in the column top_k."""
        return min(top_k, len(self.labels))

    @property
    def embedding_numbers(self) -> int:
        """Return the numbers in the embedding of a row; 0 if the job does not want it."""
        outputs = self.version.manifest.outputs if self.embeds else ()
        return sum(prod(output.item_shape) for output in outputs if output.name == EMBEDDING)

    @property
    def comparable(self) -> Comparable | None:
        """Return what the scores are compared with; None without a calibration."""
        return Comparable(self.calibration, self.choice.tie) if self.calibration else None

    def judged_by(self, pins: Iterable[PinnedCalibration]) -> JobModel:
        """Return the model with the calibration that is pinned for it; as it is if there is none.

        Raises VersionRefused if the calibration is gone.
        """
        for pin in pins:
            if pin.model == self.name:
                choice = self.choice.model_copy(update={"calibration_id": pin.calibration_id, "tie": pin.tie})
                return replace(self, choice=choice, calibration=self.version.calibration(pin.calibration_id))
        return self

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Return a classifier's labels; they are empty for an autoencoder."""
        return self.version.manifest.labels or ()

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds of a multi-label classifier's classes; they are empty for any other model."""
        return self.version.manifest.thresholds


def runs_on_gpu(settings: JobSettings, model: JobModel) -> bool:
    """Return whether a model runs on a GPU of the machine of its worker."""
    if settings.engine_of(model.choice) != EMBEDDED:
        return False
    from avizor_inference.engines import embedded  # it needs ONNX Runtime, which a job on a Triton does without

    return embedded.runs_on_gpu(settings.device, model.version)


def judges_of(models: Iterable[JobModel]) -> dict[str, Judge]:
    """Return a judge for each model that has a calibration, by its name."""
    return {model.name: Judge(*model.comparable) for model in models if model.comparable}


def choose(
    version: ModelVersion,
    found: Comparable | None,
    batch_size: int | None = None,
    engine: EnginesHere | None = None,
    engine_class: EngineClass | None = None,
) -> ChosenModel:
    """Pin a model to a version, a calibration, and a batch size.

    found: the calibration for the scores of the job's engine, if there is one.
    batch_size: windows in one run; None takes what config.pbtxt says, as tuned, or else the largest it prefers, or else 32,
        and 16 where engine_class is ONNX Runtime on a CPU.
    engine: that the engine `tuned` runs it on. Raises VersionRefused.
    """
    default = CPU_BATCH_SIZE if engine_class == "onnxruntime-cpu" else DEFAULT_BATCH_SIZE
    return ChosenModel(
        name=version.name,
        version=version.version,
        sha256=version.manifest.model_sha256,
        manifest_sha256=version.manifest_sha256,
        calibration_id=found.calibration.id if found else None,
        tie=found.tie if found else TIE,
        batch_size=batch_size or call_batch_size(version.config) or preferred_batch_size(version.config) or default,
        engine=engine,
    )


def contents_for(versions: Iterable[ModelVersion]) -> tuple[str, ...]:
    """Return what the items of a job may be, by their names in CONTENTS: `audio`, `image`, `row`, `signal`, `tensor`.

    Raises JobError if the models take the same files for different things.
    """
    contents = {content_of(version.manifest.input).name for version in versions}
    if contents >= {SIGNAL, ROW}:
        raise JobError("a .csv file is a signal for one of the models and rows for another one; run a job for each")
    return tuple(sorted(contents))


def row_columns_for(versions: Iterable[ModelVersion]) -> tuple[str, ...]:
    """Return the columns of a table that the models take, each once."""
    tables = [version.manifest.input for version in versions if content_of(version.manifest.input).name == ROW]
    return tuple(dict.fromkeys(name for spec in tables for name in getattr(spec, "columns", ())))


def content_of(spec: InputSpec) -> type[Content]:
    """Return what an item of a dataset is for a model: a file, a row, or its own tensor."""
    return spec.content or TensorBytes


def open_models(settings: JobSettings) -> list[JobModel]:
    """Read the descriptions of the chosen versions.

    Raises JobError if a model has changed since it was chosen, or if embeddings or reconstructions are wanted and no model has
    them; RepositoryError if one cannot be read.
    """
    repository = ModelRepository(settings.repository)
    versions = [repository.version(choice.name, choice.version) for choice in settings.models]
    embeds = [settings.embeddings and _has(version, EMBEDDING) for version in versions]
    reconstructs = [bool(settings.reconstructions) and _is_shown(version) for version in versions]
    names = ", ".join(choice.name for choice in settings.models)
    if settings.embeddings and not any(embeds):
        raise JobError(
            f"--embeddings: no output 'embedding' of {names}; leave the option out, or export with --embedding LAYER"
        )
    if settings.reconstructions and not any(reconstructs):
        raise JobError(
            f"--reconstructions: no output of {names} is a picture or a sound; leave the option out, or name an autoencoder of "
            "images or of waveforms"
        )
    wanted = zip(versions, settings.models, embeds, reconstructs, strict=True)
    return [replace(_open(version, choice), embeds=embed, reconstructs=each) for version, choice, embed, each in wanted]


def nothing_takes(content: Content, models: Iterable[JobModel]) -> str:
    """Return the message for an item that none of the models takes: an array of another type or shape than their tensors."""
    what = f"{content.dtype}{list(content.shape)}" if isinstance(content, TensorBytes) else content.noun
    wanted = (f"{model.name} takes {model.spec.tensor_spec.dtype}{list(model.spec.tensor_spec.item_shape)}" for model in models)
    return f"the item is {what}; {', '.join(wanted)}"


def open_job_engine(settings: JobSettings) -> Engine:
    """Open the engine of one worker. It uses one thread: there is a worker for each core."""
    engines = {choice.name: choice.engine for choice in settings.models if choice.engine}
    repository = ModelRepository(settings.repository)
    return open_engine(settings.engine, repository, device=settings.device, intra_op_threads=1, engines=engines)


def _has(version: ModelVersion, name: str) -> bool:
    return any(output.name == name for output in version.manifest.outputs)


def _is_shown(version: ModelVersion) -> bool:
    """Return whether the model has a reconstruction that is a picture or a sound."""
    spec = version.manifest.input
    for show in (spec.to_picture, spec.to_samples):
        with suppress(InvalidInput):
            show()
            return _has(version, RECONSTRUCTION)
    return False


def _open(version: ModelVersion, choice: ChosenModel) -> JobModel:
    spec = version.manifest.input
    calibration_id = choice.calibration_id
    if changed := _changed(version, choice):
        raise JobError(
            f"model {choice.name!r} version {choice.version} was changed since the job began: {changed}; put it back, or "
            "choose another --out to start again"
        )
    calibration = version.calibration(calibration_id) if calibration_id else None
    return JobModel(choice, version, spec, spec.window_format(), calibration)


def _changed(version: ModelVersion, choice: ChosenModel) -> str:
    """Return which file of a version is not what the job began with; "" if all are."""
    if version.manifest.model_sha256 != choice.sha256:
        return f"{version.folder} holds another {MODEL_FILE}"
    if choice.manifest_sha256 not in ("", version.manifest_sha256):
        return f"{version.folder / MANIFEST_FILE} is not the same"
    if choice.calibration_id and choice.calibration_id not in version.calibration_ids():
        return f"{calibration_path(version.folder, choice.calibration_id)} is gone"
    return ""
