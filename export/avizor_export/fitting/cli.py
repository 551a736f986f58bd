"""Define `avizor fit`: from a folder of items to a published model, and the commands that use it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from avizor_export.architectures.names import NAMES
from avizor_export.fitting.folder import MODALITIES, WORDS, Where, modality_of
from avizor_export.fitting.taken_name import check_name_is_free
from avizor_export.model_names import check_name
from avizor_export.progress import show_stages
from avizor_inference.calibration_options import check_columns
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.engines.ort_installed import require_onnxruntime
from avizor_inference.finite_range import FiniteRange
from avizor_inference.items.data.item_files import check_exists
from avizor_inference.items.dataset import Columns
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.models import ModelRepository
from avizor_inference.slow_imports import slow_imports
from avizor_inference.source_options import SOURCE_OPTIONS, DataPath, source_options

_path = click.Path(path_type=Path)
_file = click.Path(path_type=Path, exists=True, dir_okay=False)

_OF_INPUT = ("kind", "input", "sample_rate", "window", "hop", "size", "take", "leave_out")
_GROUPS = {
    "Output": ("name", "models", "improve", "force", "explain", "dry_run"),
    "Data": SOURCE_OPTIONS,
    "Choices about the input (made from the data, unless given)": _OF_INPUT,
    "Classifiers (of items in classes)": ("labels", "architecture", "weights"),
    "Choices about the training (made from the data, unless given)": (
        *("spec", "width", "latent", "local", "steps", "calibration", "folds", "alpha", "seed"),
    ),
}

# Exit code of --improve where the next version is no better, or supports less.
NOTHING_PUBLISHED = 5

_EXAMPLES = """\b
Examples:
  avizor fit recordings/ --name pump
  avizor fit pictures/ --name caps --size 64x64
  avizor fit good-rows.csv --name transfers --leave-out id --source-column account
  avizor fit pictures-by-class/ --labels --name kinds
  avizor fit new-recordings/ --improve pump
"""


class _Size(click.ParamType):  # type: ignore[type-arg]
    """Takes WIDTHxHEIGHT in pixels, and returns height and width."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return height and width. Raises BadParameter."""
        parts = str(value).lower().split("x")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) >= 8 for part in parts):
            raise self.fail(f"{value!r} is no size; write WIDTHxHEIGHT in pixels, at least 8x8, such as 96x64", param, ctx)
        return int(parts[1]), int(parts[0])


@click.command(
    cls=GroupedCommand,
    groups=_GROUPS,
    short_help="Go from a folder of normal items to a calibrated model.",
    epilog=_EXAMPLES,
)
@click.argument("folder", type=DataPath())
@click.option("--name", help="Model name to publish under.")
@click.option("--improve", metavar="NAME", help="Go on from the published model of this name, with the items as new ones.")
@click.option("--force", is_flag=True, help="With --improve: publish also what is no better, or supports less.")
@click.option("--models", type=_path, default=Path("models"), show_default=True, help="Model repository, created if missing.")
@click.option("--explain", metavar="FILE", type=_path, help="Write the Python script that does the same, to keep and change.")
@click.option("--dry-run", is_flag=True, help="Say what would be chosen, and stop there; needs no --name.")
@source_options("FOLDER")
@click.option("--kind", type=click.Choice(MODALITIES), help="What the items are; without it, the suffixes of the files say it.")
@click.option(
    "--input", metavar="DESCRIPTION", help="The whole input, front end included, as `avizor export --input` takes it."
)
@click.option("--sample-rate", metavar="HZ", type=FiniteRange(min=1), help="Of the model (sound, signals).")
@click.option(
    "--window", metavar="SECONDS", type=FiniteRange(min=0, min_open=True), help="Seen at a time; steps without a rate."
)
@click.option("--hop", metavar="SECONDS", type=FiniteRange(min=0, min_open=True), help="From one window to the next.")
@click.option("--size", metavar="WIDTHxHEIGHT", type=_Size(), help="Of images, in pixels.")
@click.option("--take", metavar="COLUMN", multiple=True, help="Column of a table to take, and no others; may be repeated.")
@click.option("--leave-out", metavar="COLUMN", multiple=True, help="Column of a table not to take; may be repeated.")
@click.option("--labels", is_flag=True, help="Fit a classifier: the sub-folders of FOLDER (the sources) are its classes.")
@click.option("--architecture", type=click.Choice(NAMES), help="Of the classifier, instead of a small CNN.")
@click.option("--weights", metavar="FILE", type=_file, help="Weights of torchvision for the architecture, to begin with.")
@click.option("--spec", help='Autoencoder, such as "conv16s2bn conv32s2bn latent16".')
@click.option("--width", metavar="N", type=click.IntRange(min=1), help="Channels of the first layer; the others in proportion.")
@click.option("--latent", metavar="N", type=click.IntRange(min=1), help="Numbers of the latent space.")
@click.option("--local/--no-local", default=None, help="Compare pictures place by place, too, or only as wholes.")
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="Most steps of a training.")
@click.option(
    "--calibration",
    metavar="SHARE",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Share of the items that calibrates, such as 0.3, and is not trained on.",
)
@click.option("--folds", metavar="N", type=click.IntRange(min=0), help="Folds of cross-fitting; 0: hold a share out instead.")
@click.option("--alpha", type=FiniteRange(0, 1, min_open=True, max_open=True), help="For the commands at the end.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed gives the same model.")
@show_stages(least_s=1.0)
def fit(**options: Any) -> None:
    """Fit a model to the normal items in FOLDER, and publish it with a calibration; or a classifier to items in classes.

    FOLDER: recordings, signals, images, with a sub-folder for each source (a machine, a camera); or a table of normal rows; or
    a pattern, a list or a tar of files. At least 30 items. What is chosen is printed, with the reason.

    With --labels the sources are classes, and what is published is a classifier, with its figures on held-out items. With
    --improve the training of a model that was fitted goes on.

    Exit code: 0 done, 1 failed, 2 wrong usage; 5: --improve has published nothing, because the next version would be no better,
    or would support a larger alpha only.
    """
    where, name, models = _where(options), options["name"] or "", options["models"]
    _check(options)
    if options["improve"]:
        ModelRepository(models).served(options["improve"])
    if name:
        check_name(name, models)
    check_exists(where.path)
    click.echo(f"looking at {where.name} ...", err=True)
    if not options["improve"]:
        options["kind"] = options["kind"] or modality_of(where)
        _check_kind(options["kind"])
    if name:
        check_name_is_free(name, models, "classify" if options["labels"] else "reconstruct", options["kind"])
    require_onnxruntime("`avizor fit`")
    with slow_imports():  # of torch: an option or a path that is wrong was told before
        from avizor_export.fitting import command
    if options["improve"]:
        if not command.improve(where, options):
            sys.exit(NOTHING_PUBLISHED)
    elif options["labels"]:
        command.fit_classifier(where, options)
    else:
        command.fit_detector(where, options)


