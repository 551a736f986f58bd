"""`avizor models push` and `pull` over a real server of S3: what counts is whole, and what is there is never lost."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from integration.disks import mount
from support.object_stores import S3, reached, s3_server

from avizor_inference.checks.check_version import check_model
from avizor_inference.cli import models as command
from avizor_inference.digests import sha256_of_file
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import AvizorError, ModelNotFound, RepositoryError, SettingsError
from avizor_inference.model_store.push import push as send
from avizor_inference.model_store.stored_model import store_of
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.calibration_store import activate, store
from avizor_inference.repository.config_text import with_digests
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.version_choice import choose_version

# Runs a command that is killed before its AT-th request that writes to the store, or after it.
KILLED = """
import os, signal, avizor_cli.main
from avizor_inference.items.object_path import ObjectPath
put, done = ObjectPath.put, []
def killed(path, *given, **named):
    done.append(path)
    if len(done) == AT and not AFTER:
        os.kill(os.getpid(), signal.SIGKILL)
    written = put(path, *given, **named)
    if len(done) == AT and AFTER:
        os.kill(os.getpid(), signal.SIGKILL)
    return written
ObjectPath.put = killed
avizor_cli.main.main()
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with s3_server() as server, reached(server, monkeypatch):
        yield server


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    """A repository of a classifier and an autoencoder with a calibration, to change."""
    for name in ("digits", "transfers"):
        shutil.copytree(models / name, tmp_path / "models" / name)
    return tmp_path / "models"


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=True)


