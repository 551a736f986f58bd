"""Define `avizor tune`: find the settings that serve a model fastest on this machine, and write them to config.pbtxt."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from avizor_export.live_triton.address import check_server, parse_address
from avizor_export.parity.probe_items import random_items
from avizor_export.triton_config.settings import ServingSettings, serving_of
from avizor_export.tuning.candidates import Candidate, Choice, Measured, candidate_table, choose
from avizor_export.tuning.measure import (
    ROUNDS,
    Bench,
    EmbeddedBench,
    Subject,
    TritonBench,
    measure_candidates,
    sets_instances,
)
from avizor_export.tuning.plot import check_picture, plot
from avizor_export.tuning.save import changed_fields, check_writable, tuned_config, write_tuned
from avizor_export.tuning.search_space import CandidateGroups, Numbers, SearchSpace, embedded_groups, triton_groups
from avizor_inference.anomaly.engine_calibration import find_calibration
from avizor_inference.arrays import Items
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import EMBEDDED, TUNED, engine_options, engines_here, open_engine, runs_here
from avizor_inference.engines.temporary_model import temporary_name
from avizor_inference.errors import CalibrationError, ExportError, VersionRefused
from avizor_inference.finite_range import FiniteRange
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import EnginesHere

_path = click.Path(path_type=Path)
_RANDOM_ITEMS = 64
_RECORDINGS = 8
_ALL = "all"
_ALREADY_SET = "config.pbtxt has these settings already"
_Command = Callable[..., Any]


def _numbers(option: str, minimum: int, help_: str) -> Callable[[_Command], _Command]:
    """Return an option of whole numbers separated by commas; its value is an empty tuple if it is not given."""

    def parse(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
        parts = value.split(",") if value is not None else []
        if not all(part.strip().isdecimal() and int(part) >= minimum for part in parts):
            raise click.BadParameter(f"{value!r} is not a list of whole numbers of at least {minimum}, such as 1,8,32")
        return tuple(sorted({int(part) for part in parts}))

    return click.option(option, callback=parse, metavar="N,N,...", help=help_)


_GROUPS = {
    "Measurement": ("models", "engine", "items", "device", "seconds"),
    "Candidates": ("batch", "threads", "instances", "queue_delay_us", "clients"),
    "Choice": ("max_p99_ms", "picture", "dry_run"),
}

_EXAMPLES = """\b
Examples:
  avizor tune digits --models models --max-p99-ms 20
  avizor tune digits --engine triton://localhost:8001 --clients 1,16 --dry-run
