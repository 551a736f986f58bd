"""`avizor models push` and `pull` where a store, a disk or what is in them is not as it should be: nothing is lost."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration.disks import mount
from integration.model_stores import add_version, files, other_calibration, pull, push, refusal, run, said
from support.object_stores import S3

from avizor_inference.checks.check_version import check_model
from avizor_inference.errors import AvizorError, ModelNotFound, SettingsError
from avizor_inference.repository.config_text import with_digests
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.version_choice import choose_version


def test_a_file_that_was_changed_in_the_store_is_not_taken(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "digits")
    s3.put("kept/digits/1/model.onnx", (copied / "digits/1/model.onnx").read_bytes()[:-1] + b"x")
    there = tmp_path / "there"
    told = refusal("pull", "--from", s3.url("kept"), "--models", there)
    assert "is not the file its manifest describes" in str(told)
    assert "Nothing was changed here" in str(told)
    assert files(there) == {}


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_version_whose_number_no_repository_can_have_does_not_count(
    copied: Path, tmp_path: Path, s3: S3, digits: int
) -> None:
    """19 digits are too many for the name of a version's folder, and 5000 for Python's integers."""
    push(copied, s3, "digits")
    number, folder = "1" * digits, copied / "digits/1"
    text = (copied / "digits/config.pbtxt").read_text()
    s3.put("kept/digits/config.pbtxt", text.replace("avizor_model_sha256_1", f"avizor_model_sha256_{number}").encode())
    s3.put(f"kept/digits/{number[:19]}/manifest.json", (folder / "manifest.json").read_bytes())
    assert "was cut off" in str(refusal("pull", "--from", s3.url("kept"), "--models", tmp_path / "there"))
    added = f'parameters [ {{ key: "avizor_model_sha256_{number}", value: {{ string_value: "0" }} }} ]\n'
    s3.put("kept/digits/config.pbtxt", (text + added).encode())
    pull(there := tmp_path / "there", s3)
    assert ModelRepository(there).versions("digits") == [1]


def test_one_model_that_is_refused_keeps_no_other_from_being_copied(copied: Path, tmp_path: Path, s3: S3) -> None:
    (copied / "a-folder").mkdir()
    assert "holds no version of a model" in str(refusal("push", "--to", s3.url("kept"), "--models", copied))
    for name in ("copied", "too"):
        for key in ("config.pbtxt", "1/manifest.json"):
            s3.put(f"kept/{name}/{key}", (copied / "digits" / key).read_bytes())
    there = tmp_path / "there"
    told = str(refusal("pull", "--from", s3.url("kept"), "--models", there)).splitlines()
    assert [line.partition(" ")[0] for line in told] == [s3.url(f"kept/{name}/1/manifest.json") for name in ("copied", "too")]
    assert all("is of digits version 1: it was copied there by other means" in line for line in told)
    assert ModelRepository(there).names() == ["digits", "transfers"]


def test_odd_files_of_a_version_stay_where_they_are(copied: Path, tmp_path: Path, s3: S3) -> None:
    """Names that are no text, or too long for a disk, and what is no file."""
    folder = copied / "digits/1"
    kept = files(copied / "digits")
    for name in (b"\xff\xfe", b"my notes", "größe".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("odd")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    push(copied, s3, "digits")
    s3.put("kept/digits/1/" + 300 * "n", b"odd")
    s3.put("kept/digits/1/.hidden", b"odd")
    pull(tmp_path / "there", s3)
    assert files(tmp_path / "there/digits") == kept


def test_a_broken_config_of_a_model_that_is_here_is_told(copied: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    add_version(copied, here, 1)
    push(here, s3)
    pull(there, s3)
    add_version(copied, here, 2)
    push(here, s3)
    config = there / "digits/config.pbtxt"
    config.write_bytes(b"\xff\xfe")
    told = refusal("pull", "--from", s3.url("kept"), "--models", there)
    assert str(told) == f"{config}: is not UTF-8; export the model again"
    config.unlink()  # that of the store takes its place, and all versions that are here are in it
    s3.put("kept/digits/config.pbtxt", with_digests((here / "digits/config.pbtxt").read_text(), {1: ""}, "").encode())
    pull(there, s3)
    assert check_model(ModelRepository(there), "digits") == []


def test_a_choice_in_the_store_is_told_where_another_version_is_served(copied: Path, tmp_path: Path, s3: S3) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for number in (1, 2):
        add_version(copied, here, number)
        push(here, s3)
        pull(there, s3)
    choose_version(here / "digits", 1)
    push(here, s3)
    note = "  note: another version is served here; to change that: avizor models load digits --version 1"
    note += f" --models {there}\n"
    assert pull(there, s3) == f"digits: {there}/digits/1 was here\n{note}"


def test_a_version_that_is_damaged_here_is_not_sent(copied: Path, s3: S3) -> None:
    (copied / "digits/1/model.onnx").write_bytes(b"damaged")
    assert "Nothing was sent" in str(refusal("push", "digits", "--to", s3.url("kept"), "--models", copied))
    assert not [method for method, _, _ in s3.requests if method == "PUT"]


def test_the_repository_may_be_named_before_the_command(copied: Path, tmp_path: Path, s3: S3) -> None:
    assert "is there now" in said("--models", copied, "push", "digits", "--to", s3.url("kept"))
    there = tmp_path / "there"
    assert f"{there}/digits/1 is here now" in said("--models", there, "pull", "digits", "--from", s3.url("kept"))


def test_a_full_disk_leaves_the_repository_as_it_was(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "digits")
    (tmp_path / "small").mkdir()
    mount(small := tmp_path / "small", "size=200k")
    try:
        told = refusal("pull", "digits", "--from", s3.url("kept"), "--models", small / "models")
        assert re.search(r"avizor-staging-digits.*: no space left on device", str(told)), told
        assert files(small) == {}
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_disk_that_fills_up_at_any_file_is_named_and_not_the_store(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "transfers")
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
                assert files(small / "models/transfers") == files(copied / "transfers")
        finally:
            subprocess.run(["umount", small], check=True)
    assert 5 < refused < 15


def test_a_calibration_that_a_full_disk_kept_from_being_activated_is_by_the_next_pull(
    copied: Path, tmp_path: Path, s3: S3
) -> None:
    here, small = ModelRepository(copied).version("transfers"), tmp_path / "small"
    small.mkdir()
    mount(small, "size=200k")
    try:
        push(copied, s3, "transfers")
        pull(small / "models", s3, "transfers")
        for number in range(4):
            newest = other_calibration(here, 5.0 + number)
            push(copied, s3, "transfers")
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


def test_an_answer_that_is_cut_off_is_asked_for_again(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "transfers")
    seen = set[str]()

    def cut(request: dict[str, Any]) -> tuple[str, bytes, int] | None:
        if request["REQUEST_METHOD"] != "GET" or "list-type" in request["QUERY_STRING"] or request["PATH_INFO"] in seen:
            return None
        seen.add(request["PATH_INFO"])
        return "200 OK", b"x", 1000

    s3.fault = cut
    pull(tmp_path / "there", s3, "transfers")
    assert files(tmp_path / "there/transfers") == files(copied / "transfers")
    assert len(seen) > 6


def test_a_store_that_refuses_or_is_away_is_told_in_words(copied: Path, s3: S3) -> None:
    def refused(request: dict[str, Any]) -> tuple[str, bytes] | None:
        if request["REQUEST_METHOD"] == "PUT":
            return "403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        return None

    s3.fault = refused
    told = refusal("push", "digits", "--to", s3.url("kept"), "--models", copied)
    assert "the store refuses it (AccessDenied)" in str(told)
    s3.fault = None
    push(copied, s3, "digits")


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
def test_what_cannot_be_done_is_said(copied: Path, s3: S3, words: list[str], error: type[AvizorError], problem: str) -> None:
    told = refusal(*words, "--models", copied)
    assert isinstance(told, error)
    assert problem in str(told)


def test_a_version_that_the_store_does_not_have_is_named(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "digits")
    told = refusal("pull", "digits", "--version", 7, "--from", s3.url("kept"), "--models", tmp_path / "there")
    assert str(told) == f"{s3.url('kept')}/digits has no version 7; it has 1"
    told = refusal("pull", "digit", "--from", s3.url("kept"), "--models", tmp_path / "there")
    assert str(told) == f"no model named 'digit' at {s3.url('kept')}. Available: digits"


def test_other_inputs_need_another_name(copied: Path, tmp_path: Path, s3: S3) -> None:
    push(copied, s3, "digits")
    odd = tmp_path / "odd" / "digits"
    shutil.copytree(copied / "digits", odd)
    (odd / "1").rename(odd / "2")
    manifest = json.loads((odd / "2/manifest.json").read_text())
    manifest |= {"version": 2, "labels": [f"other {n}" for n in range(10)]}
    (odd / "2/manifest.json").write_text(json.dumps(manifest))
    (odd / "labels.txt").write_text("".join(f"other {n}\n" for n in range(10)))
    text = (odd / "config.pbtxt").read_text().replace("avizor_model_sha256_1", "avizor_model_sha256_2")
    (odd / "config.pbtxt").write_text(text)
    told = refusal("push", "digits", "--to", s3.url("kept"), "--models", odd.parent)
    assert "has other inputs, outputs or labels in version 1" in str(told)
    assert not filecmp.cmp(odd / "labels.txt", copied / "digits/labels.txt")
