"""keeping: what goes first, names that cannot leave their folder, parts that are whole at every moment, disks that refuse."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration.disks import mount

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.errors import SettingsError
from avizor_inference.items.kinds.base import FileForm, Span
from avizor_inference.repository.models import ModelRepository
from avizor_inference.review_answers import Answer, AnswerFile
from avizor_review.job_file import JobFile
from avizor_review.results import Results
from avizor_service.keeping.flagged import Flagged
from avizor_service.keeping.folder import KeptFolder
from avizor_service.keeping.keeper import Keeper, open_keeper
from avizor_service.keeping.places import KeptFile, group_of, kept_files
from avizor_service.keeping.retention import doomed
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings

DAY_NS = 86_400 * 10**9
SOURCES = BoundedSources(["a", "b", "other"])


@pytest.fixture(autouse=True)
def gathers_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avizor_service.keeping.keeper._GATHER_S", 0.05)


@pytest.fixture
def make(models: Path) -> Callable[..., Flagged]:
    """Make a flagged item of some bytes. age_s: since it was flagged."""
    version = ModelRepository(models).version("normal")
    (calibration,) = version.calibrations()
    judge, scores = Judge(calibration), np.full(3, 1e3, np.float32)

    def make(source: str = "a", size: int = 1000, age_s: float = 0.0, file: Callable[[], FileForm] | None = None) -> Flagged:
        return Flagged(
            model=version,
            calibration_id=calibration.id,
            judge=judge,
            source=source,
            time_ns=time.time_ns() - int(age_s * 1e9),
            file=file or (lambda: FileForm(".wav", os.urandom(size))),
            size=size,
            spans=[Span(0, start, 4096) for start in (0, 4096, 8192)],
            scores=scores,
            verdict=verdict(judge, source, ItemScore.of(scores)),
            alpha=0.05,
        )

    return make


def settings(folder: Path, models: Path, **changes: Any) -> Settings:
    return Settings(models, keep_flagged=folder, **({"alpha": 0.05} | changes))


def uris(folder: Path) -> list[str]:
    with Results.open(folder) as results:
        return [item.uri for item in results.items(limit=100_000)]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def file(group: str, number: int, size: int = 10, age_days: float = 0.0) -> KeptFile:
    return KeptFile(f"items/{group}/{number}.wav", group, int(number * 1e9 - age_days * DAY_NS), size, 0)


def test_the_oldest_of_whichever_source_has_most_goes_first() -> None:
    files = [file("rare", 1), *(file("noisy", number) for number in range(2, 22)), file("rare", 30)]
    going = doomed(files, 0, (), 100, -DAY_NS)
    assert going.by_age == []
    assert [each.path for each in going.by_bytes] == [f"items/noisy/{number}.wav" for number in range(2, 15)]


def test_age_spares_nothing_and_room_spares_what_has_an_answer_while_there_is_anything_else() -> None:
    files = [file("a", number, age_days=40.0 if number < 2 else 0.0) for number in range(10)]
    answered = {files[0].path, files[2].path, files[3].path}
    going = doomed(files, 0, answered, 40, -30 * DAY_NS)
    assert going.by_age == files[:2]
    assert going.by_bytes == files[4:9]
    assert doomed(files, 0, answered, 1, -30 * DAY_NS).by_bytes == [*files[4:], *files[2:4]], "if nothing else is left"


@pytest.mark.parametrize("source", ["../../etc", "/", "..", ".", "", "a\0b", "x" * 9000, "a/../b", "\ud800", "CON", "-rf"])
def test_a_source_becomes_the_name_of_one_folder(source: str) -> None:
    for sources in (SOURCES, BoundedSources([source])):
        name = group_of(source, sources)
        assert name == "other" or set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
        assert 0 < len(name) < 60
        assert not name.startswith(".")
    assert group_of("a/b", BoundedSources(["a/b"])) != group_of("a_b", BoundedSources(["a_b"]))
    assert group_of("other", SOURCES) == "other" or group_of("other", SOURCES) != group_of("nobody", SOURCES)


def test_ten_thousand_items_are_in_few_parts_and_each_is_there_once(
    make: Callable[..., Flagged], models: Path, tmp_path: Path
) -> None:
    folder = KeptFolder(settings(tmp_path / "kept", models), SOURCES)
    for _ in range(40):
        assert all(folder.keep([make(size=10) for _ in range(250)]))
    assert len(set(uris(folder.path))) == len(uris(folder.path)) == 10_000
    assert len(list((folder.path / "commits").iterdir())) <= 20
    folder.close()
    again = KeptFolder(settings(tmp_path / "kept", models, keep_flagged_max_mib=1), SOURCES)
    size, removed = again.retain()
    left = uris(again.path)
    assert removed["bytes"] == 10_000 - len(left) > 0
    assert size <= 1 << 20
    assert {each.path for each in kept_files(again.path)} == set(left)
    again.close()


def test_old_items_go_and_it_is_said_if_one_had_an_answer(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = KeptFolder(settings(tmp_path / "kept", models, keep_flagged_max_days=1), SOURCES)
    list(folder.keep([make(age_s=2 * 86_400), make(age_s=2 * 86_400), make()]))
    old = sorted(uris(folder.path))[0]
    answers = AnswerFile(folder.path / "answers.jsonl")
    answers.append(Answer(uri=old, model="normal", answer="abnormal", reviewer="ana", time=datetime.now(UTC)))
    with caplog.at_level(logging.WARNING):
        _, removed = folder.retain()
    assert removed == {"age": 2, "bytes": 0}
    assert len(uris(folder.path)) == len(kept_files(folder.path)) == 1
    assert "1 of the flagged items that were removed had an answer" in caplog.text
    assert [key.uri for key in answers.answers().answered()] == [old]
    folder.close()


def test_what_a_process_that_has_ended_has_kept_is_removed_by_another_one_and_what_a_living_one_has_is_not(
    make: Callable[..., Flagged], models: Path, tmp_path: Path
) -> None:
    chosen = settings(tmp_path / "kept", models, keep_flagged_max_days=1)
    one, two, three = (KeptFolder(chosen, SOURCES) for _ in range(3))
    for each in (one, two):
        list(each.keep([make(age_s=2 * 86_400)]))
    one.close()
    assert three.retain()[1]["age"] == 1
    assert [each.slot for each in kept_files(chosen.keep_flagged or tmp_path)] == [1]
    assert two.retain()[1]["age"] == 1
    assert uris(tmp_path / "kept") == []
    for each in (two, three):
        each.close()


def test_each_moment_of_a_write_leaves_each_item_once(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed, so to say, at each of its changes of the disk: what is there then is read, and gone on with."""

    class Killed(BaseException): ...

    chosen, real, count, moment = settings(tmp_path / "kept", models), os.replace, 0, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal count
        if (count := count + 1) == moment:
            raise Killed
        real(source, target)

    list((folder := KeptFolder(chosen, SOURCES)).keep([make(), make()]))
    folder.close()
    monkeypatch.setattr(os, "replace", replace)
    for moment in range(1, 9):  # noqa: B007 - `replace` reads it
        folder = KeptFolder(chosen, SOURCES)
        before, count = sorted(uris(folder.path)), 0
        try:
            list(folder.keep([make()]))
            assert len(uris(folder.path)) == len(before) + 1
        except Killed:
            assert sorted(uris(folder.path)) == before
        assert len(set(uris(folder.path))) == len(uris(folder.path))
        folder.close()


