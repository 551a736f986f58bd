"""Run `avizor calibrate`: score normal items through an engine, and store or activate that as a calibration of a version."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from avizor_inference.anomaly.calibrate import calibrate as score_items
from avizor_inference.anomaly.calibration_text import compare_scores, describe_calibration, warning_of_lost_sources
from avizor_inference.anomaly.lower_scores import warning_of_lower_scores
from avizor_inference.calibration_options import (
    check_channels,
    check_columns,
    check_limit,
    check_sources,
    note_fitted,
    warn_of_one_window_recordings,
)
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.engines.base import Engine, engine_kind
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import asked_first, open_engine
from avizor_inference.errors import SettingsError, VersionRefused
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import has_channels
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.windows import ChannelMode
from avizor_inference.model_options import ENGINE_OPTIONS, MODEL_OPTIONS, engine_options, model_options
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.calibration_store import activate as make_active
from avizor_inference.repository.calibration_store import roll_back, store
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.trained_items import Untrained, read_trained
from avizor_inference.review_answers import ANSWERS_FILE, AnswerFile
from avizor_inference.source_options import SOURCE_OPTIONS, DataPath, source_options

_GROUPS = {
    "What to do (one of these)": ("data", "from_review", "activate_id", "rollback"),
    "With --data or --from-review": ("activate",),
    "With --data": SOURCE_OPTIONS,
    "With --from-review": ("answers", "review_sample"),
    "Model and engine": (*MODEL_OPTIONS, *ENGINE_OPTIONS),
}

_EXAMPLES = """\b
Examples:
  avizor calibrate machine-sound --data sounds/calibration --activate
  avizor calibrate machine-sound --data sounds/calibration --engine triton://127.0.0.1:8001
  avizor calibrate machine-sound --from-review results --activate
  avizor calibrate machine-sound --rollback
