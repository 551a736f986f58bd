"""`avizor tune`: measure how a model is served fastest on this machine, and write that into its config.pbtxt."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from avizor_export.data.item_files import read_recordings
from avizor_export.live_triton.address import check_server, parse_address
from avizor_export.live_triton.temporary_model import temporary_name
from avizor_export.parity.probe_items import random_items
from avizor_export.triton_config.settings import ServingSettings, serving_of
from avizor_export.tuning.candidates import Candidate, Measured, candidate_table, choose
from avizor_export.tuning.measure import (
    ROUNDS,
    Bench,
    Subject,
    embedded_bench,
    measure_candidates,
    sets_instances,
    triton_bench,
)
from avizor_export.tuning.plot import check_picture, plot
from avizor_export.tuning.save import changed_fields, check_writable, tuned, write_tuned
from avizor_export.tuning.search_space import CandidateGroups, Numbers, SearchSpace, embedded_groups, triton_groups
from avizor_inference.arrays import Items
from avizor_inference.engines.embedded import Device
from avizor_inference.engines.open import EMBEDDED
from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import InputSpec
from avizor_inference.items.sources import SourceRule
from avizor_inference.repository.models import ModelRepository, ModelVersion

_path = click.Path(path_type=Path)
_RANDOM_ITEMS = 64
_RECORDINGS = 8
_SAYS_SO = "config.pbtxt says so already"
_Command = Callable[..., Any]


def _numbers(option: str, least: int, help_: str) -> Callable[[_Command], _Command]:
    """An option of whole numbers separated by commas; an empty tuple where it is not given."""

    def parse(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
        parts = value.split(",") if value is not None else []
        if not all(part.strip().isdecimal() and int(part) >= least for part in parts):
            raise click.BadParameter(f"{value!r} is not a list of whole numbers of at least {least}, such as 1,8,32")
        return tuple(sorted({int(part) for part in parts}))

    return click.option(option, callback=parse, metavar="N,N,...", help=help_)


@click.command()
@click.argument("model")
@click.option("--models", type=_path, default=Path("models"), show_default=True, help="Model repository.")
@click.option("--engine", default=EMBEDDED, show_default=True, help="`ort`, embedded, or triton://HOST:PORT.")
@click.option("--max-p99-ms", type=click.FloatRange(min=0, min_open=True), help="The p99 of a call that is still good enough.")
@_numbers("--batch", 0, "Rows of a call; on Triton preferred batch sizes, 0 for none.")
@_numbers("--threads", 0, "Threads for one run; 0 is one a core.")
@_numbers("--instances", 1, "Calls at once on one session; on Triton instances of the model.")
@_numbers("--queue-delay-us", 0, "Triton: how long a request waits for company.")
@_numbers("--clients", 1, "Triton: calls under way at once.")
@click.option("--items", type=_path, help="Real items: a folder of audio, or a file as for export.  [random items]")
@click.option("--device", type=click.Choice(["config", "cpu", "cuda"]), default="config", show_default=True, help="Embedded.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.01, max=3600), default=3.0, show_default=True, help="For each candidate."
)
@click.option("--plot", "picture", type=_path, help="PNG of the trade-off.  [tune-MODEL.png]")
@click.option("--dry-run", is_flag=True, help="Measure and choose, and leave config.pbtxt as it is.")
def tune(
    model: str,
    models: Path,
    engine: str,
    max_p99_ms: float | None,
    batch: Numbers,
    threads: Numbers,
    instances: Numbers,
    queue_delay_us: Numbers,
    clients: Numbers,
    items: Path | None,
    device: Device,
    seconds: float,
    picture: Path | None,
    dry_run: bool,
) -> None:
    """Measure MODEL here, show throughput against p99, and write the best setting into its config.pbtxt.

    Embedded: batch size x threads x calls at once. On a Triton, where the model is loaded under a name of its own for the time:
    instances x queue delay, under several numbers of clients, each with calls of one row.

    Chosen is the highest throughput with a p99 within --max-p99-ms; without a limit, the least p99 among the candidates
    within 5% of the best throughput.
    """
    repository = ModelRepository(models)
    version = repository.version(model)
    version.verify()
    subject = Subject(version, _items(items, version.manifest.input))
    grid, now = SearchSpace(batch, threads, instances, queue_delay_us, clients), serving_of(version.config)
    if engine == EMBEDDED:
        groups, bench = embedded_groups(grid, now), embedded_bench(repository, subject, device)
    else:
        groups, bench = _on_triton(engine, device, grid, now, subject)
    # What cannot be written in the end is not measured.
    tuned(version.config, groups[0][0])
    check_picture(picture := picture or Path(f"tune-{model}.png"))
    if not dry_run:
        check_writable(models, model)
    choice = choose(measured := _measured(groups, bench, seconds, version), max_p99_ms)
    for line in candidate_table(measured, choice.chosen):
        click.echo(line)
    click.echo(f"\nchosen: {choice.chosen.candidate}: {choice.reason}")
    candidate = choice.chosen.candidate
    try:
        if dry_run:
            changed = changed_fields(version.config, tuned(version.config, candidate))
            click.echo(f"config.pbtxt would have: {'; '.join(changed)}" if changed else _SAYS_SO)
        else:
            _write(models, version, candidate)
    finally:  # where writing fails, the picture is what is left of the measurement
        plot(picture, f"{model} on {engine}", measured, choice.chosen, max_p99_ms)
        click.echo(f"plot: {picture}")
    if not sets_instances(version.config, candidate):
        click.echo(
            "its instances stay: calls at once on this CPU say nothing of a server's GPU; measure there with --engine "
            "triton://HOST:PORT, or export with --target cpu"
        )


def _on_triton(
    engine: str, device: Device, grid: SearchSpace, now: ServingSettings, subject: Subject
) -> tuple[CandidateGroups, Bench]:
    """Candidates and bench of a live server, which is asked whether it is there. Raises ExportError."""
    if device != "config":
        raise ExportError("--device is for the embedded engine; a Triton runs a model where its config.pbtxt says (--target)")
    groups = triton_groups(grid, now)
    check_server(address := parse_address(engine))
    name = temporary_name("tune")
    click.echo(f"On Triton at {address} the model is {name} for the time.", err=True)
    return groups, triton_bench(address, subject, name)


def _measured(groups: CandidateGroups, bench: Bench, seconds: float, version: ModelVersion) -> list[Measured]:
    candidates = sum(map(len, groups))
    label = (
        f"{version.name} version {version.version}: {candidates} candidates, {math.ceil(candidates * seconds)} s plus loading"
    )
    with click.progressbar(length=candidates * ROUNDS, label=label, file=sys.stderr) as bar:
        return measure_candidates(groups, bench, seconds, lambda: bar.update(1))


def _write(models: Path, version: ModelVersion, candidate: Candidate) -> None:
    written = write_tuned(models, version, candidate)
    if written.moved:
        click.echo("config.pbtxt was changed by somebody else during this; measured is the model as it was before that")
    if not written.changed:
        click.echo(_SAYS_SO)
        return
    click.echo(f"config.pbtxt: {'; '.join(written.changed)}")
    if written.kept:
        click.echo(f"it had been edited: its other fields stay, and as it was, with its comments, it is {written.kept}")
    click.echo("a Triton that serves the model takes this when it loads it again")


def _items(path: Path | None, spec: InputSpec) -> Items:
    if path is None:
        return random_items(spec, _RANDOM_ITEMS)
    return np.concatenate([recording.windows for recording in islice(read_recordings(path, spec, SourceRule("")), _RECORDINGS)])