def test_a_damaged_part_costs_its_own_items_alone(make: Callable[..., Flagged], models: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path / "kept", models)
    list((folder := KeptFolder(chosen, SOURCES)).keep([make()]))
    folder.close()
    for part in (tmp_path / "kept" / "recordings").iterdir():
        part.write_bytes(b"torn")
    list((folder := KeptFolder(chosen, SOURCES)).keep([make()]))
    assert len(uris(tmp_path / "kept")) == 1
    folder.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    (tmp_path / "disk").mkdir()
    mount(tmp_path / "disk", "size=1m")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", tmp_path / "disk"], check=False)


def test_a_full_disk_is_said_once_and_counted_and_goes_on_when_there_is_room(
    make: Callable[..., Flagged], models: Path, disk: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Keeper(settings(disk / "kept", models), metrics, SOURCES) as keeper:
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 1)
        (disk / "filler").write_bytes(bytes((os.statvfs(disk).f_bavail - 5) * 4096))
        for _ in range(3):
            keeper.offer(make(size=200_000))
            until(lambda: keeper._bytes == 0)
        assert value(metrics, "avizor_flagged_dropped_total", reason="disk") == 3
        assert value(metrics, "avizor_keep_ok") == 0
        assert len(uris(disk / "kept")) == 1
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "no space left on device" in caplog.text
        keeper._wake.set()  # it looks again, without an item
        time.sleep(0.5)
        assert value(metrics, "avizor_keep_ok") == 0, "there is no room yet"
        (disk / "filler").unlink()
        keeper.offer(make(size=200_000))
        until(lambda: value(metrics, "avizor_keep_ok") == 1)
        until(lambda: len(uris(disk / "kept")) == 2)
    assert "kept again" in caplog.text
    assert {path.suffix for path in (disk / "kept").rglob("*") if path.is_file()} <= {".wav", ".parquet", ".json", ""}


