"""Plan a run before it begins: list the dataset once, and leave out what earlier rounds have planned."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO

from avizor_inference.errors import JobError, SettingsError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.input_spec import CONTENTS
from avizor_inference.items.object_listing import gone_objects
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.object_store import is_url
from avizor_pipeline.known_files import Changes, Found, KnownFiles
from avizor_pipeline.largest_files import LargestFiles
from avizor_pipeline.settings import JobSettings, PinnedCalibration
from avizor_pipeline.sharding import Shard, shards
from avizor_pipeline.sinks.output_files import OutputPath, each_at_once
from avizor_pipeline.sinks.output_folder import Planned
from avizor_pipeline.sinks.part_files import dead_uris
from avizor_pipeline.sinks.rounds import (
    key_of,
    last_calibrations,
    read_calibrations,
    read_round,
    read_states,
    round_files,
    write_round,
)
from avizor_pipeline.sinks.write_errors import writing
from avizor_pipeline.sources.folder import FolderSource
from avizor_pipeline.sources.open_source import open_source
from avizor_pipeline.sources.root_names import RootNames

# Of so many files that the listing does not have any more, a store is asked whether they are gone. A list of new files each day
# leaves out all older ones.
_MOST_ASKED = 500

# A root whose place is a temporary file, which a user does not know.
_SHOWN = {"-": "the list from standard input"}


@dataclass(frozen=True)
class Plan:
    """Holds the size of a job over all its rounds, and the ids of the shards, not their entries.

    files: of a file that holds many items, each item counts as one. packed: number of such files. shards: id -> number of its
    items; 0 if a later round has them all. sections: id -> number of sections, of the shards that are long files. rounds: files
    of the earlier rounds. new: the round that this run adds, not yet in the output folder; None if there is nothing new. moved:
    key -> last round of the files that several rounds have. lost: id of a shard -> uris of its items that later rounds have.
    left_out: what the dataset holds and the job does not read. sources: number of files of each source. kinds: number of files
    that are taken for each kind, by names in CONTENTS. largest: the largest files of each kind. work: id of a shard -> bytes of
    its files.
    """

    files: int
    shards: Mapping[str, int]
    rounds: Sequence[OutputPath] = ()
    new: BinaryIO | None = None
    moved: Mapping[int, int] = field(default_factory=dict)
    lost: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    changes: Changes = field(default_factory=Changes)
    sources: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    packed: int = 0
    largest: Sequence[Entry] = ()
    sections: Mapping[str, int] = field(default_factory=dict)
    work: Mapping[str, int] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Return the number of shards with files, those that are long files counted by their sections."""
        return sum(self.sections.get(id, 1) for id, files in self.shards.items() if files)

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(self.work.values())

    @property
    def noun(self) -> str:
        """Return what `files` counts, in the plural."""
        if not self.packed:
            return "files"
        kinds = {CONTENTS[name].several for name, count in self.kinds.items() if count}
        return kinds.pop() if len(kinds) == 1 else "items"

    @property
    def for_folder(self) -> Planned:
        """Return what the output folder has to know."""
        return Planned(self.shards, len(self.rounds), self.new, self.lost)


