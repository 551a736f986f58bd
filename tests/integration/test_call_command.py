"""`avizor call` against a real gateway: what it prints, for people and as JSON, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from integration.disks import mount
from integration.gateway import AVIZOR, Gateway, gateway, normal, odd, png, wav
from integration.listeners import calm, fault, sixteen_bits
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import WarmPopen

from avizor_client.cli import call, table_rows
from avizor_inference.calibrate_cli import calibrate
from avizor_inference.items.data import table_numbers

STRETCH_S = 3 * 4096 / SAMPLE_RATE


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: Gateway) -> Path:
    """The current folder, with files to ask about."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVIZOR_CALL_TARGET", running.address)
    for source in ("a", "b"):
        (tmp_path / source).mkdir()
        (tmp_path / source / "normal.wav").write_bytes(normal())
    (tmp_path / "a" / "odd.wav").write_bytes(odd())
    (tmp_path / "torn.wav").write_bytes(b"no sound")
    (tmp_path / "digit.png").write_bytes(png(np.zeros((32, 32), np.uint8)))
    return tmp_path


def run(*arguments: object, input: bytes | None = None) -> Result:
    return CliRunner().invoke(call, [str(each) for each in arguments], input=input, catch_exceptions=False)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_models_are_listed(folder: Path) -> None:
    result = run("models")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["name", "version", "task", "input", "of", "answers"]
    assert [row.split()[0] for row in rows] == ["digits", "kinds", "normal", "transfers"]
    assert "32 x 32 x 1" in rows[0]
    assert "4096 samples at 8000 Hz" in rows[2]
    assert rows[2].endswith("verdicts, from 60 normal items")
    (model,) = lines(run("models", "normal", "--json"))
    assert (model["name"], model["calibrations"][0]["recordings"]) == ("normal", {"a": 30, "b": 30})


def test_files_are_classified_and_a_bad_one_is_named_in_its_turn(folder: Path) -> None:
    result = run("classify", "kinds", "a/*.wav", "torn.wav", "absent.wav", "b/normal.wav", "--top-k", 2, "--windows")
    assert result.exit_code == 3
    printed = result.stdout.splitlines()
    names = [line.split()[0] for line in printed if not line.startswith(" ")]
    assert names == ["a/normal.wav", "a/odd.wav", "torn.wav", "absent.wav", "b/normal.wav"]
    assert "INVALID_ARGUMENT: not an audio file" in result.stdout
    assert "UNREADABLE: No such file or directory" in result.stdout
    assert sum(line.startswith("  0.51-1.02 s") for line in printed) == 3


def test_verdicts_use_the_source_that_a_path_says(folder: Path) -> None:
    arguments = ["detect", "normal", "a/odd.wav", "b/normal.wav", "--source-pattern", r"(\w+)/"]
    printed = run(*arguments)
    assert printed.exit_code == 0
    first, second = printed.stdout.splitlines()
    assert first.split()[:2] == ["a/odd.wav", "ANOMALY"]
    assert second.split()[:2] == ["b/normal.wav", "normal"]
    assert first.endswith("  compared with all sources together")  # it is more unusual than all of a
    assert second.endswith("  compared with source b")
    odd, usual = lines(run(*arguments, "--json"))
    assert (odd["is_anomaly"], usual["is_anomaly"]) == (True, False)
    assert [each["source"] for each in (odd, usual)] == ["a", "b"]
    assert usual["judged_by"] == "b"
    assert len(odd["windows"]) == 3


def test_windows_of_several_channels_are_told_apart(folder: Path) -> None:
    stereo = np.stack([calm(STRETCH_S), calm(STRETCH_S, seed=902)], axis=1)
    Path("stereo.wav").write_bytes(wav(sixteen_bits(stereo)))
    for told in (
        run("classify", "kinds", "stereo.wav", "--windows"),
        run("detect", "normal", "stereo.wav", "--windows"),
        run("monitor", "normal", "stereo.wav"),
    ):
        assert [line.count("0.00-0.51 s, channel 1 ") for line in told.stdout.splitlines()].count(1) == 1