def test_a_disk_that_is_full_again_and_again_does_not_fill_the_log(
    make: Callable[..., Flagged],
    models: Path,
    disk: Path,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fill_and_free(times: int) -> None:
        for _ in range(times):
            (disk / "filler").write_bytes(bytes((os.statvfs(disk).f_bavail - 5) * 4096))
            keeper.offer(make(size=200_000))
            until(lambda: value(metrics, "avizor_keep_ok") == 0)
            (disk / "filler").unlink()
            keeper._wake.set()
            until(lambda: value(metrics, "avizor_keep_ok") == 1)

    with caplog.at_level(logging.INFO), Keeper(settings(disk / "kept", models), metrics, SOURCES) as keeper:
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 1)
        fill_and_free(times=4)
        assert [record.message.partition(":")[0].partition(" in ")[0] for record in caplog.records] == [
            "flagged items are not kept",
            "flagged items are kept again",
        ]
        monkeypatch.setattr("avizor_service.keeping.keeper._QUIET_S", 0.0)
        keeper._quiet_until = 0.0  # time goes by
        fill_and_free(times=1)
    assert "4 were not" in caplog.records[-1].message, "those that were not mentioned count in the next word"
    assert len(caplog.records) == 4


def test_rows_whose_files_are_gone_go_too(make: Callable[..., Flagged], models: Path, tmp_path: Path) -> None:
    writer = KeptFolder(settings(tmp_path / "kept", models), SOURCES)
    assert len(list(writer.keep([make(source) for source in "aab"]))) == 3
    writer.close()
    first, *others = sorted(uris(tmp_path / "kept"))
    (tmp_path / "kept" / first).unlink()
    of_b = (tmp_path / "kept" / others[-1]).parent
    of_b.rename(tmp_path / "away")  # as of a disk that is not mounted for a while
    writer = KeptFolder(settings(tmp_path / "kept", models), SOURCES)
    writer.sweep()
    assert sorted(uris(tmp_path / "kept")) == others
    (tmp_path / "away").rename(of_b)
    writer.sweep()
    assert sorted(uris(tmp_path / "kept")) == others
    writer.close()


def test_no_row_stays_of_what_went_when_the_disk_had_no_room_for_the_tables(
    make: Callable[..., Flagged], models: Path, disk: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LOOK_S", "_LEAST_LOOK_S"):
        monkeypatch.setattr(f"avizor_service.keeping.keeper.{name}", 0.1)
    with Keeper(settings(disk / "kept", models, keep_flagged_max_days=1), metrics, SOURCES) as keeper:
        for number in range(8):
            keeper.offer(make(age_s=3600 if number % 2 else 0))
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 8)
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        monkeypatch.setattr("avizor_service.keeping.folder._DAY_NS", 1800 * 10**9)  # time goes by
        until(lambda: len(kept_files(disk / "kept")) == 4)
        (disk / "filler").unlink()
        keeper._wake.set()
        until(lambda: value(metrics, "avizor_keep_ok") == 1 and len(uris(disk / "kept")) == 4)


def test_what_is_kept_is_seen_again_after_somebody_has_removed_its_job_file(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avizor_service.keeping.keeper._LOOK_S", 0.1)
    with Keeper(settings(tmp_path / "kept", models), metrics, SOURCES) as keeper:
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 1)
        before = (tmp_path / "kept" / "job.json").read_bytes()
        (tmp_path / "kept" / "job.json").unlink()
        until((tmp_path / "kept" / "job.json").exists)
        assert (tmp_path / "kept" / "job.json").read_bytes() == before
    assert len(uris(tmp_path / "kept")) == 1