def plan_job(
    settings: JobSettings, out: OutputPath | None = None, roots: Sequence[str] | None = None, *, redo: bool = False
) -> Plan:
    """Count the files and shards of a job, and write down in a temporary file which files are new.

    out: output folder with the earlier rounds, if there are any. roots: those of the settings as they are spelt now.
    redo: whether files that have changed since they were planned are done again.

    Raises DatasetError if the dataset cannot be listed, JobError if it is empty, SettingsError if the source pattern matches
    no file.
    """
    listed = roots or settings.roots
    source = open_source(settings.model_copy(update={"roots": tuple(listed)}))
    names, left_out, changes = RootNames(listed, settings.roots), LeftOut(), Changes()
    rounds = round_files(out)
    known = KnownFiles([read_states(file) for file in rounds])
    moved = dict(known.moved)
    changed_packs: set[str] = set()

    def to_do() -> Iterator[Entry]:
        for entry in map(names.name, source.list(left_out)):
            found = known.look(entry)
            if found is Found.NEW and entry.part and entry.part.is_by_number and entry.file in changed_packs:
                found = Found.CHANGED  # it holds items that were in other parts
            if found is Found.NEW:
                changes.new += entry.items
                yield entry
            elif found is Found.CHANGED:
                changes.changed.add(entry.uri)
                if redo:
                    moved[key_of(entry)] = len(rounds) + 1
                    yield entry
                if entry.part:
                    changed_packs.add(entry.file)
            elif found is Found.AGAIN:
                left_out.counts["listed again"] += 1
        if redo and changed_packs:
            for entry in _vanished(rounds, known, changed_packs):
                moved[key_of(entry)] = len(rounds) + 1
                known.look(entry)
                yield entry

    new = written_round(to_do(), last_calibrations(rounds))
    if not settings.limit and known.unseen:  # with a limit a file may only have left the first ones
        _note_missing(rounds, known, changes)
    plan = counted(settings, rounds, new, moved, left_out, changes)
    shown = [_SHOWN.get(root, now) for root, now in zip(settings.roots, listed, strict=True)]
    if not plan.files:
        others = f"; left out: {left_out}" if left_out.counts else ""
        raise JobError(f"no {' or '.join(settings.contents)} files in {', '.join(shown)}{others}; {_taken(settings, source)}")
    if settings.source_pattern and set(plan.sources) == {DEFAULT_SOURCE}:
        raise SettingsError(
            f"--source-pattern {settings.source_pattern!r} matches none of the {plan.files} files; it is searched in their "
            f"paths below {', '.join(shown)}"
        )
    return plan


def written_round(entries: Iterator[Entry], calibrations: Sequence[PinnedCalibration] = ()) -> BinaryIO | None:
    """Return a temporary file that holds these files as a round; None if there are none. Raises JobError.

    calibrations: that judge them, see `Shard`.
    """
    with writing(Path(gettempdir())):
        file = TemporaryFile()  # noqa: SIM115 - it is there as long as the plan
        if write_round(file, entries, calibrations):
            return file
    file.close()
    return None


def counted(
    settings: JobSettings,
    rounds: Sequence[OutputPath],
    new: BinaryIO | None,
    moved: Mapping[int, int],
    left_out: LeftOut | None = None,
    changes: Changes | None = None,
) -> Plan:
    """Return the plan over all rounds. See Plan."""
    files, packed, ids, sources, together = 0, 0, dict[str, int](), Counter[str](), Counter[tuple[str, ...]]()
    source, lost = open_source(settings), dict[str, list[str]]()
    largest, sections, work = LargestFiles(), dict[str, int](), dict[str, int]()
    for shard, gone in _shards(settings, [*rounds, *([new] if new else [])], moved):
        ids[shard.id] = shard.items
        if shard.sections > 1:
            sections[shard.id] = shard.sections
        if gone:
            lost[shard.id] = [item.uri for entry in gone for item in entry.each()]
        files += shard.items
        work[shard.id] = sum(entry.size for entry in shard.entries)
        for entry in shard.entries:
            items = entry.items
            sources[entry.source] += items
            together[of := source.kinds(entry)] += items
            largest.add(of, entry)
            packed += entry.part is not None and entry.part.first == 0
    kinds = Counter[str]()
    for of, items in together.items():
        kinds.update(dict.fromkeys(of, items))
    others = left_out or LeftOut(), changes or Changes(), sources, kinds, packed, largest.entries, sections, work
    return Plan(files, ids, rounds, new, moved, lost, *others)