def test_a_source_that_the_calibration_does_not_have_is_said(folder: Path) -> None:
    files = ["a/odd.wav", "b/normal.wav"]
    for more in ([], ["--json"]):
        result = run("detect", "normal", *files, "--source", "pump-1", *more)
        assert result.exit_code == 0
        assert result.stderr == (
            "Note: the calibration of normal has no source 'pump-1', but a, b: 2 items were compared with those of all sources "
            "together, for which no false-alarm rate is promised\n"
        )
    assert run("detect", "normal", *files, "--source", "a").stderr == ""
    assert run("detect", "normal", *files).stderr == ""  # none is named
    listened = run("monitor", "normal", "a/normal.wav", "--source", "pump-1").stderr
    assert "; compared with all sources together\n" in listened
    assert "no source 'pump-1', but a, b: the stream is compared with those of all sources together, for which" in listened
    assert "no source" not in run("monitor", "normal", "a/normal.wav", "--source", "b").stderr
    result = run("detect", "normal", *files, "--source-pattern", "([a-z]+)[.]wav")
    assert [line.split("'")[1] for line in result.stderr.splitlines()] == ["odd", "normal"]


def test_a_stream_is_of_the_version_that_is_asked_and_so_is_what_is_said_of_its_source(
    models: Path, folder: Path, tmp_path: Path
) -> None:
    own, data = tmp_path / "models", tmp_path / "data"
    shutil.copytree(models / "normal", own / "normal")
    shutil.copytree(own / "normal" / "1", own / "normal" / "2")
    manifest = own / "normal" / "2" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 2}))
    for number in range(20):
        write_wav(data / "c" / f"{number}.wav", tone(1.1, seed=1000 + number))
    made = CliRunner().invoke(calibrate, ["normal", "--data", str(data), "--models", str(own), "--activate"])
    assert made.exit_code == 0, made.output
    with gateway(own, "--alpha", 0.05) as running:
        words = ["monitor", "normal", "a/normal.wav", "--target", running.address, "--source"]
        assert "no source 'a', but c: the stream is" in run(*words, "a").stderr
        assert "no source 'c', but a, b: the stream is" in run(*words, "c", "--version", 1).stderr
        assert "no source" not in run(*words, "a", "--version", 1).stderr
        (started, *_) = lines(run(*words, "a", "--version", 1, "--json"))
        assert started["started"]["detector_version"] == 1


def test_an_anomaly_ends_the_command_with_4_if_that_is_asked(folder: Path) -> None:
    assert run("detect", "normal", "a/odd.wav").exit_code == 0
    assert run("detect", "normal", "a/odd.wav", "--exit-code").exit_code == 4
    assert run("detect", "normal", "b/normal.wav", "--exit-code").exit_code == 0
    assert run("detect", "normal", "a/odd.wav", "torn.wav", "--exit-code").exit_code == 3


def test_rows_of_a_table_are_judged_one_by_one(folder: Path) -> None:
    Path("rows.csv").write_text("\ufeffamount,hour,country\n70,12,ES\n,3,FR\n")
    first, second = lines(run("detect", "transfers", "rows.csv", "--json"))
    assert [first["file"], second["file"]] == ["rows.csv, row 0", "rows.csv, row 1"]
    assert first["score"] != second["score"]


def test_a_column_of_a_table_names_the_source_of_each_row(folder: Path) -> None:
    Path("rows.csv").write_text("amount,hour,country,bank\n70,12,ES,north\n,3,FR,\n71,12,ES,south\n")
    north, none, south = lines(run("detect", "transfers", "rows.csv", "--source-column", "bank", "--json"))
    assert [north["source"], south["source"]] == ["north", "south"]
    assert none["error"]["message"].startswith("column 'bank', which names the sources, is empty here")
    assert "has no column 'shop'; it has amount" in run("detect", "transfers", "rows.csv", "--source-column", "shop").stdout
    result = run("detect", "normal", "a/odd.wav", "--source-column", "bank")
    assert (result.exit_code, "--source-column is for tables, and normal takes none" in result.stderr) == (1, True)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_table_with_another_separator_is_refused_as_by_a_job(folder: Path, separator: str) -> None:
    """Its decimals may have commas, and in a job they would be other numbers, or none."""
    Path("rows.csv").write_text("amount,hour,country\n70,12,ES\n".replace(",", separator))
    result = run("detect", "transfers", "rows.csv")
    assert result.exit_code == 3
    assert f"UNREADABLE: its columns are separated by {separator!r}, and tables are read with commas" in result.stdout


