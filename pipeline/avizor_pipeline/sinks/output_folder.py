"""Check a job's output folder: whether it can be used, which job it belongs to, which shards are finished and intact."""

from __future__ import annotations

import errno
import logging
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from avizor_inference.durable_files import is_temporary
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.items.file_access import name_of, path_of
from avizor_inference.items.object_path import ObjectPath
from avizor_inference.job_results import COMMITS, JOB_FILE, ROUNDS, SUMMARY_FILE
from avizor_inference.job_tables import TABLES
from avizor_inference.object_store import is_url
from avizor_inference.review_answers import ANSWERS_FILE
from avizor_inference.strict_json import validation_message
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.lock import LOCK_FILE, job_lock
from avizor_pipeline.sinks.moved_files import take_out
from avizor_pipeline.sinks.output_files import (
    OutputPath,
    each_at_once,
    files_of,
    make_folder,
    problem_of,
    remove,
    remove_files,
    write_whole,
)
from avizor_pipeline.sinks.part_files import Commit, commit_path, find_damage, read_commit, shard_of
from avizor_pipeline.sinks.rounds import round_files, store_round
from avizor_pipeline.sinks.section_files import SECTIONS, FinishedSections, finished_sections, remove_records, section_id
from avizor_pipeline.sinks.write_errors import reading, remedy_of, writing

_log = logging.getLogger(__name__)

# What sums up a finished job, files and folders. It is made anew at the end of each run, and absent while a job runs.
DERIVED_FILES = (SUMMARY_FILE, "q_values.parquet", "regions.parquet", "raven", "audacity", "projection")

# What stays when the job is run again, though no row is in it: maps of embeddings, in which new points are placed, and answers.
_KEPT = ("maps", ANSWERS_FILE)

_OTHER_VERSION = "{out} holds a job that another version of Avizor began: its tables can be read; choose another --out"

# Settings by the names that a user knows.
_OPTIONS = {
    "roots": "datasets",
    "places": "datasets",
    "models": "models, versions of them, or --batch-size",
    "repository": "--models",
    "limit": "--limit",
    "alpha": "--alpha",
    "top_k": "--top-k",
    "shard_mib": "--shard-mib",
    "channels": "--channels",
    "embeddings": "--embeddings",
    "reconstructions": "--reconstructions",
}

# Name of a part.
_PART = re.compile(r"[0-9a-f]{16}(-\d+)?")


class Planned(NamedTuple):
    """Holds what the output folder has to know of a plan; see plan.Plan. rounds: number of those that were there."""

    shards: Mapping[str, int]
    rounds: int
    new: BinaryIO | None = None
    lost: Mapping[str, Sequence[str]] = {}


@dataclass
class Finished:
    """Holds the shards that earlier runs have finished.

    shards: ids of those that are intact. files, dead_letters: of these shards. damage: for each shard that has to be done
    again, what is wrong with its files. outdated: intact shards with files that a later round does again. sections: what is
    done of long files, by their shards. still_held: raises JobError if another job has taken the folder over.
    """

    shards: list[str] = field(default_factory=list)
    files: int = 0
    dead_letters: int = 0
    damage: dict[str, str] = field(default_factory=dict)
    outdated: list[str] = field(default_factory=list)
    sections: dict[str, FinishedSections] = field(default_factory=dict)
    still_held: Callable[[], None] = lambda: None

    @property
    def tasks(self) -> frozenset[str]:
        """Return the ids of finished shards and of finished sections."""
        sections = (section_id(shard, number) for shard, each in self.sections.items() for number in each.done)
        return frozenset((*self.shards, *sections))

    @property
    def files_in_part(self) -> float:
        """Return what is done of long files that are not finished, in files."""
        return sum(len(each.done) / each.of for each in self.sections.values() if each.of)

    def add(self, commit: Commit) -> None:
        """Count an intact shard."""
        self.shards.append(commit.shard)
        self.files += commit.files
        self.dead_letters += commit.dead_letters


