"""Keep what is done of a long file that is not done as a whole: sections/SHARD-000003.json for its fourth section.

The windows of a section are a part of `windows` under the same name. When all sections of a file are done, the commit record of
its shard takes over their parts, and the records of the sections are removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ConfigDict, ValidationError

from avizor_inference.digests import digest_of
from avizor_inference.items.audio import Level
from avizor_inference.strict_json import Strict
from avizor_pipeline.sinks.output_files import (
    OutputPath,
    check_absent,
    each_at_once,
    files_of,
    make_folder_of,
    remove,
    remove_files,
    sha256_of,
    sync,
    write_whole,
)
from avizor_pipeline.sinks.part_files import part_path, shard_of
from avizor_pipeline.sinks.write_errors import writing

SECTIONS = "sections"

# Number of the sections of a stream, which is known when it has ended.
UNKNOWN = 0


class SectionTotals(Strict):
    """Holds what one model says of a section: the fields of ItemScore and MeanProbabilities.

    level: of the sound in it. is_short: whether the whole sound is shorter than the model's window.
    """

    # A score may be infinite, and so may what is made of it.
    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")

    level: Level
    is_short: bool = False
    windows: int = 0
    largest: float = 0.0
    powers: float = 0.0
    total: tuple[float, ...] = ()


class SectionRecord(Strict):
    """Records a finished section of a long file.

    id: of the section. shard: of the file. number: from 0. of: sections of the file; UNKNOWN of a stream. sha256: of the
    parts, by path below the output folder. models: model -> totals. dead_letter: the row of the file, if the section could not
    be read; it has no parts then. digest: of all of the above, in the file.
    """

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")

    id: str
    shard: str
    number: int
    of: int
    windows: int
    sha256: dict[str, str]
    models: dict[str, SectionTotals]
    dead_letter: dict[str, Any] | None = None
    digest: str = ""

    @property
    def files(self) -> float:
        """Return the share of the file that this is; 0 if it is not known."""
        return 1 / self.of if self.of else 0.0

    @property
    def dead_letters(self) -> int:
        """Return 1 if the section could not be read."""
        return int(self.dead_letter is not None)

    @property
    def own_digest(self) -> str:
        """Return the value that `digest` must have."""
        return digest_of(self.model_copy(update={"digest": ""}))


@dataclass
class FinishedSections:
    """Holds which sections of a long file are done, and the first of these that could not be read.

    of: sections of the file; UNKNOWN of a stream, of which there is what is done.
    """

    of: int
    done: set[int] = field(default_factory=set)
    dead: int | None = None

    def add(self, record: SectionRecord) -> None:
        """Take in a finished section."""
        self.done.add(record.number)
        if record.dead_letter:
            self.dead = record.number if self.dead is None else min(self.dead, record.number)

    @property
    def all(self) -> Sequence[int]:
        """Return the numbers of the sections that the file has."""
        return range(self.of) if self.of else sorted(self.done)

    @property
    def left(self) -> Iterator[int]:
        """Yield the sections to do: those before the first that could not be read, which makes a dead letter of the file.

        What is added meanwhile is taken into account.
        """
        for number in range(self.of):
            if self.dead is not None and number > self.dead:
                return
            if number not in self.done:
                yield number

    @property
    def is_complete(self) -> bool:
        """Return whether the file can be committed."""
        return next(self.left, None) is None


def section_id(shard: str, number: int) -> str:
    """Return the name of a section's files, without their suffix."""
    return f"{shard}-{number:06d}"


def record_path(out: OutputPath, id: str) -> OutputPath:
    """Return the file of a section's record."""
    return out / SECTIONS / f"{id}.json"


def write_record(out: OutputPath, record: SectionRecord) -> None:
    """Make a section count, by one rename. Raises JobError."""
    path = record_path(out, record.id)
    with writing(path):
        make_folder_of(path)
        write_whole(path, record.model_copy(update={"digest": record.own_digest}).model_dump_json() + "\n")


def read_record(out: OutputPath, id: str) -> SectionRecord | None:
    """Return the record of a section; None if there is none, or if it is not what was written.

    Raises JobError if a store does not give one that may be intact.
    """
    path = record_path(out, id)
    try:
        record = SectionRecord.model_validate_json(path.read_bytes())
    except ValidationError:
        return None
    except OSError as error:
        check_absent(path, error)
        return None
    is_right = record.id == id == section_id(record.shard, record.number) and record.digest == record.own_digest
    return record if is_right else None


def finished_sections(out: OutputPath, unfinished: Collection[str]) -> dict[str, FinishedSections]:
    """Return what is done of the shards that are not finished as a whole, by their ids. Damaged sections are not done.

    Raises OSError, and JobError as `read_record` does.
    """
    found: dict[str, FinishedSections] = {}
    ids = [path.stem for path in files_of(out / SECTIONS, ".json") if shard_of(path.stem) in unfinished]
    for _, record in each_at_once(out, ids, partial(_intact_record, out)):
        if record:
            found.setdefault(record.shard, FinishedSections(record.of)).add(record)
    return found


def _intact_record(out: OutputPath, id: str) -> SectionRecord | None:
    record = read_record(out, id)
    return record if record and _is_intact(out, record) else None


def _is_intact(out: OutputPath, record: SectionRecord) -> bool:
    for name, digest in record.sha256.items():
        try:
            if sha256_of(out / name) != digest:
                return False
        except OSError as error:
            check_absent(out / name, error)
            return False
    return True


def remove_records(out: OutputPath, kept: Mapping[str, FinishedSections]) -> None:
    """Remove the records of all other sections: damaged ones, and those of shards that are committed or of no round."""
    wanted = {section_id(shard, number) for shard, sections in kept.items() for number in sections.done}
    if not wanted:
        remove(out / SECTIONS)
        sync(out)
        return
    if others := [path.name for path in files_of(out / SECTIONS, ".json") if path.stem not in wanted]:
        remove_files(out / SECTIONS, others)


def remove_sections(out: OutputPath, shard: str, sections: Sequence[int]) -> None:
    """Remove the records of some sections. The folder stays: a worker may be about to write into it. Raises OSError."""
    remove_files(out / SECTIONS, [record_path(out, section_id(shard, number)).name for number in sections])
    sync(out / SECTIONS)


def remove_parts(out: OutputPath, shard: str, sections: Sequence[int]) -> None:
    """Remove the windows of a file that is a dead letter. Raises OSError."""
    remove_files(out / "windows", [part_path(out, "windows", section_id(shard, number)).name for number in sections])
    sync(out / "windows")