def test_rows_that_are_not_in_utf8_are_told_with_the_command_that_converts_them(folder: Path) -> None:
    Path("rows.csv").write_bytes("amount,hour,country\n70,12,ES\n70,12,España\n".encode("cp1252"))
    assert run("detect", "transfers", "rows.csv").stderr.splitlines()[-1] == (
        "Error: rows.csv: is not in UTF-8; if a program of Windows such as Excel wrote it, convert it with "
        "`iconv -f WINDOWS-1252 -t UTF-8 rows.csv > rows-utf8.csv`"
    )


def test_columns_that_the_model_does_not_take_are_ignored_and_one_that_it_lacks_is_named(folder: Path) -> None:
    Path("rows.csv").write_text("id,amount,note,hour,country\nx1,70,a text,12,ES\nx2,NA,,3,FR\n")
    first, second = lines(run("detect", "transfers", "rows.csv", "--json"))
    Path("plain.csv").write_text("amount,hour,country\n70,12,ES\n,3,FR\n")
    assert [first["score"], second["score"]] == [
        each["score"] for each in lines(run("detect", "transfers", "plain.csv", "--json"))
    ]
    Path("rows.csv").write_text("amount,wrong\n1,12\n")
    result = run("detect", "transfers", "rows.csv", "plain.csv")
    assert result.exit_code == 3
    lacking, *answered = result.stdout.splitlines()
    assert "UNREADABLE: the table has no column 'hour', 'country'; it has amount, wrong" in lacking
    assert len(answered) == 2


def test_a_row_that_cannot_be_read_costs_the_others_nothing(folder: Path) -> None:
    Path("rows.csv").write_text("amount,hour,country\nmuch,12,ES\n1,2\n1_0,2,ES\ninf,2,ES\n70,12,ES\n\ntrue, 12 ,ES\n")
    result = run("detect", "transfers", "rows.csv", "--json")
    assert result.exit_code == 3
    found = lines(result)
    problems = [each["error"]["message"] if "error" in each else "" for each in found]
    assert "'much' is in 'amount', a column of numbers" in problems[0]
    assert problems[1] == "the row has 2 values, and the table 3 columns"
    assert "'1_0'" in problems[2]
    assert "'inf'" in problems[3]
    assert problems[4:] == ["", ""]


def test_a_cell_means_a_missing_value_here_and_in_a_job_alike() -> None:
    assert table_rows.MISSING == table_numbers.MISSING


def test_an_item_comes_from_standard_input_and_results_go_to_files(folder: Path) -> None:
    (item,) = lines(run("embed", "digits", "-", "--json", input=Path("digit.png").read_bytes()))
    assert run("embed", "digits", "digit.png", "--out", "vectors").exit_code == 0
    np.testing.assert_allclose(np.load("vectors/digit.png.npy"), item["vectors"], rtol=1e-5)
    assert run("reconstruct", "normal", "a/odd.wav", "--out", "made").exit_code == 0
    assert np.load("made/a/odd.wav.npy").shape[0] == 3
    result = run("reconstruct", "normal", "a/odd.wav", "--out", "made", "--format", "png")
    assert result.exit_code == 1
    assert "INVALID_ARGUMENT" in result.stderr
    assert "field format" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["models"],
        ["models", "normal"],
        ["classify", "kinds", "a/odd.wav", "torn.wav", "absent.wav"],
        ["detect", "normal", "a/odd.wav", "torn.wav", "absent.wav", "--windows"],
        ["embed", "digits", "digit.png", "torn.wav", "--out", "vectors"],
        ["reconstruct", "normal", "a/odd.wav", "torn.wav", "--out", "made"],
        ["monitor", "normal", "a/odd.wav", "--alarms-only"],
        ["monitor", "normal", "a/odd.wav", "--also", "kinds"],
    ],
)
def test_every_line_of_json_is_an_object_and_nothing_else_is_printed(folder: Path, arguments: list[str]) -> None:
    result = run(*arguments, "--json")
    assert result.exit_code in (0, 3)
    assert result.stderr == ""
    for line in result.stdout.splitlines():
        found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert isinstance(found, dict)
        if "written" in found:
            assert Path(found["written"]).is_file()
    assert ("--out" in arguments) == ('"written"' in result.stdout)