def begun_settings(out: OutputPath) -> JobSettings | None:
    """Return the settings of the job that began in this folder; None if there is none that can be read.

    Raises JobError if a store cannot be reached.
    """
    with suppress(SettingsError):  # `examine` and `claimed` report it
        return _settings_of(out)
    return None


def settings_of_job(out: OutputPath) -> JobSettings:
    """Return the settings of the job that began in this folder. Raises JobError if there is none, or a store is away."""
    settings = begun_settings(out)
    if settings is None:
        why = "holds no batch job of this version of Avizor" if out.exists() else "does not exist"
        raise JobError(f"{out} {why}; give the --out of avizor batch")
    return settings


def examine(out: OutputPath, settings: JobSettings, planned: Planned) -> Finished:
    """Make every check of `claimed` without changing anything. Raises SettingsError, JobError."""
    _check_folder(out, settings)
    with job_lock(out, make=False), reading(out):
        return _finished(out, planned)


@contextmanager
def claimed(out: OutputPath, settings: JobSettings, planned: Planned, *, workers_elsewhere: bool = False) -> Iterator[Finished]:
    """Hold `out` for this job: make it if it is missing, lock it, add the new round, remove what earlier runs left unfinished.

    workers_elsewhere: whether the job has workers on other machines.

    Raises SettingsError if it cannot be used or belongs to something else, JobError if another job is running in it or if it
    has shards that are not planned.
    """
    _check_folder(out, settings)
    with writing(out):
        make_folder(out)
    with job_lock(out, workers_elsewhere=workers_elsewhere) as still_held:
        _check_folder(out, settings)  # again: another job may have begun and ended meanwhile
        with reading(out):
            finished = _finished(out, planned)
        finished.still_held = still_held
        with writing(out):
            _begin(out, settings, planned, finished)
        may_be_away = False
        try:
            yield finished
        except BaseException:  # of the store, or a signal, after which nobody waits for a store
            may_be_away = isinstance(out, ObjectPath)
            raise
        finally:
            if not may_be_away:
                with suppress(OSError, JobError):  # the next run does it, too
                    still_held()
                    _clear(out)


def write_job_file(out: OutputPath, settings: JobSettings) -> None:
    """Write job.json, without which nobody can go on with the job. Raises OSError."""
    write_whole(out / JOB_FILE, settings.model_dump_json(indent=2) + "\n")


def _begin(out: OutputPath, settings: JobSettings, planned: Planned, finished: Finished) -> None:
    path = out / JOB_FILE
    if _settings_of(out) is None:
        if path.exists():
            _log.warning("%s was damaged, and is written again; the finished shards are of this job", path)
        write_job_file(out, settings)
    for table in TABLES:
        make_folder(out / table)  # readers find every folder, empty if there are no rows
    for name in DERIVED_FILES:
        remove(out / name)
    if planned.new is not None:
        store_round(out, planned.new, planned.rounds + 1)
    # After the round: a shard that has lost files to it is without rows until it is done again, and none are doubled.
    for shard in tuple(finished.outdated):
        if commit := _without_lost(out, shard, planned):
            finished.outdated.remove(shard)
            finished.add(commit)
    for shard in (*finished.damage, *finished.outdated):
        commit_path(out, shard).unlink()
    if finished.damage:
        first = next(iter(finished.damage.values()))
        _log.warning("%s; the files of damaged shards are done again (%d shards)", first, len(finished.damage))
    remove_records(out, finished.sections)
    _clear(out)


def _without_lost(out: OutputPath, shard: str, planned: Planned) -> Commit | None:
    """Take the files that a shard has lost to a later round out of it; return the commit if it need not be done again."""
    commit, remaining = read_commit(out, shard), planned.shards[shard]
    if isinstance(commit, str) or not take_out(out, commit, planned.lost.get(shard, ()), remaining):
        return None
    taken = read_commit(out, shard)
    return None if isinstance(taken, str) else taken


