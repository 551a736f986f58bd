"""waiting_lock.py: one command at a time, which says whom it waits for, and never waits for a pipe."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

from avizor_inference.waiting_lock import waiting_lock


def test_what_is_waited_for_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avizor_inference.waiting_lock._QUIET_S", 0.2)
    path, got = tmp_path / "a lock", threading.Event()

    def second() -> None:
        with waiting_lock(path):
            got.set()

    with waiting_lock(path):
        other = threading.Thread(target=second)
        other.start()
        wait_until(lambda: bool(caplog.messages))
        assert not got.is_set()
    other.join(20)
    assert got.is_set()
    told = f"another command is at work here, and is waited for; if it hangs, `fuser '{path}'` tells which"
    assert caplog.messages == [told]


def test_a_pipe_or_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, reason in (("pipe", "it is a pipe or a device, and no file"), ("folder", "Is a directory")):
        with pytest.raises(OSError, match=reason) as caught, waiting_lock(tmp_path / name):
            pass
        assert caught.value.filename == str(tmp_path / name)


@pytest.fixture
def nobody() -> Iterator[None]:
    if os.geteuid():
        pytest.skip("needs root, to become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_was_in_the_file_stays_and_another_users_file_will_do(request: pytest.FixtureRequest) -> None:
    folder = Path("/tmp") / f"avizor-waiting-lock-{os.getpid()}"  # tmp_path is for its user alone
    folder.mkdir(mode=0o777)
    try:
        (folder / "lock").write_text("of root")
        (folder / "lock").chmod(0o644)
        request.getfixturevalue("nobody")
        with waiting_lock(folder / "lock"), (folder / "lock").open() as again, pytest.raises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert (folder / "lock").read_text() == "of root"
    finally:
        os.seteuid(0) if os.getuid() == 0 else None
        (folder / "lock").unlink()
        folder.rmdir()