@pytest.mark.parametrize("left", [0, 1, -3])
def test_what_is_kept_goes_on_when_its_job_file_is_cut_off(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setattr("avizor_service.keeping.keeper._LOOK_S", 0.1)
    job = tmp_path / "kept" / "job.json"
    with open_keeper(settings(tmp_path / "kept", models), metrics, SOURCES) as keeper:
        assert keeper is not None
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 1)
        before = job.read_bytes()
        job.write_bytes(before[:left])
        until(lambda: job.read_bytes() == before)
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 2)
    assert value(metrics, "avizor_flagged_dropped_total", cause="disk") == 0
    job.write_bytes(before[:left])
    with open_keeper(settings(tmp_path / "kept", models), metrics, SOURCES) as keeper:
        assert keeper is not None
        until(lambda: job.read_bytes().endswith(b"}\n"))
        (model,) = JobFile.read(tmp_path / "kept").models
        assert (model.name, model.version) == ("normal", 1), "the tables say which version has judged"
        keeper.offer(make())
        until(lambda: job.read_bytes() == before)
    assert len(uris(tmp_path / "kept")) == 3


def test_a_file_in_the_way_is_named(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    with Keeper(settings(tmp_path / "kept", models), metrics, SOURCES) as keeper:
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 1)
        (group,) = (tmp_path / "kept" / "items").iterdir()
        group.rename(tmp_path / "gone")
        group.write_text("no folder")
        keeper.offer(make())
        until(lambda: f"not kept: {group} cannot be used (file exists)" in caplog.text)


def test_a_folder_that_cannot_be_written_is_said_at_the_start(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.INFO), Keeper(settings(tmp_path / "file" / "kept", models), metrics, SOURCES) as keeper:
        until(lambda: "flagged items are not kept" in caplog.text)
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_dropped_total", reason="disk") == 1)
    assert value(metrics, "avizor_keep_ok") == 0


def test_a_folder_that_somebody_removes_is_made_again(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, metrics: Metrics
) -> None:
    with Keeper(settings(tmp_path / "kept", models), metrics, SOURCES) as keeper:
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 1)
        (tmp_path / "kept").rename(tmp_path / "gone")
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_dropped_total", reason="disk") == 1)
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") == 2)
    assert len(uris(tmp_path / "kept")) == 1


def test_what_there_is_no_room_for_is_dropped_and_one_that_cannot_be_a_file_costs_no_other(
    make: Callable[..., Flagged], models: Path, tmp_path: Path, metrics: Metrics
) -> None:
    def broken() -> FileForm:
        raise ValueError("nobody expected this")

    with Keeper(settings(tmp_path / "kept", models), metrics, SOURCES, most_bytes=100_000) as keeper:
        keeper.offer(make(size=100_001))
        assert value(metrics, "avizor_flagged_dropped_total", reason="size") == 1
        assert (keeper.takes(100_000), keeper.takes(100_001)) == (True, False)
        assert value(metrics, "avizor_flagged_dropped_total", reason="size") == 2
        for _ in range(5):
            keeper.offer(make(size=60_000))
        assert value(metrics, "avizor_flagged_dropped_total", reason="full") >= 3
        until(lambda: value(metrics, "avizor_flagged_kept_total", model="normal") >= 1)
        until(lambda: keeper._bytes == 0)
        keeper.offer(make(file=broken))
        keeper.offer(make())
        until(lambda: value(metrics, "avizor_flagged_dropped_total", reason="item") == 1)
    assert len(uris(tmp_path / "kept")) == value(metrics, "avizor_flagged_kept_total", model="normal")


def test_what_waits_at_the_end_is_written(make: Callable[..., Flagged], models: Path, tmp_path: Path, metrics: Metrics) -> None:
    with Keeper(settings(tmp_path / "kept", models), metrics, SOURCES) as keeper:
        for _ in range(20):
            keeper.offer(make())
    assert len(uris(tmp_path / "kept")) == 20


def test_nothing_is_kept_unless_it_is_asked_for_and_no_folder_of_something_else_is_taken(
    models: Path, tmp_path: Path, metrics: Metrics
) -> None:
    with open_keeper(Settings(models), metrics, SOURCES) as keeper:
        assert keeper is None
    assert value(metrics, "avizor_keep_ok") == 1
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(SettingsError, match="choose another folder"), open_keeper(settings(tmp_path, models), metrics, SOURCES):
        pass
    (tmp_path / "job.json").write_text("{")  # it may be that of a job: nothing here is a gateway's
    with pytest.raises(SettingsError, match="choose another folder"), open_keeper(settings(tmp_path, models), metrics, SOURCES):
        pass