def _where(options: dict[str, Any]) -> Where:
    columns = Columns(options["path_column"], options["source_column"], options["bytes_column"])
    check_columns({"FOLDER": options["folder"]}, columns)
    return Where(options["folder"], SourceRule(options["source_pattern"]), columns, options["channels"], options["limit"])


# Options that have no effect on a classifier, on a detector, and on a model that is gone on from.
_OF_DETECTORS = ("width", "latent", "local", "calibration", "folds", "alpha")
_OF_CLASSIFIERS = ("architecture", "weights")
_CHOSEN_BEFORE = ("name", "labels", *_OF_INPUT, "spec", *_OF_DETECTORS, *_OF_CLASSIFIERS)
_OF_A_FIRST_FIT = ("explain", "dry_run")
_IN_INPUT = _OF_INPUT[2:]  # what a description of the whole input says
# Options that have an effect on some kinds of items alone.
_SERIES = ("audio", "signal")
_KINDS_OF = {
    "sample_rate": _SERIES,
    "window": _SERIES,
    "hop": _SERIES,
    "size": ("image",),
    "local": ("image",),
    "take": ("table",),
    "leave_out": ("table",),
}


def _check(options: dict[str, Any]) -> None:
    """Raise click.UsageError for options without which nothing can be done, or that would have no effect."""
    if options["explain"] and not options["name"] and not options["improve"]:
        raise click.UsageError("--explain: say with --name what the script publishes")
    if not options["dry_run"] and not options["name"] and not options["improve"]:
        raise click.UsageError("say with --name what the model is called, or with --improve which one is gone on from")
    if options["force"] and not options["improve"]:
        raise click.UsageError("--force is for --improve, which publishes nothing that is no better; leave it out")
    if options["folds"] and options["calibration"]:
        raise click.UsageError("--folds uses all items twice, and --calibration holds some out; give one of them")
    if options["input"]:
        _refuse(_IN_INPUT, "is in the description that --input gives; leave one of them out")
    if options["improve"]:
        _refuse(_CHOSEN_BEFORE, "was decided when the model was fitted; leave it out with --improve")
        _refuse(_OF_A_FIRST_FIT, "is for a first fit; leave it out with --improve")
    elif options["labels"]:
        _refuse(_OF_DETECTORS, "is for detectors; leave it out with --labels")
    else:
        _refuse(_OF_CLASSIFIERS, "is for classifiers: give --labels, or leave it out")


def _check_kind(kind: str) -> None:
    """Raise click.UsageError for options that would have no effect on items of this kind."""
    _refuse((name for name, kinds in _KINDS_OF.items() if kind not in kinds), f"has no effect on {WORDS[kind]}; leave it out")


def _refuse(names: Iterable[str], why: str) -> None:
    """Raise click.UsageError if one of these options was given, whatever its value."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} {why}")