"""

_KEPT = "a gateway uses it after its next look at the repository, and a batch job that has begun keeps its own"


@click.command(
    cls=GroupedCommand,
    groups=_GROUPS,
    short_help="Make a new calibration for the engine that serves a model.",
    epilog=_EXAMPLES,
    context_settings={"show_default": True},
)
@click.argument("model")
@click.option(
    "--data",
    type=DataPath(),
    help="Normal items not trained on: a folder, a pattern, a list (- is standard input), a tar, .csv, .parquet or .npy.",
)
@click.option(
    "--from-review",
    metavar="RESULTS",
    type=click.Path(path_type=Path),
    help="A finished job, whose flagged items were answered in `avizor review`: all its items but the abnormal ones.",
)
@click.option("--activate-id", metavar="ID", help="Make this stored calibration the active one again.")
@click.option("--rollback", is_flag=True, help="Make the calibration that was active before this one active again.")
@click.option("--activate", is_flag=True, help="Use the new calibration from now on; without it, it is only stored.")
@source_options("--data")
@click.option(
    "--answers",
    metavar="FILE",
    type=click.Path(path_type=Path),
    show_default="RESULTS/answers.jsonl",
    help="The answers that were given.",
)
@click.option(
    "--review-sample",
    metavar="N",
    type=click.IntRange(min=1),
    show_default="all items",
    help="Take a random N of the job's items, so that fewer need answers. `avizor review --review-sample N` shows them.",
)
@model_options
@engine_options
@click.pass_context
def calibrate(
    context: click.Context,
    model: str,
    data: Path | None,
    from_review: Path | None,
    activate_id: str | None,
    rollback: bool,
    activate: bool,
    source_pattern: str,
    path_column: str,
    source_column: str,
    bytes_column: str,
    channels: ChannelMode,
    limit: int | None,
    answers: Path | None,
    review_sample: int | None,
    models: Path,
    version: int | None,
    engine: str,
    device: Device,
) -> None:
    """Calibrate MODEL, an autoencoder, with normal items, through the engine that will serve it.

    A version has one active calibration for each engine class (onnxruntime-cpu, onnxruntime-cuda, tensorrt, openvino) and
    precision. Nothing else of the version changes, and older calibrations stay.
    """
    if sum((data is not None, from_review is not None, activate_id is not None, rollback)) != 1:
        raise click.UsageError("give one of --data, --from-review, --activate-id and --rollback")
    if data is None and from_review is None and activate:
        raise click.UsageError(
            "--activate goes with --data and --from-review; --activate-id makes a stored calibration the active one"
        )
    if from_review is None:
        for value, option in ((answers, "--answers"), (review_sample, "--review-sample")):
            if value is not None:
                raise click.BadParameter("goes with --from-review", param_hint=option)
    columns = Columns(path_column, source_column, bytes_column)
    check_sources(data, "--data", source_pattern, columns)
    given = {"--data": data} if data else {}
    check_columns(given, columns)
    check_limit(given, limit)
    repository = ModelRepository(models)
    chosen = repository.served(model, version)
    if from_review is not None:
        if channels != "each":
            raise click.BadParameter("goes with --data; a reviewed job has channels of its own", param_hint="--channels")
        given_engine = engine if _is_given(context, "engine") else None
        given_device = device if _is_given(context, "device") else None
        calibration = _from_review(repository, chosen, from_review, answers, review_sample, given_engine, given_device)
        _keep(chosen, calibration, models, activate=activate)
        return
    if activate_id is not None:
        _activate(chosen, chosen.calibration(activate_id))
        return
    with open_engine(engine, repository, device=device) as opened, asked_first(engine):
        if data is None:
            kind = engine_kind(opened.spec(chosen.name, chosen.version), chosen)
            click.echo(f"active for {kind}: {roll_back(chosen.folder, kind)} again; {_KEPT}")
            return
        spec = chosen.manifest.input
        check_channels(channels, spec)
        warn_of_one_window_recordings(data, spec)
        recordings = read_recordings(data, spec, SourceRule(source_pattern), columns, channels=channels, first=limit)
        calibration = _scored(opened, chosen, recordings, channels)
    _keep(chosen, calibration, models, activate=activate)


def _scored(engine: Engine, version: ModelVersion, recordings: Iterator[NormalRecording], channels: ChannelMode) -> Calibration:
    """Return a calibration with the items that the version was not trained with, as far as it says so."""
    if (trained := read_trained(version.folder)) is None:
        note_fitted(version.manifest)
        return score_items(engine, version, recordings, channels)
    if has_channels(version.manifest.input) and channels not in _channels_before(version):
        note_fitted(version.manifest)  # other channels are other windows, so that a recording is not known again
    untrained = Untrained(trained)
    calibration = score_items(engine, version, untrained.of(recordings), channels)
    if untrained.left_out:
        of = untrained.left_out + untrained.left
        click.echo(f"{untrained.left_out} of {of} items are left out: the model was trained with them")
    return calibration


def _channels_before(version: ModelVersion) -> set[ChannelMode]:
    """Return which channels the active calibrations are of: that of the fit is one of them. None if they cannot be read."""
    try:
        return {calibration.channels for calibration in version.calibrations()}
    except VersionRefused:
        return set()


def _from_review(
    repository: ModelRepository,
    version: ModelVersion,
    results: Path,
    answers: Path | None,
    size: int | None,
    engine: str | None,
    device: Device | None,
) -> Calibration:
    """Return a calibration from a reviewed job. engine, device: None for those that ran the job."""
    try:
        from avizor_inference.anomaly.reviewed import ReviewedJob, calibration_of, review_of
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"--from-review reads tables with {error.name}, which is not installed; pip install 'avizor[jobs]'"
        ) from error

    job = ReviewedJob.read(results)
    model = job.model(version.name)
    review = review_of(results, version.name, AnswerFile(answers or results / ANSWERS_FILE).answers(), size)
    name = engine or job.engine_of(model)
    with open_engine(name, repository, device=device or job.device) as opened, asked_first(name):
        calibration = calibration_of(opened, version, job, results, review)
    for line in review.lines():
        click.echo(line)
    note_fitted(version.manifest)  # of items in tables it is not known which it trained with
    return calibration


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def _keep(version: ModelVersion, calibration: Calibration, models: Path, *, activate: bool) -> None:
    _describe(version, calibration)
    path = store(version.folder, calibration)
    click.echo(f"stored as {path}")
    if activate:
        _activate(version, calibration)
    else:
        command = f"avizor calibrate {version.name} --activate-id {calibration.id} --models {shlex.quote(str(models))}"
        click.echo(f"not active yet; to use it: {command} --version {version.version}")


def _describe(version: ModelVersion, calibration: Calibration) -> None:
    active = _active(version)
    same_kind = next((each for each in active if each.kind == calibration.kind), None)
    for line in (*describe_calibration(calibration), *compare_scores(calibration, same_kind)):
        click.echo(line)
    earlier = same_kind or next(iter(active), None)
    if earlier:
        for warning in (warning_of_lost_sources(calibration, earlier), warning_of_lower_scores(calibration, earlier)):
            if warning:
                click.echo(warning, err=True)


def _active(version: ModelVersion) -> Sequence[Calibration]:
    """Return the active calibrations; none if they cannot be read."""
    try:
        return version.calibrations()
    except VersionRefused:  # its remedy is to calibrate, which is what is done here
        click.echo(
            "Warning: the active calibration cannot be read, so its scores are not shown beside the new ones; "
            f"`avizor models check {version.name} --models {shlex.quote(str(version.folder.parent.parent))}` says why.",
            err=True,
        )
        return ()


def _activate(version: ModelVersion, calibration: Calibration) -> None:
    make_active(version.folder, calibration)
    click.echo(f"active for {calibration.kind}: {calibration.id}; {_KEPT}")
