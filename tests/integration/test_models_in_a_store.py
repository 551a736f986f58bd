"""`avizor models push` and `pull` over a real server of S3: what counts is whole, and what is there is never lost."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration.model_stores import add_version, files, keys, other_calibration, pull, push, refusal, run
from support.object_stores import S3

from avizor_inference.checks.check_version import check_model
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import ModelNotFound, RepositoryError
from avizor_inference.model_store.push import push as send
from avizor_inference.model_store.stored_model import store_of
from avizor_inference.repository.calibration_store import activate
from avizor_inference.repository.models import ModelRepository
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


def test_what_is_pushed_and_pulled_is_the_same_and_answers(copied: Path, tmp_path: Path, s3: S3) -> None:
    pushed = push(copied, s3)
    assert pushed.splitlines()[0].startswith(f"digits: {s3.url('kept')}/digits/1 is there now (")
    there = tmp_path / "there" / "models"
    printed = pull(there, s3)
    assert printed.splitlines()[0].startswith(f"digits: {there}/digits/1 is here now (")
    assert re.findall(r"[\d.]+ MB", printed) == re.findall(r"[\d.]+ MB", pushed)
    assert files(there) == files(copied)
    assert [check_model(ModelRepository(there), name) for name in ("digits", "transfers")] == [[], []]
    with EmbeddedEngine(there) as engine:
        (name, tensor), *_ = engine.spec("transfers").inputs.items()
        score = engine.infer(InferRequest("transfers", {name: np.zeros((2, *tensor.item_shape), tensor.dtype)}, ("score",)))
    assert score["score"].shape == (2, 1)


def test_what_is_there_is_not_sent_again(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "digits")
    s3.requests.clear()
    assert push(copied, s3, "digits") == f"digits: {s3.url('kept')}/digits/1 was there\n"
    sent = {path for method, path, _ in s3.requests if method == "PUT" and path.endswith("onnx")}
    assert len(sent) <= 1  # the question whether it may be written
    there = tmp_path / "there"
    pull(there, s3, "digits")
    s3.requests.clear()
    assert pull(there, s3, "digits") == f"digits: {there}/digits/1 was here\n"
    assert not [path for _, path, _ in s3.requests if path.endswith("onnx")]


def test_a_second_version_takes_over_where_it_is_pulled(copied: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for number in (1, 2):
        add_version(copied, here, number)
        push(here, s3)
        pull(there, s3)
        assert ModelRepository(there).served("digits").version == number
        assert check_model(ModelRepository(there), "digits") == []


def test_a_choice_travels_with_a_push_and_lasts_where_it_was_made(copied: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for number in (1, 2):
        add_version(copied, here, number)
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


def test_a_version_of_the_same_number_is_never_replaced(copied: Path, tmp_path: Path, s3: S3) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    add_version(copied, here, 1)
    add_version(copied, other, 1, "another training")
    push(here, s3)
    kept = keys(s3)
    told = refusal("push", "--to", s3.url("kept"), "--models", other)
    assert isinstance(told, RepositoryError)
    assert "has another version 1, made" in str(told)
    assert keys(s3) == kept
    before = files(other)
    assert "is another version 1 than" in str(refusal("pull", "--from", s3.url("kept"), "--models", other))
    assert files(other) == before


def test_two_pushes_at_once_of_other_versions_both_count(copied: Path, tmp_path: Path, s3: S3) -> None:
    here = [tmp_path / "a", tmp_path / "b"]
    for folder, number in zip(here, (1, 2), strict=True):
        add_version(copied, folder, number)
    threads = [threading.Thread(target=push, args=(folder, s3)) for folder in here]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pull(tmp_path / "there", s3, "digits", "--version", 1)
    pull(tmp_path / "there", s3, "digits", "--version", 2)
    assert check_model(ModelRepository(tmp_path / "there"), "digits") == []


def test_two_pushes_at_once_of_one_number_leave_one_of_them_whole(copied: Path, tmp_path: Path, s3: S3) -> None:
    """The first is held before its model.onnx, which is so large that it is sent in pieces: a store replaces files by these."""
    here, other = tmp_path / "here", tmp_path / "other"
    for folder, letter in ((here, "a"), (other, "b")):
        add_version(copied, folder, 1, letter * (17 * 2**20))
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
    copied: Path, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has a minute and a half: on a slow line that is not enough for all of it."""
    monkeypatch.setattr("avizor_inference.items.object_path._WHOLE_BYTES", 1000)
    monkeypatch.setattr("avizor_inference.items.object_path._BLOCK_BYTES", 1000)
    monkeypatch.setattr("avizor_inference.items.object_path._PIECE_BYTES", 10_000)
    push(copied, s3, "digits")
    pull(tmp_path / "there", s3, "digits")
    size = (copied / "digits/1/model.onnx").stat().st_size
    ranges = [range for method, range in s3.about("kept/digits/1/model.onnx") if method == "GET" and range]
    assert len(ranges) == -(-size // 10_000)


def test_calibrations_follow_their_version(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "transfers")
    there = tmp_path / "there"
    pull(there, s3, "transfers")
    here = ModelRepository(copied).version("transfers")
    first = here.calibrations()[0]
    second = other_calibration(here, 5.0)
    assert push(copied, s3, "transfers").endswith("was there, with 1 new calibration\n")
    assert pull(there, s3, "transfers").endswith("was here, with 1 new calibration\n")
    served = ModelRepository(there).version("transfers")
    assert served.calibrations() == (second,)
    activate(here.folder, first)  # back to the first one: the store follows, and who pulls is told
    push(copied, s3, "transfers")
    note = "another one is active here; to change that: "
    note += f"avizor calibrate transfers --version 1 --models {there} --activate-id {first.id}"
    assert note in pull(there, s3, "transfers")
    assert served.calibrations() == (second,)


def test_calibrations_travel_also_where_none_is_active(copied: Path, tmp_path: Path, s3: S3) -> None:
    here = ModelRepository(copied).version("transfers")
    (here.folder / "calibrations/active.json").unlink()
    push(copied, s3, "transfers")
    pull(tmp_path / "there", s3, "transfers")
    assert ModelRepository(tmp_path / "there").version("transfers").calibration_ids() == here.calibration_ids() != []


def test_what_is_wrong_in_a_store_is_not_told_of_a_folder_that_is_gone(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "transfers")
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
    copied: Path, tmp_path: Path, s3: S3
) -> None:
    push(copied, s3, "transfers")
    there = tmp_path / "there"
    pull(there, s3, "transfers")
    (there / "transfers/1/calibrations/active.json").unlink()  # as if it was killed before it wrote that
    assert pull(there, s3, "transfers") == f"transfers: {there}/transfers/1 was here\n"
    assert files(there / "transfers") == files(copied / "transfers")


@pytest.mark.kill
@pytest.mark.parametrize("after", [False, True])
def test_a_push_that_is_killed_at_any_request_leaves_nothing_half_and_goes_on(
    copied: Path, tmp_path: Path, s3: S3, *, after: bool
) -> None:
    words, at = ["models", "push", "transfers", "--to", s3.url("kept"), "--models", str(copied)], 0
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
            push(copied, s3, "transfers")
            pull(there, s3, "transfers")
        assert files(there / "transfers") == files(copied / "transfers")
    assert at > 6
