"""`avizor watch DIR`: files that arrive are read once, when they are finished, into the tables of a batch job."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from integration.jobs import AVIZOR
from integration.watching import Watch, free_port, parts, rows, watch_command
from support.calibrations import recalibrated
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.waiting import wait_until
from support.warm_starts import warm_run

# Seconds of three windows of the model.
LENGTH_S = 3 * 4096 / SAMPLE_RATE


def recording(path: Path, seed: int = 0) -> Path:
    return write_wav(path, tone(LENGTH_S, seed=seed)) or path


@pytest.fixture(scope="module")
def watch(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A job that runs while the tests of this file put files into its folder `incoming`."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "incoming").mkdir()
    with Watch(folder / "incoming", models, folder / "out") as running:
        yield running


@pytest.fixture
def incoming(watch: Watch) -> Path:
    return watch.out.with_name("incoming")


def avizor(*arguments: object) -> subprocess.CompletedProcess[str]:
    return warm_run([str(AVIZOR), *map(str, arguments)], timeout=120)


def batch(folder: Path, models: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return avizor("batch", folder, "--models", models, "--model", "normal", "--out", out, "--alpha", "0.05", "--workers", "1")


def test_a_file_that_is_held_open_is_read_when_its_writer_is_done(watch: Watch, incoming: Path) -> None:
    whole = recording(incoming.with_name("whole.wav")).read_bytes()
    with (incoming / "slow.wav").open("wb") as slow:
        slow.write(whole[: len(whole) // 2])
        slow.flush()
        for later in ("later", "and_later"):  # each takes longer than --settle-s
            recording(incoming / f"{later}.wav")
            watch.wait_for(f"{later}.wav")
        assert "slow.wav" not in watch.recordings() | dict.fromkeys(watch.dead())
        slow.write(whole[len(whole) // 2 :])
    watch.wait_for("slow.wav")
    assert watch.recordings()["slow.wav"] == 3
    assert "slow.wav" not in watch.dead()


def test_what_a_killed_writer_has_left_is_a_dead_letter_and_the_job_goes_on(watch: Watch, incoming: Path) -> None:
    whole = recording(incoming.with_name("whole.wav")).read_bytes()
    code = (
        "import sys, time; file = open(sys.argv[1], 'wb'); file.write(bytes.fromhex(sys.argv[2])); file.flush(); "
        "time.sleep(600)"
    )
    half = incoming / "half.wav"
    with subprocess.Popen(["python3", "-c", code, half, whole[: len(whole) // 2].hex()]) as writer:
        wait_until(lambda: half.exists() and half.stat().st_size > 0)
        recording(incoming / "meanwhile.wav")
        watch.wait_for("meanwhile.wav")
        assert "half.wav" not in watch.dead()
        writer.kill()
    wait_until(lambda: "half.wav" in watch.dead())
    recording(incoming / "after_half.wav")
    watch.wait_for("after_half.wav")


def test_a_file_that_is_no_sound_is_a_dead_letter_and_the_job_goes_on(watch: Watch, incoming: Path) -> None:
    (incoming / "broken.wav").write_bytes(b"no sound at all")
    recording(incoming / "after_broken.wav")
    watch.wait_for("after_broken.wav")
    wait_until(lambda: "broken.wav" in watch.dead())


def test_a_file_under_a_temporary_name_is_read_when_it_is_renamed(watch: Watch, incoming: Path) -> None:
    suffixes, whole = (".part", ".tmp", ".crdownload"), recording(incoming.with_name("whole.wav"))
    for suffix in suffixes:
        shutil.copy(whole, incoming / f"download{suffix}")
    recording(incoming / "beside.wav")
    watch.wait_for("beside.wav")
    assert not {f"download{suffix}" for suffix in suffixes} & {*watch.recordings(), *watch.dead()}
    for suffix in suffixes:
        (incoming / f"download{suffix}").rename(incoming / f"renamed{suffix}.wav")
    watch.wait_for(*(f"renamed{suffix}.wav" for suffix in suffixes))


def test_a_file_that_is_moved_into_a_folder_that_appears_later_has_the_source_of_that_folder(
    watch: Watch, incoming: Path
) -> None:
    elsewhere = recording(incoming.with_name("elsewhere") / "day" / "moved.wav")
    elsewhere.parent.parent.rename(incoming / "pump7")
    watch.wait_for("moved.wav")
    assert (f"{incoming}/pump7/day/moved.wav", "pump7") in rows(watch.out, "recordings", "uri, source")


def test_rows_are_those_of_a_batch_job_which_finds_everything_done_and_does_what_is_new(models: Path, tmp_path: Path) -> None:
    incoming, out = tmp_path / "incoming", tmp_path / "out"
    for number in range(3):
        recording(incoming / "a" / f"{number}.wav", number)
    with Watch(incoming, models, out, "--q-values") as watch:
        watch.wait_for("0.wav", "1.wav", "2.wav")
        assert watch.stop(signal.SIGINT) == 0, watch.log
    assert batch(incoming, models, tmp_path / "batch").returncode == 0
    for table in ("windows", "recordings"):
        assert rows(out, table, "*") == rows(tmp_path / "batch", table, "*")
    assert (out / "summary.json").exists()
    assert (out / "q_values.parquet").exists()
    before = {path: path.read_bytes() for path in out.glob("*/*.parquet")}
    again = batch(incoming, models, out)
    assert (again.returncode, "no file is new since the last run" in again.stdout) == (0, True), again.stderr
    assert {path: path.read_bytes() for path in out.glob("*/*.parquet")} == before
    recording(incoming / "a" / "3.wav", 3)
    assert "1 file is new" in batch(incoming, models, out).stdout
    verified = avizor("verify", out)
    assert (verified.returncode, "4 results planned" in verified.stdout) == (0, True), verified.stdout


def test_files_that_come_within_every_s_are_one_part(models: Path, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    recording(incoming / "first.wav")
    with Watch(incoming, models, tmp_path / "out", "--every-s", "6") as watch:
        watch.wait_for("first.wav")
        for number in range(20):
            recording(incoming / f"{number}.wav", number)
        watch.wait_for(*(f"{number}.wav" for number in range(20)))
    # The files came in less than six seconds, which may have been those of two rounds.
    assert parts(tmp_path / "out", "windows") <= 3


def test_what_surprises_is_said_once_also_when_the_job_is_begun_again(models: Path, tmp_path: Path) -> None:
    incoming, out = tmp_path / "incoming", tmp_path / "out"
    incoming.mkdir()
    for number in range(2):
        with Watch(incoming, models, out) as watch:
            write_wav(incoming / f"stereo-{number}.wav", np.stack([tone(1), tone(1)], axis=1))
            recording(incoming / f"mono-{number}.wav")
            watch.wait_for(f"stereo-{number}.wav", f"mono-{number}.wav")
            assert watch.stop() == 0
    assert watch.log.count("so far 1 file has several channels: each was taken by itself") == 1
    assert watch.log.count("so far") == 1


def test_a_calibration_that_is_activated_judges_what_comes_from_then_on(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "normal", tmp_path / "models" / "normal")
    incoming, out = tmp_path / "incoming", tmp_path / "out"
    recording(incoming / "a" / "before.wav")
    with Watch(incoming, tmp_path / "models", out) as watch:
        watch.wait_for("before.wav")
        active = tmp_path / "models" / "normal" / "1" / "calibrations" / "active.json"
        whole = active.read_bytes()
        active.write_bytes(b"{")
        watch.wait_for_log("active.json does not name the active calibrations")
        recording(incoming / "a" / "beside.wav")
        watch.wait_for("beside.wav")
        active.write_bytes(whole)
        new = recalibrated(tmp_path / "models", "normal")
        watch.wait_for_log(f"calibration {new} judges what comes from now on")
        recording(incoming / "a" / "after.wav")
        watch.wait_for("after.wav")
        assert watch.stop() == 0, watch.log
        assert watch.log.count("active.json does not name") == 1
    for table in ("windows", "recordings"):
        ids = {Path(str(uri)).name: id for uri, id in rows(out, table, "uri, calibration_id")}
        assert ids["after.wav"] == new != ids["before.wav"]
    counts = [json.loads(path.read_text())["sources"]["normal"] for path in out.glob("commits/*.json")]
    assert {id for count in counts for id in count["a"]["drift"]} == set(ids.values())
    recording(incoming / "a" / "much_later.wav")
    assert batch(incoming, tmp_path / "models", out).returncode == 0
    assert dict(rows(out, "recordings", "uri, calibration_id"))[f"{incoming}/a/much_later.wav"] == new
    assert avizor("verify", out).returncode == 0


def test_nothing_is_said_of_a_model_that_was_never_calibrated(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "normal", tmp_path / "models" / "normal")
    shutil.rmtree(tmp_path / "models" / "normal" / "1" / "calibrations")
    recording(tmp_path / "incoming" / "a" / "0.wav")
    with Watch(tmp_path / "incoming", tmp_path / "models", tmp_path / "out") as watch:
        watch.wait_for_log("1 item of this run, 0 dead letters")
        assert watch.stop() == 0, watch.log
        assert "is active any more" not in watch.log


def test_a_calibration_that_is_taken_away_goes_on_and_that_is_said_once(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "normal", tmp_path / "models" / "normal")
    incoming, active = tmp_path / "incoming", tmp_path / "models" / "normal" / "1" / "calibrations" / "active.json"
    recording(incoming / "a" / "before.wav")
    with Watch(incoming, tmp_path / "models", tmp_path / "out") as watch:
        watch.wait_for("before.wav")
        whole = active.read_bytes()
        active.unlink()
        watch.wait_for_log("normal: no calibration of its scores is active any more, and calibration")
        recording(incoming / "a" / "beside.wav")
        watch.wait_for("beside.wav")
        active.write_bytes(whole)
        recording(incoming / "a" / "after.wav")
        watch.wait_for("after.wav")
        assert watch.stop() == 0, watch.log
        assert watch.log.count("is active any more") == 1
    ids = {id for (id,) in rows(tmp_path / "out", "windows", "distinct calibration_id")}
    assert len(ids) == 1
    with Watch(incoming, tmp_path / "models", tmp_path / "out") as watch:
        recording(incoming / "a" / "later.wav")
        watch.wait_for_log("4 items, 1 of this run, 0 anomalies, 0 dead letters")
        assert watch.stop() == 0, watch.log


def test_a_source_that_falls_silent_is_seen_and_so_is_that_it_is_back(models: Path, tmp_path: Path) -> None:
    incoming, port = tmp_path / "incoming", free_port()
    recording(incoming / "pump" / "0.wav")
    more = ("--silent-after-s", "2", "--metrics-port", str(port))
    with Watch(incoming, models, tmp_path / "out", *more) as watch:
        watch.wait_for_log("source 'pump' is silent")
        assert watch.metric(port, 'avizor_watch_source_silent{source="pump"}') == 1
        heard = watch.metric(port, 'avizor_watch_last_item_timestamp_seconds{source="pump"}')
        recording(incoming / "pump" / "1.wav")
        watch.wait_for_log("source 'pump' is back")
        watch.wait_for("1.wav")
        assert watch.metric(port, 'avizor_watch_last_item_timestamp_seconds{source="pump"}') > heard
        assert watch.metric(port, "avizor_batch_files_total") == 2


def test_a_folder_that_vanishes_is_waited_for(models: Path, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    recording(incoming / "0.wav")
    with Watch(incoming, models, tmp_path / "out") as watch:
        watch.wait_for("0.wav")
        incoming.rename(tmp_path / "away")
        watch.wait_for_log(f"{incoming} cannot be looked at (no such file or directory); it is waited for")
        recording(tmp_path / "away" / "1.wav")
        (tmp_path / "away").rename(incoming)
        watch.wait_for_log(f"{incoming} is back")
        watch.wait_for("1.wav")


def test_results_that_are_removed_end_the_job_and_are_not_begun_again_without_their_beginning(
    models: Path, tmp_path: Path
) -> None:
    incoming, out = tmp_path / "incoming", tmp_path / "out"
    recording(incoming / "0.wav")
    with Watch(incoming, models, out) as watch:
        watch.wait_for("0.wav")
        out.rename(tmp_path / "away")
        recording(incoming / "1.wav")
        assert watch.process.wait(60) == 1
        # It notices before a step, or by a file that it cannot write: what to do is the same.
        assert f"Error: {out}" in watch.log
        assert "removed, replaced or unmounted while the job ran" in watch.log
    assert not out.exists()
    (tmp_path / "away").rename(out)
    with Watch(incoming, models, out) as watch:
        watch.wait_for("0.wav", "1.wav")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no_such_folder"], "no_such_folder does not exist; create it, or mount it, before it is watched"),
        (["/dev/null"], "/dev/null is a device; sound of a program is watched on standard input"),
        (["s3://bucket/sounds"], "s3://bucket/sounds is not a folder of this machine"),
        (["incoming", "--rate", "8000"], "are for standard input"),
        (["-", "incoming"], "`-` is standard input, and is watched alone"),
    ],
)
def test_what_cannot_be_watched_is_refused(models: Path, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "incoming").mkdir()
    command = watch_command("", models, tmp_path / "out")
    place = command.index("")
    refused = warm_run([*command[:place], *words, *command[place + 1 :]], input="", cwd=tmp_path)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["incoming", "-"])
def test_a_job_that_is_refused_by_its_output_says_nothing_else(models: Path, tmp_path: Path, what: str) -> None:
    """A file that has changed is not named either: nothing is watched."""
    incoming = tmp_path / "incoming"
    write_wav(incoming / "0.wav", tone(1.1))
    out = tmp_path / "out"
    assert batch(incoming, models, out).returncode == 0
    write_wav(incoming / "0.wav", tone(1.2))
    more = ("--rate", "8000") if what == "-" else ()
    refused = warm_run(watch_command(what, models, out, "--top-k", "7", *more), input="", cwd=tmp_path)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"Error: {out} holds a job with other ")
