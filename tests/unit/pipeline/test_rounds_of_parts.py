"""A file that holds many items is planned once as well, however it is spelt; redone, it has the rows that it has now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avizor_inference.items.dataset import Entry
from avizor_pipeline.plan import Plan, plan_job, planned_shards
from avizor_pipeline.reporting.plan_lines import change_lines
from avizor_pipeline.request import JobRequest
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.rounds import store_round


def write_rows(path: Path, count: int, modified_s: int) -> None:
    path.write_text("amount,hour,country\n" + "1,2,ES\n" * count)
    os.utime(path, (modified_s, modified_s))


def next_round(settings: JobSettings, out: Path, root: str, *, redo: bool = False) -> Plan:
    """Plan a run, and store its round."""
    plan = plan_job(settings, out, [root], redo=redo)
    if plan.new:
        out.mkdir(exist_ok=True)
        store_round(out, plan.new, len(plan.rounds) + 1)
    return plan


def planned(settings: JobSettings, out: Path, plan: Plan) -> list[Entry]:
    return [item for shard in planned_shards(settings, out, plan) for entry in shard.entries for item in entry.each()]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of more rows than an entry has."""
    path = tmp_path / "data" / "rows.csv"
    path.parent.mkdir()
    write_rows(path, 9000, 1)
    return path


@pytest.fixture
def settings(table: Path, models: Path) -> JobSettings:
    return JobRequest((str(table),), ("transfers",), models, alpha=0.05).to_settings()


def test_rows_that_were_planned_are_known_again_by_any_path(
    table: Path, settings: JobSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = next_round(settings, out, str(table))
    assert (first.files, first.packed, first.changes.new) == (9000, 1, 9000)
    monkeypatch.chdir(table.parent)
    again = next_round(settings, out, "rows.csv")
    assert (again.files, again.new, again.changes.new) == (9000, None, 0)
    assert list(change_lines(again, redo=False)) == ["no row is new since the last run"]
    items = planned(settings, out, again)
    assert {item.path for item in items} == {table}
    assert [item.uri for item in items] == [f"{table}#{number}" for number in range(9000)]


@pytest.mark.parametrize("count", [10, 5000, 20_000])
def test_a_changed_table_is_left_as_it_is_or_redone_as_a_whole(
    count: int, table: Path, settings: JobSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    next_round(settings, out, str(table))
    write_rows(table, count, 2)
    left = next_round(settings, out, str(table))
    assert (left.files, left.new, left.changes.changed.count > 0) == (9000, None, True)
    redone = next_round(settings, out, str(table), redo=True)
    assert redone.files == count
    assert [item.uri for item in planned(settings, out, redone)] == [f"{table}#{number}" for number in range(count)]
    after = next_round(settings, out, str(table))
    assert (after.files, after.new, after.changes.changed.count) == (count, None, 0)
    assert after.shards == redone.shards