@pytest.mark.slow
def test_an_item_that_is_too_large_costs_the_others_nothing(folder: Path) -> None:
    with Path("large.wav").open("wb") as file:
        file.truncate(70 << 20)
    with Path("giant.wav").open("wb") as file:
        file.truncate((1 << 30) + 1)
    result = run("classify", "kinds", "a/odd.wav", "large.wav", "giant.wav", "b/normal.wav", "--json")
    assert result.exit_code == 3
    answers = {each["file"]: each.get("error", {}) for each in lines(result)}
    assert list(answers) == ["a/odd.wav", "large.wav", "giant.wav", "b/normal.wav"]
    assert answers["a/odd.wav"] == answers["b/normal.wav"] == {}
    assert answers["large.wav"]["code"] == "RESOURCE_EXHAUSTED"
    assert "larger than the gateway takes (--max-message-mib)" in answers["large.wav"]["message"]
    assert answers["giant.wav"]["message"] == "it has more than 1024 MiB; use a batch job"


def test_a_pipe_is_read_once_though_another_item_is_too_large(folder: Path) -> None:
    with Path("large.wav").open("wb") as file:
        file.truncate(70 << 20)
    read, write = os.pipe()
    os.write(write, normal())
    os.close(write)
    try:
        result = run("classify", "kinds", f"/dev/fd/{read}", "large.wav", "--json")
    finally:
        os.close(read)
    piped, large = lines(result)
    assert ("error" in piped, large["error"]["code"]) == (False, "RESOURCE_EXHAUSTED")


def test_what_a_terminal_would_obey_is_not_printed(folder: Path) -> None:
    Path("\x1b[31mred.wav").write_bytes(normal())
    result = run("classify", "kinds", "\x1b[31mred.wav")
    assert result.stdout.startswith("\\x1b[31mred.wav")


def test_more_files_than_a_group_are_answered_in_their_order(folder: Path) -> None:
    for number in range(40):
        Path(f"{number:02}.png").write_bytes(png(np.full((32, 32), number, np.uint8)))
    answers = lines(run("classify", "digits", "[0-9]*.png", "--json"))
    assert [each["file"] for each in answers] == [f"{number:02}.png" for number in range(40)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "kinds", "."], "is a folder; name its files"),
        (["classify", "kinds", "torn.wav", "--source-pattern", "("], "not a regular expression"),
        (["classify", "kinds", "torn.wav", "--source-pattern", "a"], "has no group"),
        (["classify", "kinds", "torn.wav", "--source-pattern", "(a)", "--source", "a"], "give one of them alone"),
        (["classify", "kinds", "torn.wav", "--source-column", "c", "--source", "a"], "--source and --source-column are given"),
        (["monitor", "kinds", "a/odd.wav", "--also", "kinds"], "are both a classifier"),
        (["detect", "normal", "a/odd.wav", "--alpha", "1"], "--alpha"),
    ],
)
def test_wrong_usage_ends_with_2(folder: Path, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_a_call_that_fails_is_one_line_with_a_request_id(folder: Path) -> None:
    result = run("classify", "nothing", "digit.png")
    assert result.exit_code == 1
    assert "NOT_FOUND: no model named 'nothing'" in result.stderr
    assert "(request id " in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_is_listened_to(folder: Path) -> None:
    sound = np.concatenate([calm(3 * STRETCH_S), fault(5 * STRETCH_S), calm(5 * STRETCH_S, seed=901)])
    Path("long.wav").write_bytes(wav(sixteen_bits(sound)))
    options = ["--source", "a", "--false-alarms-per-hour", 20]
    result = run("monitor", "normal", "long.wav", "--also", "kinds", "--alarms-only", "--exit-code", *options)
    assert result.exit_code == 4
    begins, ends = result.stdout.splitlines()
    assert begins.startswith("10.24-10.75 s")
    assert begins.endswith("ALARM BEGINS")
    assert ends.endswith("alarm ends")
    assert "an alarm begins after 4 flagged stretches" in result.stderr
    assert "39 windows, 1 alarm\n" in result.stderr
    messages = lines(run("monitor", "normal", "long.wav", "--json", *options))
    assert [next(iter(each)) for each in messages] == ["started", *["window"] * 39, "ended"]
    assert messages[-1]["ended"]["alarms"] == 1


def test_a_wav_whose_length_its_writer_did_not_know_is_listened_to(folder: Path) -> None:
    data = bytearray(wav(sixteen_bits(calm(3 * STRETCH_S))))
    place = data.index(b"data") + 4
    data[place : place + 4] = bytes(4)
    Path("live.wav").write_bytes(data)
    ended = lines(run("monitor", "normal", "live.wav", "--json"))[-1]["ended"]
    assert ended["windows"] == 9


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"RIFF", "is not a WAV file that can be read"), (wav(np.zeros(9, np.float32), kind="AIFF"), "give raw PCM with --rate")],
)
def test_sound_that_is_no_wav_says_how_to_convert_it(folder: Path, data: bytes, message: str) -> None:
    Path("sound").write_bytes(data)
    result = run("monitor", "normal", "sound")
    assert (result.exit_code, message in result.stderr) == (1, True)