def plan_retry(settings: JobSettings, out: OutputPath) -> Plan:
    """Plan to do the files of the dead letters again, as they are now. Raises JobError if a round is damaged.

    Of a file that holds many items, the parts with dead letters are done again, and none if the file has changed: the parts may
    not be what they were.
    """
    rounds = round_files(out)
    known = KnownFiles([read_states(file) for file in rounds])
    moved, changes = dict(known.moved), Changes()

    def to_do() -> Iterator[Entry]:
        all_shards = (shard for shard, _ in _shards(settings, rounds, known.moved))
        for shard, dead in each_at_once(out, all_shards, lambda shard: dead_uris(out, shard.id)):
            for entry in shard.entries if dead else ():
                if not (again := sum(item.uri in dead for item in entry.each())):
                    continue
                now = entry.as_it_is()
                if entry.part and now.modified_ns != entry.modified_ns:
                    changes.changed.add(entry.uri)
                else:
                    moved[key_of(entry)] = len(rounds) + 1
                    changes.new += again
                    yield now

    new = written_round(to_do(), last_calibrations(rounds))
    return counted(settings, rounds, new, moved, changes=changes)


def shards_to_come(settings: JobSettings, plan: Plan) -> Iterator[Shard]:
    """Yield the shards of all rounds before the new one is in the output folder."""
    return (shard for shard, _ in _shards(settings, [*plan.rounds, *([plan.new] if plan.new else [])], plan.moved))


def planned_shards(settings: JobSettings, out: OutputPath, plan: Plan) -> Iterator[Shard]:
    """Yield the shards of all rounds, which are in the output folder now."""
    return (shard for shard, _ in _shards(settings, round_files(out), plan.moved))


def _shards(
    settings: JobSettings, rounds: Sequence[OutputPath | BinaryIO], moved: Mapping[int, int]
) -> Iterator[tuple[Shard, Sequence[Entry]]]:
    """Yield the shards, and the files that each has lost to later rounds. The ids are as if it had them still."""
    for number, file in enumerate(rounds, start=1):
        for shard in shards(settings, read_round(file), number, read_calibrations(file)):
            left, gone = list[Entry](), list[Entry]()
            for entry in shard.entries:
                (left if not moved or _is_of(entry, number, moved) else gone).append(entry)
            yield replace(shard, entries=tuple(left)), gone


def _is_of(entry: Entry, number: int, moved: Mapping[int, int]) -> bool:
    return entry.items > 0 and moved.get(key_of(entry), number) == number


def _vanished(rounds: Sequence[OutputPath], known: KnownFiles, changed: Collection[str]) -> Iterator[Entry]:
    """Yield, without items, the parts that earlier rounds have of changed files, and that these files do not have any more."""
    for number, file in enumerate(rounds, start=1):
        for entry in read_round(file):
            if entry.part and entry.file in changed and known.is_unseen(entry, number):
                yield entry._replace(part=entry.part.emptied())


def _taken(settings: JobSettings, source: FolderSource) -> str:
    """Return which files the models take of a folder."""
    models = ", ".join(model.name for model in settings.models)
    files = f"files that end in {', '.join(sorted(source.suffixes))}" if source.suffixes else "no file of a folder"
    return f"{models} {'takes' if len(settings.models) == 1 else 'take'} {files}"


def _note_missing(rounds: Sequence[OutputPath], known: KnownFiles, changes: Changes) -> None:
    """Note which files the listing did not have. Only a few of those in a store are asked for, since each is a request."""
    unseen, objects = known.unseen, list[Entry]()
    for number, file in enumerate(rounds, start=1):
        for entry in read_round(file):
            if known.is_unseen(entry, number):
                if not is_url(entry.file):
                    (changes.unlisted if os.path.lexists(entry.file) else changes.gone).add(entry.uri)
                elif unseen <= _MOST_ASKED:
                    objects.append(entry)
                else:
                    changes.unlisted.add(entry.uri)
    paths = list(dict.fromkeys(entry.path for entry in objects))
    gone = dict(zip(paths, gone_objects(paths), strict=True))
    for entry in objects:
        (changes.gone if gone[entry.path] else changes.unlisted).add(entry.uri)
