"""Check a job's output folder: whether it can be used, which job it belongs to, which shards are finished and intact."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from avizor_inference.durable_files import is_temporary, make_folder, write_text
from avizor_inference.error_text import reason
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.items.file_access import name_of
from avizor_inference.strict_json import validation_message
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.lock import LOCK_FILE, job_lock
from avizor_pipeline.sinks.moved_files import take_out
from avizor_pipeline.sinks.part_files import COMMITS, Commit, commit_path, find_damage, read_commit, shard_of
from avizor_pipeline.sinks.rounds import ROUNDS, round_files, store_round
from avizor_pipeline.sinks.section_files import SECTIONS, FinishedSections, finished_sections, remove_records, section_id
from avizor_pipeline.sinks.table_schemas import TABLES
from avizor_pipeline.sinks.write_errors import writing

_log = logging.getLogger(__name__)

JOB_FILE = "job.json"

# What sums up a finished job, files and folders. It is made anew at the end of each run, and absent while a job runs.
SUMMARY_FILE = "summary.json"
DERIVED_FILES = (SUMMARY_FILE, "q_values.parquet", "raven", "audacity")

# Threads that read parts, to compare them with their digests.
_READERS = 4

_OTHER_VERSION = "{out} holds a job that another version of Avizor began: its tables can be read; choose another --out"

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
    done of long files, by their shards.
    """

    shards: list[str] = field(default_factory=list)
    files: int = 0
    dead_letters: int = 0
    damage: dict[str, str] = field(default_factory=dict)
    outdated: list[str] = field(default_factory=list)
    sections: dict[str, FinishedSections] = field(default_factory=dict)

    @property
    def tasks(self) -> frozenset[str]:
        """Return the ids of finished shards and of finished sections."""
        sections = (section_id(shard, number) for shard, each in self.sections.items() for number in each.done)
        return frozenset((*self.shards, *sections))

    @property
    def files_in_part(self) -> float:
        """Return what is done of long files that are not finished, in files."""
        return sum(len(each.done) / each.of for each in self.sections.values())

    def add(self, commit: Commit) -> None:
        """Count an intact shard."""
        self.shards.append(commit.shard)
        self.files += commit.files
        self.dead_letters += commit.dead_letters


def begun_settings(out: Path) -> JobSettings | None:
    """Return the settings of the job that began in this folder; None if there is none that can be read."""
    with suppress(SettingsError):  # `examine` and `claimed` report it
        return _settings_of(out)
    return None


def examine(out: Path, settings: JobSettings, planned: Planned) -> Finished:
    """Make every check of `claimed` without changing anything. Raises SettingsError, JobError."""
    _check_folder(out, settings)
    with job_lock(out, make=False):
        return _finished(out, planned)


@contextmanager
def claimed(out: Path, settings: JobSettings, planned: Planned) -> Iterator[Finished]:
    """Hold `out` for this job: make it if it is missing, lock it, add the new round, remove what earlier runs left unfinished.

    Raises SettingsError if it cannot be used or belongs to something else, JobError if another job is running in it or if it
    has shards that are not planned.
    """
    _check_folder(out, settings)
    with writing(out):
        make_folder(out)
    with job_lock(out):
        _check_folder(out, settings)  # again: another job may have begun and ended meanwhile
        finished = _finished(out, planned)
        with writing(out):
            _begin(out, settings, planned, finished)
        try:
            yield finished
        finally:
            with suppress(OSError):  # the next run does it, too
                _clear(out)


def _begin(out: Path, settings: JobSettings, planned: Planned, finished: Finished) -> None:
    path = out / JOB_FILE
    if _settings_of(out) is None:
        if path.exists():
            _log.warning("%s was damaged, and is written again; the finished shards are of this job", path)
        write_text(path, settings.model_dump_json(indent=2) + "\n")
    for table in TABLES:
        make_folder(out / table)  # readers find every folder, empty if there are no rows
    for name in DERIVED_FILES:
        _remove(out / name)
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


def _without_lost(out: Path, shard: str, planned: Planned) -> Commit | None:
    """Take the files that a shard has lost to a later round out of it; return the commit if it need not be done again."""
    commit, remaining = read_commit(out, shard), planned.shards[shard]
    if isinstance(commit, str) or not take_out(out, commit, planned.lost.get(shard, ()), remaining):
        return None
    taken = read_commit(out, shard)
    return None if isinstance(taken, str) else taken


def _check_folder(out: Path, settings: JobSettings) -> None:
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the name of --out, {name_of(str(out))}, is not UTF-8; choose another one") from error
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
        raise SettingsError(
            f"{out} holds a job with other {', '.join(names)}; choose another --out, or remove it to start again"
        )


def _listed(out: Path) -> set[str]:
    """Return the names in the folder, without those that a job leaves that was killed as it began."""
    try:
        paths = list(out.iterdir()) if out.exists() else []
    except OSError as error:
        raise SettingsError(f"{out} cannot be read ({reason(error)}); choose another --out") from error
    return {path.name for path in paths if path.name != LOCK_FILE and not is_temporary(path)}


def _settings_of(out: Path) -> JobSettings | None:
    """Return the settings of the job in the folder; None if the file is absent or was lost by the disk.

    Raises SettingsError for a file of another version or of another program.
    """
    path = out / JOB_FILE
    if path.exists() and not path.is_file():
        raise SettingsError(f"{path} is not a file; choose another --out")
    try:
        return JobSettings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        torn = error.errors()[0]["type"] == "json_invalid"
        if torn and _listed(out) <= {JOB_FILE, ROUNDS, COMMITS, SECTIONS, *DERIVED_FILES, *TABLES}:
            return None
        if any(detail["loc"] == ("rows_format",) or detail["type"] == "extra_forbidden" for detail in error.errors()):
            raise SettingsError(_OTHER_VERSION.format(out=out)) from error
        raise SettingsError(f"{path} cannot be read: {validation_message(error)}; choose another --out") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({reason(error)}); choose another --out") from error


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
        raise SettingsError(f"{out} cannot be written ({reason(error)}); choose another --out, or make it writable") from error


def _finished(out: Path, planned: Planned) -> Finished:
    """Read the commits, and compare every part with its commit. Raises JobError if a shard is not one of the planned."""
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


def _checked(out: Path) -> Iterator[tuple[str, Commit | str]]:
    """Yield the id of each finished shard with its commit, or with what is wrong with it. Few are in memory at once."""
    ids = iter(sorted(path.stem for path in (out / COMMITS).glob("*.json")))
    pool = ThreadPoolExecutor(_READERS)
    try:
        while group := list(islice(ids, _READERS * 16)):
            yield from zip(group, pool.map(lambda shard: _commit_or_damage(out, shard), group), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _commit_or_damage(out: Path, shard: str) -> Commit | str:
    commit = read_commit(out, shard)
    return commit if isinstance(commit, str) else find_damage(out, commit) or commit


def _clear(out: Path) -> None:
    """Remove unfinished files, and parts of shards and sections that are not finished: their rows do not count."""
    finished = {path.stem for folder in (COMMITS, SECTIONS) for path in (out / folder).glob("*.json")}
    for folder in (out, *(out / name for name in (COMMITS, SECTIONS, ROUNDS, *TABLES))):
        for path in folder.iterdir() if folder.is_dir() else ():
            part = folder.name in TABLES and path.suffix == ".parquet" and _PART.fullmatch(path.stem)
            if is_temporary(path) or (part and not {path.stem, shard_of(path.stem)} & finished):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing if it is absent. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
