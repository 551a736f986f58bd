"""plan.py, known_files.py, sinks/rounds.py: each run plans what is new, however its paths are spelt."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from unit.pipeline.jobs import entry, settings

from avizor_inference.errors import DatasetError, JobError
from avizor_inference.items.dataset import Entry, Part
from avizor_pipeline.known_files import Found, KnownFiles
from avizor_pipeline.plan import Plan, plan_job, planned_shards
from avizor_pipeline.reporting.plan_lines import change_lines
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_folder import claimed
from avizor_pipeline.sinks.rounds import States, _in_order, _path, key_of, read_round, round_files, write_round
from avizor_pipeline.sources.root_names import RootNames, place_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a/1.wav", "a/2.wav", "b/1.wav"):
        write(tmp_path / "data" / name)
    return tmp_path / "data"


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(job: JobSettings, out: Path, *roots: str, redo: bool = False) -> Plan:
    """Plan a run and begin it, as if it were killed before its first shard."""
    plan = plan_job(job, out, roots or None, redo=redo)
    with claimed(out, job, plan.for_folder):
        return plan


def uris(job: JobSettings, out: Path, plan: Plan) -> list[list[str]]:
    return [[Path(entry.uri).name for entry in shard.entries] for shard in planned_shards(job, out, plan)]


def test_a_run_plans_what_no_earlier_one_has_planned(data: Path, tmp_path: Path) -> None:
    job, out = settings(data), tmp_path / "out"
    first = run(job, out)
    assert (first.files, first.changes.new) == (3, 3)
    kept = [path.read_bytes() for path in round_files(out)]
    same = run(job, out)
    assert (same.new, same.files, same.shards) == (None, 3, first.shards)
    write(data / "a" / "0.wav")
    more = run(job, out)
    assert (more.files, more.changes.new) == (4, 1)
    assert uris(job, out, more) == [["1.wav", "2.wav", "1.wav"], ["0.wav"]]
    assert first.shards.items() <= more.shards.items()
    assert [path.read_bytes() for path in round_files(out)][:1] == kept
    assert list(change_lines(more, redo=False)) == ["1 file is new since the last run"]


def test_a_file_is_the_same_however_its_path_is_spelt(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(data)
    job, out = settings(Path("data")), tmp_path / "out"
    run(job, out)
    write(data / "b" / "2.wav")
    for spelt in ("data/", "./data", str(data), "link", "data/../data"):
        assert place_of(spelt) == place_of("data")
        plan = plan_job(job, out, [spelt])
        assert (plan.files, plan.changes.new) == (4, 1), spelt
        assert plan.new is not None
        assert [each.uri for each in read_round(plan.new)] == ["data/b/2.wav"]  # as the first command spelt it
    monkeypatch.chdir(data)
    assert place_of(".") == place_of(str(data))
    assert plan_job(job, out, ["."]).changes.new == 1


def test_a_file_that_is_listed_in_two_spellings_is_planned_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "list.txt").write_text(f"data/a/1.wav\n./data/a/../a/1.wav\n{data}/a/1.wav\nlink/a/1.wav\n")
    plan = plan_job(settings(tmp_path / "list.txt"), tmp_path / "out")
    assert (plan.files, dict(plan.left_out.counts)) == (1, {"listed again": 3})
    both = plan_job(settings(Path("data/a/*.wav"), Path("data/*/1.wav")), tmp_path / "out")
    assert (both.files, both.left_out.counts["listed again"]) == (3, 1)


def test_links_within_a_folder_are_items_of_their_own(data: Path, tmp_path: Path) -> None:
    (data / "c").symlink_to(data / "a")
    assert plan_job(settings(data), tmp_path / "out").files == 5


@pytest.mark.parametrize("to", ["nothing", "b/1.wav", "one.txt"])
def test_a_link_among_named_files_is_the_same_file_of_the_same_job_when_it_leads_elsewhere(
    data: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    link, names = data / "a" / "3.wav", ["a/1.wav", "a/3.wav"]
    link.symlink_to(data / to)
    write(data / "one.txt", "x")
    (data / "b" / "link.txt").symlink_to(data / "one.txt")
    job = settings(*map(Path, names))
    before = [place_of(name) for name in (*names, "b/link.txt")]
    assert run(job, tmp_path / "out").files == 2
    link.unlink()
    write(link, "another text")
    (data / "b" / "link.txt").unlink()
    (data / "b" / "link.txt").symlink_to(data / "two.txt")
    assert [place_of(name) for name in (*names, "b/link.txt")] == before
    plan = plan_job(job, tmp_path / "out")
    changes = plan.changes
    assert (plan.files, changes.new, changes.changed.count, changes.gone.count, changes.unlisted.count) == (2, 0, 1, 0, 0)


def test_a_dataset_that_cannot_be_looked_at_is_one_that_cannot_be_listed(tmp_path: Path) -> None:
    name = tmp_path / ("x" * 300)
    assert place_of(str(name)) == str(name)
    with pytest.raises(DatasetError, match=r"x: cannot be listed \(File name too long\)"):
        plan_job(settings(name), tmp_path / "out")


def test_roots_keep_their_spelling_and_files_get_their_one_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    for given, first, path, uri in (
        (".", "in", "a/1.wav", "in/a/1.wav"),
        ("x", ".", "x/1.wav", "1.wav"),
        ("x/*.wav", "in/*.wav", "x/1.wav", "in/1.wav"),
        ("1.wav", "./1.wav", "1.wav", "1.wav"),
        (os.fsdecode(b"\xff"), os.fsdecode(b"\xfe"), os.fsdecode(b"\xff/1.wav"), "bytes:%FE/1.wav"),
    ):
        named = RootNames([given], [first]).name(entry(path))
        assert (named.uri, named.path) == (uri, tmp_path / path)


def test_changed_files_are_named_and_left_or_done_again_in_a_later_round(data: Path, tmp_path: Path) -> None:
    job, out = settings(data), tmp_path / "out"
    run(job, out)
    write(data / "a" / "2.wav", "longer")
    left = run(job, out)
    assert left.new is None
    assert list(change_lines(left, redo=False)) == [
        "no file is new since the last run",
        (
            "1 file is changed since, left as it is in the tables; --changed redo does it again (avizor retry: only dead "
            f"letters): {data}/a/2.wav"
        ),
    ]
    redone = run(job, out, redo=True)
    assert redone.files == 3
    assert uris(job, out, redone) == [["1.wav", "1.wav"], ["2.wav"]]
    assert sorted(redone.shards.values()) == [1, 2]
    again = run(job, out, redo=True)
    assert (again.new, again.shards, again.changes.changed.count) == (None, redone.shards, 0)


def test_gone_files_are_said_and_so_are_those_that_a_list_does_not_name_any_more(data: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(data.rglob("*.wav"))))
    job, out = settings(listed), tmp_path / "out"
    run(job, out)
    (data / "b" / "1.wav").unlink()
    listed.write_text(f"{data}/a/1.wav\n")
    plan = run(job, out)
    assert plan.files == 3
    assert list(change_lines(plan, redo=False))[1:] == [
        f"1 file is gone; what the tables have of it stays: {data}/b/1.wav",
        f"1 file is not listed any more; what the tables have of it stays: {data}/a/2.wav",
    ]


def test_what_redoing_changed_files_costs_of_gone_ones_is_said_before_and_then(data: Path, tmp_path: Path) -> None:
    job, out = settings(data), tmp_path / "out"
    run(job, out)
    write(data / "a" / "2.wav", "longer")
    (data / "a" / "1.wav").unlink()
    (data / "b" / "1.wav").unlink()
    lost = "those that share a shard with a changed file become dead letters"
    stays = "2 files are gone; what the tables have of them stays"
    names = f": {data}/a/1.wav, {data}/b/1.wav"
    left, redone = run(job, out), plan_job(job, out, redo=True)
    assert list(change_lines(left, redo=False))[2] == f"{stays} (with --changed redo {lost}){names}"
    assert list(change_lines(redone, redo=True))[2] == f"{stays}, but {lost}{names}"


def test_two_runs_that_plan_at_once_do_not_both_begin(data: Path, tmp_path: Path) -> None:
    job, out = settings(data), tmp_path / "out"
    plan = plan_job(job, out)
    run(job, out)
    with pytest.raises(JobError, match=r"another job has planned files in .* since this one did; run the same command again"):
        claimed(out, job, plan.for_folder).__enter__()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 100), lambda path: alter(path)])
def test_a_round_that_is_lost_or_damaged_is_said(data: Path, tmp_path: Path, damage: object) -> None:
    job, out = settings(data), tmp_path / "out"
    run(job, out)
    write(data / "a" / "0.wav")
    run(job, out)
    damage(round_files(out)[0])  # type: ignore[operator]
    with pytest.raises(JobError, match=r"lacks rounds|is damaged"):
        plan_job(job, out)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_the_millionth_round_of_a_job_that_goes_on_for_months_is_behind_those_before_it(tmp_path: Path) -> None:
    rounds = [_path(tmp_path, number) for number in (1, 2, 999_999, 1_000_000, 1_000_001)]
    assert _in_order(sorted(rounds)) == rounds


def test_many_files_are_known_again(tmp_path: Path) -> None:
    count = 150_000  # more than are collected before they are sorted in
    entries = [entry(f"{number}.wav") for number in range(count)]
    keys = np.array([key_of(each) for each in entries], np.uint64)
    known = KnownFiles([States(keys[::2], np.full(count // 2, 1000), np.ones(count // 2, np.int64))])
    for number, each in enumerate(entries):
        assert known.look(each) is (Found.NEW if number % 2 else Found.SAME)
    assert known.unseen == 0
    assert {known.look(each) for each in entries[::99]} == {Found.AGAIN}


def test_a_round_is_read_as_it_was_written(tmp_path: Path) -> None:
    entries = [entry(f"{number}.wav", size=number, modified_ns=-number) for number in range(5000)]
    entries.append(entry("bytes:%FF.wav"))
    with (tmp_path / "round").open("w+b") as file:
        assert write_round(file, entries) == len(entries)
    assert [each.uri for each in read_round(tmp_path / "round")] == [each.uri for each in entries]
    assert list(read_round(tmp_path / "round"))[:-1] == entries[:-1]


def test_the_items_of_a_file_come_back_from_a_round_and_a_part_that_grew_has_changed() -> None:
    file = Entry("data/a.tar", "/real/a.tar", "a", 100, 1)
    entries = [file.of_part(Part("b/1.png", 0, offset=512), 10, "b"), file.of_items(4096, 10, 50), file]
    buffer = BytesIO()
    assert write_round(buffer, entries) == 3
    assert list(read_round(buffer)) == entries
    assert len({key_of(entry) for entry in entries}) == 3
    assert key_of(file.of_items(4096, 500, 90)) == key_of(entries[1])
    assert entries[1].renamed("/b", "data/b").uri == "data/b#4096-4105"