def _check_folder(out: OutputPath, settings: JobSettings) -> None:
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the name of --out, {name_of(str(out))}, is not UTF-8; choose another one") from error
    if isinstance(out, Path):
        _check_writable(out)
    if not _listed(out):
        return
    if not (out / JOB_FILE).exists():
        raise SettingsError(f"{out} is not empty and holds no job of avizor; choose another --out")
    existing = _settings_of(out)
    if existing is not None and existing != settings:
        names = [name for name in JobSettings.model_fields if getattr(existing, name) != getattr(settings, name)]
        if "rows_format" in names:
            raise SettingsError(_OTHER_VERSION.format(out=out))
        others = ", ".join(dict.fromkeys(f"{_OPTIONS.get(name, name)} ({_brief(getattr(existing, name))})" for name in names))
        advice = f"choose another --out, or remove it to start again{_shown_by_report(out, settings, names)}"
        if "repository" in names and not Path(existing.repository).is_absolute():
            advice = f"run the command in the folder in which the job began, or {advice}"
        if _may_be_of_a_pattern(existing.places, settings.places):
            advice += "; a pattern that the shell resolves names each file: quote it, and files that are new belong to the job"
        raise SettingsError(f"{out} holds a job with other {others}; {advice}")


def _may_be_of_a_pattern(before: Sequence[str], now: Sequence[str]) -> bool:
    """Return whether the datasets that are new or gone may be the files of a pattern that a shell resolved."""
    new, gone = ([path_of(root) for root in {*some} - {*others}] for some, others in ((now, before), (before, now)))
    files = all(root.is_file() for root in new) and not any(is_url(root) or root.is_dir() for root in gone)
    return files and bool(new or gone) and len(before) > 1 and len(now) > 1


def _shown_by_report(out: OutputPath, settings: JobSettings, names: Sequence[str]) -> str:
    """Return the command that a job with another alpha alone is not needed for; "" where there is none.

    p-values are the same at each alpha; with a confidence a report keeps the job's.
    """
    if names != ["alpha"] or settings.confidence is not None or not isinstance(out, Path):
        return ""
    return f"; `avizor report {shlex.quote(str(out))} --alpha {settings.alpha:g}` shows what it flags in that job"


def _brief(value: object) -> str:
    """Return what the job has, as far as it is one value."""
    return "other ones" if isinstance(value, tuple) else str(value)


def _listed(out: OutputPath) -> set[str]:
    """Return the names in the folder, without those that a job leaves that was killed as it began."""
    try:
        names = out.names() if isinstance(out, ObjectPath) else [path.name for path in (out.iterdir() if out.exists() else ())]
    except OSError as error:
        raise SettingsError(f"{out} cannot be read ({reason(error)}); {remedy(error, 'choose another --out')}") from error
    return {name for name in names if name != LOCK_FILE and not is_temporary(Path(name))}


def _settings_of(out: OutputPath) -> JobSettings | None:
    """Return the settings of the job in the folder; None if the file is absent or was lost by the disk.

    Raises SettingsError for a file of another version or of another program, JobError if a store cannot be reached.
    """
    path = out / JOB_FILE
    if problem := problem_of(path):
        raise SettingsError(f"{problem}; choose another --out")
    try:
        return JobSettings.model_validate_json(path.read_bytes() if isinstance(path, Path) else path.read_at_once())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        torn = error.errors()[0]["type"] == "json_invalid"
        if torn and _listed(out) <= {JOB_FILE, ROUNDS, COMMITS, SECTIONS, *DERIVED_FILES, *_KEPT, *TABLES}:
            return None
        if any(detail["loc"] == ("rows_format",) or detail["type"] == "extra_forbidden" for detail in error.errors()):
            raise SettingsError(_OTHER_VERSION.format(out=out)) from error
        raise SettingsError(f"{path} cannot be read: {validation_message(error)}; choose another --out") from error
    except OSError as error:
        kind = SettingsError if isinstance(out, Path) else JobError  # whether there is a job is not known of a store
        what_to_do = remedy(error, "correct that, or choose another --out")
        raise kind(f"{path} cannot be read ({reason(error)}); {what_to_do}") from error