def head_of_wav(data_bytes: int) -> bytes:
    """The head of a WAV file of one channel, as `arecord` (2 GiB) and `ffmpeg` (4 GiB) write it to a pipe."""
    form = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 2**32 - 1)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", data_bytes)
    )


@pytest.mark.parametrize(
    ("head", "options"),
    [
        (b"", ("--rate", str(SAMPLE_RATE))),
        (head_of_wav(0), ()),
        (head_of_wav(2**31), ()),
        (head_of_wav(2**32 - 1), ()),
    ],
    ids=["raw", "no length", "arecord", "ffmpeg"],
)
def test_a_microphone_is_heard_while_it_goes_on(folder: Path, head: bytes, options: Sequence[str]) -> None:
    """Windows come out of the command before its input has ended."""
    command = [str(AVIZOR), "call", "monitor", "normal", *options, "--json", "-"]
    with WarmPopen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(head + sixteen_bits(calm(2.0)).tobytes())
        process.stdin.flush()
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        process.stdin.close()
        rest = process.stdout.read().splitlines()
    assert "started" in first
    assert second["window"]["span"]["end_sample"] == 4096
    assert (process.returncode, "ended" in json.loads(rest[-1])) == (0, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stream_that_is_stopped_ends_at_once_and_says_nothing_more(folder: Path, number: int, code: int) -> None:
    command = [str(AVIZOR), "call", "monitor", "normal", "--rate", str(SAMPLE_RATE), "-"]
    with WarmPopen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("an alarm begins after")
        process.send_signal(number)
        assert process.wait(timeout=30) == code  # while the microphone is silent
        assert process.communicate(timeout=30) == ("", "")


def test_a_stream_whose_gateway_ends_is_told_so_while_the_microphone_is_silent(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running:
        command = [str(AVIZOR), "call", "monitor", "normal", "--rate", str(SAMPLE_RATE), "--target", running.address, "-"]
        with WarmPopen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("an alarm begins after")
            running.process.kill()
            assert process.wait(timeout=30) == 1
            assert "the server closed the connection before all was answered" in process.stderr.read()


@pytest.mark.parametrize("command", ["embed", "reconstruct"])
def test_a_result_that_cannot_be_written_is_named_and_leaves_what_was_there(folder: Path, command: str) -> None:
    (folder / "usual.wav").write_bytes(normal())
    (folder / "disk").mkdir()
    mount(folder / "disk", "size=64k")
    try:
        before = folder / "disk" / "out" / "usual.wav.npy"
        before.parent.mkdir()
        before.write_text("from an earlier call")
        with (folder / "disk" / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        result = run(command, "normal", "usual.wav", "--out", "disk/out")
        assert result.exit_code == 1
        assert "disk/out/usual.wav.npy: cannot be written (No space left on device); make room, or choose" in result.stderr
        assert [path.read_text() for path in before.parent.iterdir()] == ["from an earlier call"]
        result = run(command, "normal", "usual.wav", "--out", "usual.wav")
        assert "usual.wav/usual.wav.npy: cannot be written (File exists)" in result.stderr
    finally:
        subprocess.run(["umount", "-l", folder / "disk"], check=False)