"""


@click.command(
    cls=GroupedCommand,
    short_help="Measure a model here and write its best settings.",
    groups=_GROUPS,
    context_settings={"show_default": True},
    epilog=_EXAMPLES,
)
@click.argument("model")
@click.option("--models", type=_path, default=Path("models"), help="Model repository.")
@click.option(
    "--engine",
    metavar="ENGINE",
    default=_ALL,
    help="`all` that this machine has, or one of `ort`, `openvino` and `openvino:bf16`; or triton://HOST:PORT.",
)
@click.option("--items", type=_path, help="Real items to send: a folder, .csv, .parquet or .npy; else random ones.")
@click.option("--device", type=click.Choice(["config", "cpu", "cuda"]), default="config", help="Device of the engine `ort`.")
@click.option("--seconds", type=FiniteRange(min=0.01, max=3600), default=3.0, help="Seconds of calls for each candidate.")
@_numbers("--batch", 0, "Rows of one call. On Triton: preferred batch sizes, 0 for none.")
@_numbers("--threads", 0, "CPU threads for one run of the model; 0 is one for each core.")
@_numbers("--instances", 1, "Calls at once on one session. On Triton: instances of the model.")
@_numbers("--queue-delay-us", 0, "Triton: how long a request may wait for others to share a batch with (microseconds).")
@_numbers("--clients", 1, "Triton: clients that call at once.")
@click.option("--max-p99-ms", type=FiniteRange(min=0, min_open=True), help="Highest acceptable p99 (milliseconds).")
@click.option("--plot", "picture", type=_path, show_default="tune-MODEL.png", help="PNG file to write, throughput against p99.")
@click.option("--dry-run", is_flag=True, help="Measure and choose, but do not change config.pbtxt.")
def tune(**options: Any) -> None:
    """Measure MODEL here, show throughput against p99, and write the best settings into its config.pbtxt.

    In this process: engine x batch size x threads x calls at once. On a Triton, where the model is loaded temporarily under
    another name: instances x threads x queue delay, under several numbers of clients, each with calls of one row.

    The choice is the highest throughput with a p99 within --max-p99-ms. Without a limit, it is the lowest p99 among the
    candidates within 5% of the best throughput.
    """
    arguments = TuneArguments(**options)
    repository = ModelRepository(arguments.models)
    version = repository.served(arguments.model)
    version.verify()
    subject = Subject(version, _items(arguments.items, version.manifest.input))
    groups, bench = _bench(arguments, repository, subject)
    # Settings that could not be written afterwards are refused before anything is measured.
    for candidate in chain.from_iterable(groups):
        tuned_config(arguments.models, version, version.config, candidate)
    check_picture(arguments.plot_path)
    if not arguments.dry_run:
        check_writable(arguments.models, arguments.model)
    measured = _measure(groups, bench, arguments.seconds, version)
    choice = choose(measured, arguments.max_p99_ms)
    _print_choice(measured, choice)
    try:
        _apply(arguments, version, choice.chosen.candidate)
    finally:  # if writing fails, the plot still shows what was measured
        title = f"{arguments.model} on {arguments.engine}"
        plot(arguments.plot_path, title, measured, choice.chosen, arguments.max_p99_ms)
        click.echo(f"plot: {arguments.plot_path}")
    if (engine := choice.chosen.candidate.engine) not in (None, EMBEDDED):
        click.echo(f"{engine} computes the model where a command has --engine {TUNED}")
        _say_what_its_scores_need(engine, repository, version)
    if not sets_instances(version.config, choice.chosen.candidate):
        click.echo(
            "instance count not changed: calls at once in one process do not tell how many a server's GPU takes; measure there "
            "with --engine triton://HOST:PORT, or export with --target cpu"
        )


def _say_what_its_scores_need(engine_name: str, repository: ModelRepository, version: ModelVersion) -> None:
    """Print how to calibrate an autoencoder where it was calibrated for an engine whose scores are others."""
    if version.manifest.task != "reconstruct":
        return
    with open_engine(engine_name, repository) as engine:
        try:
            find_calibration(engine, version, engine_options(engine_name))
        except CalibrationError as error:
            click.echo(f"there are no verdicts there yet: {error}")


@dataclass(frozen=True)
class TuneArguments:
    """Hold the command line of `avizor tune`: the argument, and one field for each option."""

    model: str
    models: Path
    engine: str
    items: Path | None
    device: Device
    seconds: float
    batch: Numbers
    threads: Numbers
    instances: Numbers
    queue_delay_us: Numbers
    clients: Numbers
    max_p99_ms: float | None
    picture: Path | None
    dry_run: bool

    @property
    def space(self) -> SearchSpace:
        """Return the values to try."""
        return SearchSpace(self.batch, self.threads, self.instances, self.queue_delay_us, self.clients)

    @property
    def plot_path(self) -> Path:
        """Return the path of the plot."""
        return self.picture or Path(f"tune-{self.model}.png")


def _bench(arguments: TuneArguments, repository: ModelRepository, subject: Subject) -> tuple[CandidateGroups, Bench]:
    """Return the candidates, and the bench that measures them. Raises ExportError if no candidate fits."""
    current = serving_of(subject.version.config)
    if arguments.engine == _ALL or runs_here(arguments.engine):
        engines = _engines(arguments, repository)
        on_gpu = [EMBEDDED] if EMBEDDED in engines and _runs_on_gpu(arguments.device, subject.version) else []
        groups = embedded_groups(arguments.space, current, engines, on_gpu)
        return groups, EmbeddedBench(repository, subject, arguments.device)
    return _triton_bench(arguments, current, subject)


def _runs_on_gpu(device: Device, version: ModelVersion) -> bool:
    from avizor_inference.engines.embedded import runs_on_gpu  # needs ONNX Runtime, without which a Triton is tuned

    return runs_on_gpu(device, version)


def _engines(arguments: TuneArguments, repository: ModelRepository) -> list[EnginesHere]:
    """Return the engines to compare: those that were asked for, or all of this machine that can run the model.

    Raises AvizorError for one that was asked for and cannot.
    """
    asked = [engine for engine in get_args(EnginesHere) if engine == arguments.engine]
    if not asked and arguments.engine != _ALL:
        raise ExportError(f"--engine {arguments.engine}: tune measures {', '.join(get_args(EnginesHere))}, or all of them")
    engines: list[EnginesHere] = []
    for name in asked or ([EMBEDDED] if arguments.device == "cuda" else engines_here()):
        device = arguments.device if name == EMBEDDED or asked else "config"
        try:
            with open_engine(name, repository, device=device) as engine:
                engine.spec(arguments.model)
        except VersionRefused as error:
            if asked or name == EMBEDDED:
                raise
            click.echo(f"{name} is left out: {error}", err=True)
        else:
            engines.append(name)
    return engines


def _triton_bench(arguments: TuneArguments, current: ServingSettings, subject: Subject) -> tuple[CandidateGroups, Bench]:
    """Return the candidates, and the bench of a live server. Raises ExportError if no server answers."""
    if arguments.device != "config":
        raise ExportError("--device is for the engine ort; a Triton runs a model where its config.pbtxt says (--target)")
    groups = triton_groups(arguments.space, current)
    check_server(address := parse_address(arguments.engine))
    name = temporary_name("tune")
    click.echo(f"Loaded temporarily on Triton at {address} as {name}.", err=True)
    return groups, TritonBench(address, subject, name)


def _measure(groups: CandidateGroups, bench: Bench, seconds: float, version: ModelVersion) -> list[Measured]:
    """Measure all candidates, with a progress bar on stderr."""
    candidates = sum(map(len, groups))
    label = (
        f"{version.name} version {version.version}: {candidates} candidates, {math.ceil(candidates * seconds)} s plus loading"
    )
    with click.progressbar(length=candidates * ROUNDS, label=label, file=sys.stderr) as bar:
        return measure_candidates(groups, bench, seconds, lambda: bar.update(1))


def _print_choice(measured: list[Measured], choice: Choice) -> None:
    for line in candidate_table(measured, choice.chosen):
        click.echo(line)
    click.echo(f"\nchosen: {choice.chosen.candidate}: {choice.reason}")


def _apply(arguments: TuneArguments, version: ModelVersion, candidate: Candidate) -> None:
    """Write the candidate into config.pbtxt, or with --dry-run print what would change."""
    if not arguments.dry_run:
        _write(arguments.models, version, candidate)
        return
    changed = changed_fields(version.config, tuned_config(arguments.models, version, version.config, candidate))
    click.echo(f"config.pbtxt would have: {'; '.join(changed)}" if changed else _ALREADY_SET)


def _write(models: Path, version: ModelVersion, candidate: Candidate) -> None:
    written = write_tuned(models, version, candidate)
    if written.changed_meanwhile:
        click.echo("config.pbtxt was changed by another process during the measurement, which used the settings from before")
    if not written.changed:
        click.echo(_ALREADY_SET)
        return
    click.echo(f"config.pbtxt: {'; '.join(written.changed)}")
    click.echo("a Triton that serves the model uses this after it loads the model again")


def _items(path: Path | None, spec: InputSpec) -> Items:
    """Return raw items [n, *item_shape]: those of the first recordings at `path`, or random ones if it is None."""
    if path is None:
        return random_items(spec, _RANDOM_ITEMS)
    recordings = islice(read_recordings(path, spec, SourceRule("")), _RECORDINGS)
    return np.concatenate([recording.windows for recording in recordings])
