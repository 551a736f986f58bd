"""Prove that a finished job has each row once: what was planned is what is in the tables and the dead letters.

The proof is by shard, because all rows of a file are in the parts of one shard: keys that are unique within the shards, of
files that no two shards have, are unique. So memory is bounded by the few shards that are read at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from avizor_inference import error_text
from avizor_inference.items.dataset import Entry
from avizor_inference.items.file_access import name_of
from avizor_inference.job_results import COMMITS, SUMMARY_FILE
from avizor_inference.job_tables import TABLES
from avizor_inference.strict_json import Strict
from avizor_pipeline.known_files import KnownFiles
from avizor_pipeline.models import content_of, open_models
from avizor_pipeline.plan import counted, planned_shards
from avizor_pipeline.projection.prove import projection_problems
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.lock import job_lock
from avizor_pipeline.sinks.output_files import OutputPath, each_at_once, files_of, read_part
from avizor_pipeline.sinks.output_folder import settings_of_job
from avizor_pipeline.sinks.part_files import Commit, commit_path, find_damage, part_path, read_commit, shard_of
from avizor_pipeline.sinks.rounds import read_states, round_files
from avizor_pipeline.sinks.write_errors import reading
from avizor_pipeline.sources.base import Source
from avizor_pipeline.sources.open_source import open_source

# Problems that are kept in words; all are counted.
_PROBLEMS_KEPT = 100

# What makes a row of `windows` and of `recordings` unique.
_WINDOW_KEY = ["uri", "channel", "start_sample", "model"]
_ITEM_KEY = ["uri", "model"]


class Proof(Strict, frozen=False):
    """Holds what was found. planned, recordings, unread: pairs of a file and a model that takes it."""

    out: str
    files: int = 0
    noun: str = Field(default="files", description="what `files` counts, in the plural")
    planned: int = 0
    recordings: int = 0
    unread: int = Field(default=0, description="pairs whose file is a dead letter")
    windows: int = 0
    dead_letters: int = 0
    parts: int = Field(default=0, description="parts that are, byte for byte, what was written")
    undone: int = Field(default=0, description="shards that are not done; they are one problem together")
    first_undone: str = Field(default="", description="the first of them, with its first file")
    problem_count: int = 0
    problems: list[str] = Field(default_factory=list, description="the first hundred")

    def note(self, problem: str) -> None:
        """Take in a problem."""
        self.problem_count += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(problem)

    def add(self, shard: Proof) -> None:
        """Take in what was found of a shard."""
        self.planned += shard.planned
        self.recordings += shard.recordings
        self.unread += shard.unread
        self.windows += shard.windows
        self.dead_letters += shard.dead_letters
        self.parts += shard.parts
        self.undone += shard.undone
        self.first_undone = self.first_undone or shard.first_undone
        self.problem_count += shard.problem_count
        self.problems += shard.problems[: _PROBLEMS_KEPT - len(self.problems)]


def verify_output(out: OutputPath) -> Proof:
    """Do as `verify_job`, and look whether the command came to its end: its last file is the summary. Raises as it does."""
    proof = verify_job(out)
    if not proof.problem_count and not (out / SUMMARY_FILE).exists():
        proof.note(f"{out / SUMMARY_FILE} is missing: the job was stopped before its end; run the same command again")
    return proof


def verify_job(out: OutputPath) -> Proof:
    """Compare the tables of a job with its rounds, and its parts with their digests.

    Raises JobError if there is no job, if it is running, if a round is damaged, or if a file cannot be read now;
    RepositoryError if models of several kinds are gone.
    """
    settings = settings_of_job(out)
    with job_lock(out, make=False), reading(out):
        rounds = round_files(out)
        moved = KnownFiles([read_states(file) for file in rounds]).moved
        plan = counted(settings, rounds, None, moved)
        proof = Proof(out=name_of(str(out)), files=plan.files, noun=plan.noun)
        takers, source = _takers(settings), open_source(settings)
        planned = (shard for shard in planned_shards(settings, out, plan) if shard.entries)
        for _, found in each_at_once(
            out, planned, lambda shard: _verify_shard(out, shard, _expected(shard.entries, source, takers), plan.noun)
        ):
            proof.add(found)
        if proof.undone:
            proof.note(f"{_undone(proof)}; run the same command again")
        for stray in _strays(out, {shard for shard, files in plan.shards.items() if files}):
            proof.note(stray)
        for problem in projection_problems(out):
            proof.note(problem)
    return proof


def _undone(proof: Proof) -> str:
    """Return which shards are not done. A job that was stopped may have thousands, all for the same reason."""
    if proof.undone == 1:
        return f"shard {proof.first_undone} is not done"
    return f"{proof.undone} shards are not done, the first is {proof.first_undone}"


def _takers(settings: JobSettings) -> Mapping[str, str]:
    """Return model -> the kind that it takes, by its name in CONTENTS."""
    if len(settings.contents) == 1:  # then the models need not be there any more
        return {model.name: settings.contents[0] for model in settings.models}
    return {model.name: content_of(model.spec).name for model in open_models(settings)}


def _expected(entries: Sequence[Entry], source: Source, takers: Mapping[str, str]) -> dict[str, set[str]]:
    """Return uri -> the models that take the file."""
    kinds = {item.uri: source.kinds(entry) for entry in entries for item in entry.each()}
    return {uri: {model for model, kind in takers.items() if kind in kinds[uri]} for uri in kinds}


def _verify_shard(out: OutputPath, shard: Shard, expected: Mapping[str, set[str]], noun: str) -> Proof:
    """Return what was found of a shard. noun: what its items are, in the plural."""
    proof = Proof(out="", planned=sum(map(len, expected.values())))
    if not commit_path(out, shard.id).exists():
        first = shard.entries[0].uri
        files = f"{shard.items} {noun}, the first is {first}" if shard.items > 1 else first
        proof.undone, proof.first_undone = 1, f"{shard.id} ({files})"
        return proof
    commit = read_commit(out, shard.id)
    damage = commit if isinstance(commit, str) else find_damage(out, commit)
    if damage or isinstance(commit, str):
        proof.note(f"{damage}; run the same command again")
        return proof
    proof.parts += len(commit.sha256)
    for problem in _problems(out, commit, expected, proof):
        proof.note(f"shard {shard.id}: {problem}")
    return proof


def _problems(out: OutputPath, commit: Commit, expected: Mapping[str, set[str]], proof: Proof) -> Iterator[str]:
    """Yield what is wrong with the rows of a shard whose parts are intact, and add its rows to the proof."""
    dead = {row["uri"] for row in _rows(out, commit, "dead_letters", ["uri"])}
    windows = {(row["uri"], row["model"]): row["windows"] for row in _rows(out, commit, "recordings", [*_ITEM_KEY, "windows"])}
    unread = {(uri, model) for uri in dead for model in expected.get(uri, ())}
    planned = {(uri, model) for uri, models in expected.items() for model in models}
    proof.recordings += commit.rows["recordings"]
    proof.windows += commit.rows["windows"]
    proof.dead_letters += commit.rows["dead_letters"]
    proof.unread += len(unread)
    if commit.files != len(expected):
        yield f"its record is of {commit.files} files, and {len(expected)} are planned; run the same command again"
    if commit.rows["recordings"] != len(windows):
        yield "recordings/ has a row twice"
    for uri in sorted(dead - expected.keys()):
        yield f"{uri} is a dead letter, and not planned"
    for uri, model in sorted(planned - windows.keys() - unread):
        yield f"{uri} has neither a row of {model} in recordings/ nor a dead letter"
    for uri, model in sorted(windows.keys() - planned):
        yield f"{uri} has a row of {model} in recordings/, and is not planned"
    for uri, model in sorted(windows.keys() & unread):
        yield f"{uri} has a row of {model} in recordings/, and is a dead letter"
    counts = _window_counts(out, commit)
    if counts is None:
        yield "windows/ has a row twice"
    elif wrong := sorted(key for key in counts.keys() | windows.keys() if counts[key] != windows.get(key, 0)):
        uri, model = wrong[0]
        found, by_items = counts[uri, model], windows.get((uri, model), 0)
        yield f"{uri} has {error_text.counted(found, 'row')} of {model} in windows/, and {by_items} by recordings/"


def _rows(out: OutputPath, commit: Commit, table: str, columns: list[str]) -> list[Mapping[str, Any]]:
    if not commit.rows[table]:
        return []
    rows: list[Mapping[str, Any]] = read_part(part_path(out, table, commit.shard), columns).to_pylist()
    return rows


def _window_counts(out: OutputPath, commit: Commit) -> Counter[tuple[str, str]] | None:
    """Return the number of rows by uri and model; None if a row is there twice.

    A long file has several parts, each with later windows than the one before: only one is in memory.
    """
    found, ends = Counter[tuple[str, str]](), dict[tuple[Any, ...], int]()
    for name in sorted(name for name in commit.sha256 if name.startswith("windows/")):
        rows = read_part(out / name, _WINDOW_KEY, dictionaries=["uri", "model"])
        rows = rows.unify_dictionaries()  # each row group has some
        if len(rows.group_by(_WINDOW_KEY).aggregate([])) != len(rows):
            return None
        wanted = [([], "count_all"), ("start_sample", "min"), ("start_sample", "max")]
        groups = rows.group_by([*_ITEM_KEY, "channel"]).aggregate(wanted)
        columns = [pc.cast(groups[name], pa.string()).to_pylist() for name in _ITEM_KEY]
        columns += [groups[name].to_pylist() for name in ("channel", "count_all", "start_sample_min", "start_sample_max")]
        for uri, model, channel, count, first, last in zip(*columns, strict=True):
            if first is not None and first <= ends.get((uri, model, channel), -1):
                return None
            ends[uri, model, channel] = last
            found[uri, model] += count
    return found


def _strays(out: OutputPath, planned: set[str]) -> Iterator[str]:
    """Yield the files that a reader of whole folders would take for rows of the job, and that are of no shard."""
    commits = files_of(out / COMMITS, ".json")
    finished = planned & {path.stem for path in commits}
    for table in TABLES:
        for path in files_of(out / table, ".parquet"):
            if "-" in path.stem and shard_of(path.stem) in planned - finished:
                yield f"{path} is of a long file that is not finished; run the same command again"
            elif shard_of(path.stem) not in finished:
                yield f"{path} is of no finished shard; run the same command again, or remove it"
            elif (parts := _section_parts(out, path)) is not None and f"{table}/{path.name}" not in parts:
                yield f"{path} is not of its shard; remove it"
    for path in commits:
        if path.stem not in planned:
            yield f"{path} is of no planned shard; remove it, and its parts"


def _section_parts(out: OutputPath, path: OutputPath) -> Collection[str] | None:
    """Return the parts of the shard that a section's part belongs to; None for any other part, or if the record is damaged."""
    commit = read_commit(out, shard_of(path.stem)) if "-" in path.stem else ""
    return None if isinstance(commit, str) else commit.sha256