def _check_writable(out: Path) -> None:
    """Raise SettingsError unless new files can be written in the folder, or in the first one above it that exists.

    Leaves no file.
    """
    place = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    below = [place / name for name in (COMMITS, *TABLES)] if place == out else []
    try:
        if not place.is_dir():
            raise SettingsError(f"{place} is not a folder; choose another --out")
        with suppress(FileNotFoundError):
            out.stat()  # finds a name that is too long
        for folder in (place, *filter(Path.is_dir, below)):
            with tempfile.TemporaryFile(dir=folder, prefix=".avizor-", suffix=".tmp", buffering=0) as file:
                file.write(b"\0")
    except OSError as error:
        raise SettingsError(f"{out} cannot be written ({reason(error)}); {_remedy_in(out, error)}") from error


def _remedy_in(out: Path, error: OSError) -> str:
    """Return what to do so that a job can begin in a folder, or go on there."""
    if os.path.exists(out / JOB_FILE):  # noqa: PTH110 - the name may be too long
        return f"{remedy_of(error)}, and run the same command again"
    another = "choose another --out"
    is_of_names = error.errno in (errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG)
    return remedy(error, another) if is_of_names else f"{remedy_of(error, 'make it writable')}, or {another}"


def _finished(out: OutputPath, planned: Planned) -> Finished:
    """Read the commits, and compare every part with its commit.

    Raises JobError if a shard is not one of the planned, OSError.
    """
    if len(round_files(out)) != planned.rounds:
        raise JobError(f"another job has planned files in {out} since this one did; run the same command again")
    finished = Finished()
    for shard, commit in _checked(out):
        if shard not in planned.shards:
            raise JobError(f"{commit_path(out, shard)} is of no round of the job in {out}; remove it, or choose another --out")
        if isinstance(commit, str):
            finished.damage[shard] = commit
        elif commit.files != planned.shards[shard]:
            finished.outdated.append(shard)
        else:
            finished.add(commit)
    unfinished = {shard for shard, files in planned.shards.items() if files} - {*finished.shards}
    finished.sections = finished_sections(out, unfinished)
    return finished


def commits_of(out: OutputPath, shards: Iterable[str]) -> Iterator[Commit]:
    """Yield the commits of shards that are finished. Raises JobError if one is not there any more."""
    for _, commit in each_at_once(out, shards, partial(read_commit, out)):
        if isinstance(commit, str):
            raise JobError(f"{commit} any more; run the same command again")
        yield commit


def _checked(out: OutputPath) -> Iterator[tuple[str, Commit | str]]:
    """Yield the id of each finished shard with its commit, or with what is wrong with it."""
    shards = [path.stem for path in files_of(out / COMMITS, ".json")]
    return each_at_once(out, shards, partial(_commit_or_damage, out))


def _commit_or_damage(out: OutputPath, shard: str) -> Commit | str:
    commit = read_commit(out, shard)
    return commit if isinstance(commit, str) else find_damage(out, commit) or commit


def _clear(out: OutputPath) -> None:
    """Remove unfinished files, and parts of shards and sections that are not finished: their rows do not count."""
    finished = {path.stem for folder in (COMMITS, SECTIONS) for path in files_of(out / folder, ".json")}
    for table in TABLES:
        parts = [part for part in files_of(out / table, ".parquet") if _PART.fullmatch(part.stem)]
        unfinished = [part.name for part in parts if not {part.stem, shard_of(part.stem)} & finished]
        if unfinished:
            remove_files(out / table, unfinished)
    folders = (out, *(out / name for name in (COMMITS, SECTIONS, ROUNDS, *_KEPT, *TABLES))) if isinstance(out, Path) else ()
    for folder in folders:
        for path in filter(is_temporary, folder.iterdir() if folder.is_dir() else ()):
            remove(path)
    if isinstance(out, Path):
        with suppress(OSError):  # it is absent, or holds records
            (out / SECTIONS).rmdir()
