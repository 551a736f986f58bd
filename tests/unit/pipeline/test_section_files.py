"""sinks/section_files.py: records of sections keep exact numbers, and count only if they and their parts are as written."""

from __future__ import annotations

from math import inf, isnan, nan
from pathlib import Path

import pytest
from support.object_stores import S3

from avizor_inference.digests import sha256_of_file
from avizor_inference.errors import JobError
from avizor_inference.items.audio import Level
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.sinks.part_files import part_path
from avizor_pipeline.sinks.section_files import (
    FinishedSections,
    SectionRecord,
    SectionTotals,
    finished_sections,
    read_record,
    record_path,
    remove_records,
    remove_sections,
    section_id,
    write_record,
)

SHARD = "0123456789abcdef"


def written(out: Path, number: int, totals: SectionTotals | None = None, dead: bool = False) -> SectionRecord:
    id = section_id(SHARD, number)
    part = Path(str(part_path(out, "windows", id)))
    if not dead:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(id)
    record = SectionRecord(
        id=id,
        shard=SHARD,
        number=number,
        of=4,
        windows=3,
        sha256={} if dead else {f"windows/{part.name}": sha256_of_file(part)},
        models={"normal": totals or SectionTotals(level=Level())},
        dead_letter={"uri": "a.wav"} if dead else None,
    )
    write_record(out, record)
    return record


def test_totals_come_back_exactly_also_those_that_are_not_finite(tmp_path: Path) -> None:
    level = Level(samples=7, beyond=1, peak=1.1, sample_rate=8000, channels=2)
    totals = SectionTotals(level=level, windows=3, largest=inf, powers=0.1 + 0.2, total=(nan, 1 / 3))
    written(tmp_path, 1, totals)
    record = read_record(tmp_path, section_id(SHARD, 1))
    assert record
    found = record.models["normal"]
    assert (found.level, found.windows, found.largest, found.powers) == (level, 3, inf, 0.1 + 0.2)
    assert isnan(found.total[0])
    assert found.total[1] == 1 / 3


@pytest.mark.parametrize("damage", ["record", "part", "no part", "empty"])
def test_a_section_that_is_damaged_is_not_done(tmp_path: Path, damage: str) -> None:
    for number in range(3):
        written(tmp_path, number)
    id = section_id(SHARD, 1)
    path = Path(str(part_path(tmp_path, "windows", id) if "part" in damage else record_path(tmp_path, id)))
    if damage == "no part":
        path.unlink()
    else:
        path.write_text("" if damage == "empty" else path.read_text().replace("3", "4"))
    found = finished_sections(tmp_path, {SHARD})
    assert found[SHARD].done == {0, 2}
    remove_records(tmp_path, found)
    assert sorted(path.stem[-1] for path in (tmp_path / "sections").iterdir()) == ["0", "2"]
    assert finished_sections(tmp_path, set()) == {}
    remove_records(tmp_path, {})
    assert not (tmp_path / "sections").exists()


def test_what_is_left_ends_before_the_first_section_that_cannot_be_read(tmp_path: Path) -> None:
    finished = FinishedSections(of=4)
    left = finished.left
    assert next(left) == 0
    finished.add(written(tmp_path, 2, dead=True))
    assert next(left) == 1
    assert next(left, None) is None
    assert not finished.is_complete
    for number in (0, 1):
        finished.add(written(tmp_path, number))
    finished.add(written(tmp_path, 3, dead=True))
    assert (finished.is_complete, finished.dead) == (True, 2)


@pytest.mark.parametrize("folder", ["sections", "windows"])
def test_a_section_that_a_store_does_not_give_now_is_not_taken_for_damaged(folder: str, s3: S3, tmp_path: Path) -> None:
    for number in range(2):
        written(tmp_path / "run", number)
    out = ObjectPath.parse(s3.put_folder(tmp_path / "run", "run"))
    s3.fault = lambda environ: ("403 Forbidden", b"") if f"/run/{folder}/{SHARD}" in environ["PATH_INFO"] else None
    with pytest.raises(JobError, match=rf"{folder}/.* cannot be read \(the store refuses it .* run the same command again"):
        finished_sections(out, {SHARD})
    s3.fault = None
    assert finished_sections(out, {SHARD})[SHARD].done == {0, 1}
    (out / "windows" / f"{section_id(SHARD, 1)}.parquet").unlink()
    assert finished_sections(out, {SHARD})[SHARD].done == {0}


def test_the_records_of_a_long_file_on_a_store_are_removed_by_one_request(s3: S3, tmp_path: Path) -> None:
    for number in range(40):
        written(tmp_path / "run", number)
    out = ObjectPath.parse(s3.put_folder(tmp_path / "run", "run"))
    s3.requests.clear()
    remove_sections(out, SHARD, range(41))  # the last is absent
    assert len(s3.requests) == 1
    assert (out / "sections").names() == []