def said(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def refusal(*words: object) -> AvizorError:
    error = run(*words).exception
    assert isinstance(error, AvizorError), error
    return error


def push(models: Path, s3: S3, *words: object) -> str:
    return said("push", *words, "--to", s3.url("kept"), "--models", models)


def pull(models: Path, s3: S3, *words: object) -> str:
    return said("pull", *words, "--from", s3.url("kept"), "--models", models)


def files(folder: Path) -> dict[str, bytes]:
    """The content of each file that a reader sees, by its path."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path): (folder / path).read_bytes() for path in paths if not any(part.startswith(".") for part in path.parts)}


def add_version(own: Path, models: Path, number: int, text: str = "") -> None:
    """Add a version of `digits` to a repository, with the same network. text: in the graph, so that its digest is another."""
    folder = models / "digits" / str(number)
    shutil.copytree(own / "digits" / "1", folder)
    graph = onnx.load(folder / "model.onnx")
    graph.doc_string = text or f"version {number}"
    onnx.save(graph, folder / "model.onnx")
    sha256, size = sha256_of_file(folder / "model.onnx"), (folder / "model.onnx").stat().st_size
    changed = {"version": number, "model_sha256": sha256, "model_bytes": size}
    manifest = json.loads((folder / "manifest.json").read_text()) | changed
    (folder / "manifest.json").write_text(json.dumps(manifest))
    config = models / "digits" / "config.pbtxt"
    if not config.exists():
        shutil.copy(own / "digits" / "config.pbtxt", config)
        shutil.copy(own / "digits" / "labels.txt", config.parent)
    config.write_text(with_digests(config.read_text(), {number: sha256}, "config.pbtxt"))


def keys(s3: S3) -> dict[str, str]:
    """The objects of the store, with what tells one content from another."""
    return {each["Key"]: each["ETag"] for each in s3.client.list_objects_v2(Bucket=s3.bucket).get("Contents", [])}


def other_calibration(version: ModelVersion, score: float) -> Calibration:
    """Another calibration of the version, which becomes the active one."""
    (first,) = version.calibrations()
    made = Calibration.model_validate(first.model_dump() | {"sources": {"a": tuple((score + n,) for n in range(30))}})
    store(version.folder, made)
    activate(version.folder, made)
    return made


def test_what_is_pushed_and_pulled_is_the_same_and_answers(own: Path, tmp_path: Path, s3: S3) -> None:
    pushed = push(own, s3)
    assert pushed.splitlines()[0].startswith(f"digits: {s3.url('kept')}/digits/1 is there now (")
    there = tmp_path / "there" / "models"
    printed = pull(there, s3)
    assert printed.splitlines()[0].startswith(f"digits: {there}/digits/1 is here now (")
    assert re.findall(r"[\d.]+ MB", printed) == re.findall(r"[\d.]+ MB", pushed)
    assert files(there) == files(own)
    assert [check_model(ModelRepository(there), name) for name in ("digits", "transfers")] == [[], []]
    with EmbeddedEngine(there) as engine:
        (name, tensor), *_ = engine.spec("transfers").inputs.items()
        score = engine.infer(InferRequest("transfers", {name: np.zeros((2, *tensor.item_shape), tensor.dtype)}, ("score",)))
    assert score["score"].shape == (2, 1)


def test_what_is_there_is_not_sent_again(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "digits")
    s3.requests.clear()
    assert push(own, s3, "digits") == f"digits: {s3.url('kept')}/digits/1 was there\n"
    sent = {path for method, path, _ in s3.requests if method == "PUT" and path.endswith("onnx")}
    assert len(sent) <= 1  # the question whether it may be written
    there = tmp_path / "there"
    pull(there, s3, "digits")
    s3.requests.clear()
    assert pull(there, s3, "digits") == f"digits: {there}/digits/1 was here\n"
    assert not [path for _, path, _ in s3.requests if path.endswith("onnx")]


def test_a_second_version_takes_over_where_it_is_pulled(own: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for number in (1, 2):
        add_version(own, here, number)
        push(here, s3)
        pull(there, s3)
        assert ModelRepository(there).served("digits").version == number
        assert check_model(ModelRepository(there), "digits") == []


def test_a_choice_travels_with_a_push_and_lasts_where_it_was_made(own: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for number in (1, 2):
        add_version(own, here, number)
        push(here, s3)
    pull(there, s3, "digits", "--version", 1)
    choose_version(here / "digits", 1)
    push(here, s3)
    assert pull(tmp_path / "new", s3).startswith(f"digits: {tmp_path}/new/digits/1 is here now")
    choose_version(there / "digits", 1)
    note = "  note: another version is served here; to change that: avizor models load digits --version 2"
    note += f" --models {there}\n"
    assert pull(there, s3, "digits", "--version", 2).endswith(note)
    assert ModelRepository(there).served("digits").version == 1
    assert ModelRepository(there).versions("digits") == [1, 2]


def test_a_version_of_the_same_number_is_never_replaced(own: Path, tmp_path: Path, s3: S3) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    add_version(own, here, 1)
    add_version(own, other, 1, "another training")
    push(here, s3)
    kept = keys(s3)
    told = refusal("push", "--to", s3.url("kept"), "--models", other)
    assert isinstance(told, RepositoryError)
    assert "has another version 1, made" in str(told)
    assert keys(s3) == kept
    before = files(other)
    assert "is another version 1 than" in str(refusal("pull", "--from", s3.url("kept"), "--models", other))
    assert files(other) == before


def test_two_pushes_at_once_of_other_versions_both_count(own: Path, tmp_path: Path, s3: S3) -> None:
    here = [tmp_path / "a", tmp_path / "b"]
    for folder, number in zip(here, (1, 2), strict=True):
        add_version(own, folder, number)
    threads = [threading.Thread(target=push, args=(folder, s3)) for folder in here]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pull(tmp_path / "there", s3, "digits", "--version", 1)
    pull(tmp_path / "there", s3, "digits", "--version", 2)
    assert check_model(ModelRepository(tmp_path / "there"), "digits") == []


def test_two_pushes_at_once_of_one_number_leave_one_of_them_whole(own: Path, tmp_path: Path, s3: S3) -> None:
    """The first is held before its model.onnx, which is so large that it is sent in pieces: a store replaces files by these."""
    here, other = tmp_path / "here", tmp_path / "other"
    for folder, letter in ((here, "a"), (other, "b")):
        add_version(own, folder, 1, letter * (17 * 2**20))
    is_held, goes_on = threading.Event(), threading.Event()

    def slow(request: dict[str, Any]) -> None:
        if request["QUERY_STRING"].startswith("uploads") and not is_held.is_set():
            is_held.set()
            goes_on.wait(60)

    s3.fault = slow
    first = threading.Thread(target=send, args=(ModelRepository(here).version("digits"), store_of(s3.url("kept"))))
    first.start()
    try:
        assert is_held.wait(60)
        told = run("push", "--to", s3.url("kept"), "--models", other).exception
    finally:
        goes_on.set()
        first.join()
    pull(tmp_path / "there", s3)
    assert files(tmp_path / "there") == files(here)
    assert "another machine pushes a version of this number" in str(told)


def test_a_large_model_is_fetched_by_requests_of_which_none_takes_long(
    own: Path, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has a minute and a half: on a slow line that is not enough for all of it."""
    monkeypatch.setattr("avizor_inference.items.object_path._WHOLE_BYTES", 1000)
    monkeypatch.setattr("avizor_inference.items.object_path._BLOCK_BYTES", 1000)
    monkeypatch.setattr("avizor_inference.items.object_path._PIECE_BYTES", 10_000)
    push(own, s3, "digits")
    pull(tmp_path / "there", s3, "digits")
    size = (own / "digits/1/model.onnx").stat().st_size
    ranges = [range for method, range in s3.about("kept/digits/1/model.onnx") if method == "GET" and range]
    assert len(ranges) == -(-size // 10_000)


def test_calibrations_follow_their_version(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "transfers")
    there = tmp_path / "there"
    pull(there, s3, "transfers")
    here = ModelRepository(own).version("transfers")
    first = here.calibrations()[0]
    second = other_calibration(here, 5.0)
    assert push(own, s3, "transfers").endswith("was there, with 1 new calibration\n")
    assert pull(there, s3, "transfers").endswith("was here, with 1 new calibration\n")
    served = ModelRepository(there).version("transfers")
    assert served.calibrations() == (second,)
    activate(here.folder, first)  # back to the first one: the store follows, and who pulls is told
    push(own, s3, "transfers")
    note = "another one is active here; to change that: "
    note += f"avizor calibrate transfers --version 1 --models {there} --activate-id {first.id}"
    assert note in pull(there, s3, "transfers")
    assert served.calibrations() == (second,)


def test_calibrations_travel_also_where_none_is_active(own: Path, tmp_path: Path, s3: S3) -> None:
    here = ModelRepository(own).version("transfers")
    (here.folder / "calibrations/active.json").unlink()
    push(own, s3, "transfers")
    pull(tmp_path / "there", s3, "transfers")
    assert ModelRepository(tmp_path / "there").version("transfers").calibration_ids() == here.calibration_ids() != []


def test_what_is_wrong_in_a_store_is_not_told_of_a_folder_that_is_gone(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "transfers")
    folder = "kept/transfers/1/calibrations/"
    s3.put(f"{folder}abcdefabcdef.json", b"{}")
    told = str(refusal("pull", "--from", s3.url("kept"), "--models", tmp_path / "there"))
    assert told.startswith(f"{s3.url('kept')}/transfers: calibrations/abcdefabcdef.json is not a calibration")
    s3.client.delete_object(Bucket=s3.bucket, Key=f"{folder}abcdefabcdef.json")
    s3.put(f"{folder}active.json", b'{"schema_version": 1, "histories": {"onnxruntime-cpu/fp32": ["abcdefabcdef"]}}')
    told = str(refusal("pull", "--from", s3.url("kept"), "--models", tmp_path / "there"))
    assert ".avizor-staging" not in told
    assert f"--models {tmp_path}/there --version 1" in told


def test_a_calibration_that_a_stopped_pull_has_not_activated_is_activated_by_the_next(
    own: Path, tmp_path: Path, s3: S3
) -> None:
    push(own, s3, "transfers")
    there = tmp_path / "there"
    pull(there, s3, "transfers")
    (there / "transfers/1/calibrations/active.json").unlink()  # as if it was killed before it wrote that
    assert pull(there, s3, "transfers") == f"transfers: {there}/transfers/1 was here\n"
    assert files(there / "transfers") == files(own / "transfers")


@pytest.mark.kill
@pytest.mark.parametrize("after", [False, True])
def test_a_push_that_is_killed_at_any_request_leaves_nothing_half_and_goes_on(
    own: Path, tmp_path: Path, s3: S3, *, after: bool
) -> None:
    words, at = ["models", "push", "transfers", "--to", s3.url("kept"), "--models", str(own)], 0
    is_killed = True
    while is_killed:
        at += 1
        for key in keys(s3):
            s3.client.delete_object(Bucket=s3.bucket, Key=key)
        script = KILLED.replace("AT", str(at)).replace("AFTER", str(after))
        ended = subprocess.run([sys.executable, "-c", script, *words], check=False, capture_output=True, timeout=120)
        is_killed = ended.returncode == -signal.SIGKILL
        assert is_killed or ended.returncode == 0, ended.stderr
        there = tmp_path / f"there-{at}"
        if (early := run("pull", "transfers", "--from", s3.url("kept"), "--models", there)).exit_code:
            assert isinstance(early.exception, ModelNotFound)
            assert is_killed
            assert files(there) == {}
            push(own, s3, "transfers")
            pull(there, s3, "transfers")
        assert files(there / "transfers") == files(own / "transfers")
    assert at > 6


def test_a_file_that_was_changed_in_the_store_is_not_taken(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "digits")
    s3.put("kept/digits/1/model.onnx", (own / "digits/1/model.onnx").read_bytes()[:-1] + b"x")
    there = tmp_path / "there"
    told = refusal("pull", "--from", s3.url("kept"), "--models", there)
    assert "is not the file its manifest describes" in str(told)
    assert "Nothing was changed here" in str(told)
    assert files(there) == {}


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_version_whose_number_no_repository_can_have_does_not_count(own: Path, tmp_path: Path, s3: S3, digits: int) -> None:
    """19 digits are too many for the name of a version's folder, and 5000 for Python's integers."""
    push(own, s3, "digits")
    number, folder = "1" * digits, own / "digits/1"
    text = (own / "digits/config.pbtxt").read_text()
    s3.put("kept/digits/config.pbtxt", text.replace("avizor_model_sha256_1", f"avizor_model_sha256_{number}").encode())
    s3.put(f"kept/digits/{number[:19]}/manifest.json", (folder / "manifest.json").read_bytes())
    assert "was cut off" in str(refusal("pull", "--from", s3.url("kept"), "--models", tmp_path / "there"))
    added = f'parameters [ {{ key: "avizor_model_sha256_{number}", value: {{ string_value: "0" }} }} ]\n'
    s3.put("kept/digits/config.pbtxt", (text + added).encode())
    pull(there := tmp_path / "there", s3)
    assert ModelRepository(there).versions("digits") == [1]


def test_one_model_that_is_refused_keeps_no_other_from_being_copied(own: Path, tmp_path: Path, s3: S3) -> None:
    (own / "a-folder").mkdir()
    assert "holds no version of a model" in str(refusal("push", "--to", s3.url("kept"), "--models", own))
    for name in ("copied", "too"):
        for key in ("config.pbtxt", "1/manifest.json"):
            s3.put(f"kept/{name}/{key}", (own / "digits" / key).read_bytes())
    there = tmp_path / "there"
    told = str(refusal("pull", "--from", s3.url("kept"), "--models", there)).splitlines()
    assert [line.partition(" ")[0] for line in told] == [s3.url(f"kept/{name}/1/manifest.json") for name in ("copied", "too")]
    assert all("is of digits version 1: it was copied there by other means" in line for line in told)
    assert ModelRepository(there).names() == ["digits", "transfers"]


def test_odd_files_of_a_version_stay_where_they_are(own: Path, tmp_path: Path, s3: S3) -> None:
    """Names that are no text, or too long for a disk, and what is no file."""
    folder = own / "digits/1"
    kept = files(own / "digits")
    for name in (b"\xff\xfe", b"my notes", "größe".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("odd")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    push(own, s3, "digits")
    s3.put("kept/digits/1/" + 300 * "n", b"odd")
    s3.put("kept/digits/1/.hidden", b"odd")
    pull(tmp_path / "there", s3)
    assert files(tmp_path / "there/digits") == kept


def test_a_broken_config_of_a_model_that_is_here_is_told(own: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    add_version(own, here, 1)
    push(here, s3)
    pull(there, s3)
    add_version(own, here, 2)
    push(here, s3)
    config = there / "digits/config.pbtxt"
    config.write_bytes(b"\xff\xfe")
    told = refusal("pull", "--from", s3.url("kept"), "--models", there)
    assert str(told) == f"{config}: is not UTF-8; export the model again"
    config.unlink()  # that of the store takes its place, and all versions that are here are in it
    s3.put("kept/digits/config.pbtxt", with_digests((here / "digits/config.pbtxt").read_text(), {1: ""}, "").encode())
    pull(there, s3)
    assert check_model(ModelRepository(there), "digits") == []


def test_a_choice_in_the_store_is_told_where_another_version_is_served(own: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for number in (1, 2):
        add_version(own, here, number)
        push(here, s3)
        pull(there, s3)
    choose_version(here / "digits", 1)
    push(here, s3)
    note = "  note: another version is served here; to change that: avizor models load digits --version 1"
    note += f" --models {there}\n"
    assert pull(there, s3) == f"digits: {there}/digits/1 was here\n{note}"


def test_a_version_that_is_damaged_here_is_not_sent(own: Path, s3: S3) -> None:
    (own / "digits/1/model.onnx").write_bytes(b"damaged")
    assert "Nothing was sent" in str(refusal("push", "digits", "--to", s3.url("kept"), "--models", own))
    assert not [method for method, _, _ in s3.requests if method == "PUT"]


def test_the_repository_may_be_named_before_the_command(own: Path, tmp_path: Path, s3: S3) -> None:
    assert "is there now" in said("--models", own, "push", "digits", "--to", s3.url("kept"))
    there = tmp_path / "there"
    assert f"{there}/digits/1 is here now" in said("--models", there, "pull", "digits", "--from", s3.url("kept"))


def test_a_full_disk_leaves_the_repository_as_it_was(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "digits")
    (tmp_path / "small").mkdir()
    mount(small := tmp_path / "small", "size=200k")
    try:
        told = refusal("pull", "digits", "--from", s3.url("kept"), "--models", small / "models")
        assert re.search(r"avizor-staging-digits.*: no space left on device", str(told)), told
        assert files(small) == {}
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_disk_that_fills_up_at_any_file_is_named_and_not_the_store(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "transfers")
    (small := tmp_path / "small").mkdir()
    refused = 0
    for pages in range(1, 16):
        mount(small, f"size={4 * pages}k")
        try:
            result = run("pull", "transfers", "--from", s3.url("kept"), "--models", small / "models")
            if result.exit_code:
                refused += 1
                assert str(result.exception).startswith(f"{small}/"), result.exception
                assert files(small) == {}
            else:
                assert files(small / "models/transfers") == files(own / "transfers")
        finally:
            subprocess.run(["umount", small], check=True)
    assert 5 < refused < 15


def test_a_calibration_that_a_full_disk_kept_from_being_activated_is_by_the_next_pull(
    own: Path, tmp_path: Path, s3: S3
) -> None:
    here, small = ModelRepository(own).version("transfers"), tmp_path / "small"
    small.mkdir()
    mount(small, "size=200k")
    try:
        push(own, s3, "transfers")
        pull(small / "models", s3, "transfers")
        for number in range(4):
            newest = other_calibration(here, 5.0 + number)
            push(own, s3, "transfers")
            filler = small / "filler"
            with filler.open("wb") as file:
                file.write(bytes(os.statvfs(small).f_bavail * 4096 - number * 4096))
            full = run("pull", "transfers", "--from", s3.url("kept"), "--models", small / "models")
            assert (full.exit_code == 0) == (number > 1), (number, full.output)
            filler.unlink()
            pull(small / "models", s3, "transfers")
            assert ModelRepository(small / "models").version("transfers").calibrations() == (newest,)
    finally:
        subprocess.run(["umount", small], check=True)


def test_an_answer_that_is_cut_off_is_asked_for_again(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "transfers")
    seen = set[str]()

    def cut(request: dict[str, Any]) -> tuple[str, bytes, int] | None:
        if request["REQUEST_METHOD"] != "GET" or "list-type" in request["QUERY_STRING"] or request["PATH_INFO"] in seen:
            return None
        seen.add(request["PATH_INFO"])
        return "200 OK", b"x", 1000

    s3.fault = cut
    pull(tmp_path / "there", s3, "transfers")
    assert files(tmp_path / "there/transfers") == files(own / "transfers")
    assert len(seen) > 6


def test_a_store_that_refuses_or_is_away_is_told_in_words(own: Path, s3: S3) -> None:
    def refused(request: dict[str, Any]) -> tuple[str, bytes] | None:
        if request["REQUEST_METHOD"] == "PUT":
            return "403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        return None

    s3.fault = refused
    told = refusal("push", "digits", "--to", s3.url("kept"), "--models", own)
    assert "the store refuses it (AccessDenied)" in str(told)
    s3.fault = None
    push(own, s3, "digits")


@pytest.mark.parametrize(
    ("words", "error", "problem"),
    [
        (["push", "--to", "/srv/models"], SettingsError, "is no object store; give s3://"),
        (["pull", "--from", "http://host/models"], SettingsError, "is no object store; give s3://"),
        (["pull", "--from", "s3://recordings/none"], ModelNotFound, "holds no models"),
        (["pull", "x", "--from", "s3://recordings/none"], ModelNotFound, "holds no models"),
        (["push", "--version", "1", "--to", "s3://recordings/x"], SettingsError, "--version is of one model"),
        (["push", "nobody", "--to", "s3://recordings/x"], ModelNotFound, "no model named 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said(own: Path, s3: S3, words: list[str], error: type[AvizorError], problem: str) -> None:
    told = refusal(*words, "--models", own)
    assert isinstance(told, error)
    assert problem in str(told)


def test_a_version_that_the_store_does_not_have_is_named(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "digits")
    told = refusal("pull", "digits", "--version", 7, "--from", s3.url("kept"), "--models", tmp_path / "there")
    assert str(told) == f"{s3.url('kept')}/digits has no version 7; it has 1"
    told = refusal("pull", "digit", "--from", s3.url("kept"), "--models", tmp_path / "there")
    assert str(told) == f"no model named 'digit' at {s3.url('kept')}. Available: digits"


def test_other_inputs_need_another_name(own: Path, tmp_path: Path, s3: S3) -> None:
    push(own, s3, "digits")
    odd = tmp_path / "odd" / "digits"
    shutil.copytree(own / "digits", odd)
    (odd / "1").rename(odd / "2")
    manifest = json.loads((odd / "2/manifest.json").read_text())
    manifest |= {"version": 2, "labels": [f"other {n}" for n in range(10)]}
    (odd / "2/manifest.json").write_text(json.dumps(manifest))
    (odd / "labels.txt").write_text("".join(f"other {n}\n" for n in range(10)))
    text = (odd / "config.pbtxt").read_text().replace("avizor_model_sha256_1", "avizor_model_sha256_2")
    (odd / "config.pbtxt").write_text(text)
    told = refusal("push", "digits", "--to", s3.url("kept"), "--models", odd.parent)
    assert "has other inputs, outputs or labels in version 1" in str(told)
    assert not filecmp.cmp(odd / "labels.txt", own / "digits/labels.txt")
