"""live/arrivals.py and what it stands on: which files of a folder are finished, and which are known."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.image import ImageFile
from avizor_pipeline.live import arrivals as arrivals_module
from avizor_pipeline.live import folder_walk
from avizor_pipeline.live.arrivals import Arrivals
from avizor_pipeline.live.folder_walk import FolderWalk
from avizor_pipeline.live.known_states import KnownStates
from avizor_pipeline.live.open_writers import ignore_lease_signals, is_being_written
from avizor_pipeline.sinks.rounds import key_of
from avizor_pipeline.sources.folder import FolderSource


@pytest.fixture(autouse=True)
def lease_signals() -> None:
    ignore_lease_signals()


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


class Looker:
    """Looks once at a time. heard: the sources that came."""

    def __init__(self, *roots: Path, settle_s: float = 0.0, known: KnownStates | None = None) -> None:
        names = [str(root) for root in roots]
        source = FolderSource(names, [SoundFile, ImageFile])
        self.heard: list[str] = []
        self.arrivals = Arrivals(source, list(roots), names, known or KnownStates(), settle_s, self.heard.append)

    def look(self) -> list[str]:
        """Ask for what is finished, look, and return the names that are handed over."""
        self.arrivals.take()
        self.arrivals.look()
        return [entry.path.name for entry in self.arrivals.take()]


def write(path: Path, text: str = "sound") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_handed_over_by_the_second_look_and_once(incoming: Path) -> None:
    looker = Looker(incoming)
    write(incoming / "pump" / "0.wav")
    assert looker.look() == []
    assert looker.look() == ["0.wav"]
    assert looker.look() == looker.look() == []
    assert looker.heard == ["pump"]


def test_a_file_that_changes_between_looks_is_not_finished(incoming: Path) -> None:
    looker = Looker(incoming)
    for length in range(1, 5):
        write(incoming / "0.wav", "x" * length)
        assert looker.look() == []
    assert looker.look() == ["0.wav"]


def test_a_file_has_to_stay_for_settle_s(incoming: Path) -> None:
    looker = Looker(incoming, settle_s=600)
    write(incoming / "0.wav")
    assert looker.look() == looker.look() == looker.look() == []
    assert looker.arrivals.pending == 1


def test_an_empty_file_is_waited_for_longer_and_read_once_it_is_filled(incoming: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looker = Looker(incoming)
    (incoming / "created.wav").touch()
    (incoming / "empty.wav").touch()
    assert [looker.look() for _ in range(4)] == [[]] * 4
    write(incoming / "created.wav")
    assert (looker.look(), looker.look()) == ([], ["created.wav"])
    monkeypatch.setattr(arrivals_module, "_EMPTY_S", 0.0)
    assert looker.look() == ["empty.wav"]


def test_a_file_that_is_open_for_writing_is_waited_for_however_long(incoming: Path) -> None:
    looker = Looker(incoming)
    path = incoming / "0.wav"
    with path.open("w") as writer:
        writer.write("half")
        writer.flush()
        assert is_being_written(path)
        assert [looker.look() for _ in range(5)] == [[]] * 5
    assert not is_being_written(path)
    assert looker.look() == ["0.wav"]


def test_a_file_that_somebody_reads_is_finished(incoming: Path) -> None:
    with write(incoming / "0.wav").open():
        assert not is_being_written(incoming / "0.wav")


def test_what_is_not_asked_for_is_looked_at_again(incoming: Path) -> None:
    looker = Looker(incoming)
    write(incoming / "0.wav", "short")
    for _ in range(3):
        looker.arrivals.look()
    write(incoming / "0.wav", "longer")  # while other files are judged
    assert looker.look() == []
    assert looker.look() == ["0.wav"]
    assert looker.arrivals.changed == 0


def test_hidden_and_temporary_names_and_other_files_are_left_out(incoming: Path) -> None:
    for name in (".0.wav", ".hidden/0.wav", "0.wav.part", "0.part", "0.tmp", "0.crdownload", "notes.txt", "wav"):
        write(incoming / name)
    looker = Looker(incoming)
    assert looker.look() == looker.look() == []
    assert looker.arrivals.pending == 0


def test_a_file_that_is_removed_before_it_is_finished_is_named(incoming: Path, caplog: pytest.LogCaptureFixture) -> None:
    looker = Looker(incoming)
    path = write(incoming / "0.wav")
    looker.look()
    path.unlink()
    assert looker.look() == []
    assert f"{path} was removed before it was finished, and is left out" in caplog.text
    assert looker.arrivals.pending == 0


def test_files_of_another_suffix_are_said_to_be_left_out_once(incoming: Path, caplog: pytest.LogCaptureFixture) -> None:
    looker = Looker(incoming)
    write(incoming / "pump" / "0.csv")
    write(incoming / "1.wav.part")
    looker.look()
    write(incoming / "pump" / "1.csv")
    looker.look()
    (line,) = caplog.messages
    assert line.startswith(f"{incoming / 'pump' / '0.csv'} and others that end in .csv are left out; taken: .")


def test_a_file_that_changes_after_it_was_handed_over_is_counted_once(
    incoming: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "_ALL_EVERY_S", 0)
    looker = Looker(incoming)
    path = write(incoming / "0.wav")
    looker.look()
    assert looker.look() == ["0.wav"]
    write(path, "something else")
    assert [looker.look() for _ in range(3)] == [[]] * 3
    assert looker.arrivals.changed == 1
    assert caplog.text.count(f"{path} has changed since it was read") == 1


def test_files_of_earlier_rounds_are_known_by_their_one_path(incoming: Path, tmp_path: Path) -> None:
    path, known = write(incoming / "a" / "0.wav"), KnownStates()
    (entry,) = FolderSource([str(incoming)], [SoundFile]).list()
    known.add(key_of(entry), (entry.size, entry.modified_ns))
    link = tmp_path / "link"
    link.symlink_to(incoming)
    looker = Looker(link, known=known)
    write(path.with_name("1.wav"))
    looker.look()
    assert looker.look() == ["1.wav"]


def test_a_folder_that_vanishes_is_said_once_and_its_files_are_kept(
    incoming: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    looker = Looker(incoming)
    write(incoming / "0.wav")
    looker.look()
    incoming.rename(tmp_path / "away")
    for _ in range(3):
        assert looker.look() == []
    assert (looker.arrivals.away, looker.arrivals.pending) == (1, 1)
    (tmp_path / "away").rename(incoming)
    assert [*looker.look(), *looker.look()] == ["0.wav"]
    assert looker.arrivals.away == 0
    assert caplog.text.count("it is waited for") == caplog.text.count("is back") == 1


def test_one_folder_that_is_away_does_not_hold_up_another(incoming: Path, tmp_path: Path) -> None:
    looker = Looker(tmp_path / "absent", incoming)
    write(incoming / "0.wav")
    looker.look()
    assert looker.look() == ["0.wav"]


def test_files_of_two_folders_are_handed_over_by_one_look(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / f"{name}.wav")
    looker = Looker(tmp_path / "one", tmp_path / "two")
    looker.look()
    assert looker.look() == ["one.wav", "two.wav"]


def test_more_files_than_are_waited_for_come_later(incoming: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "_MOST_PENDING", 3)
    names = {f"{number}.wav" for number in range(10)}
    for name in names:
        write(incoming / name)
    looker, found = Looker(incoming), list[str]()
    for _ in range(12):
        found += looker.look()
        assert looker.arrivals.pending <= 3
    assert sorted(found) == sorted(names)


def test_an_error_of_the_thread_is_raised_where_it_can_be_told(incoming: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looker = Looker(incoming)
    monkeypatch.setattr(looker.arrivals, "look", lambda: 1 / 0)
    looker.arrivals.start()
    looker.arrivals.stop()
    with pytest.raises(ZeroDivisionError):
        looker.arrivals.take()


def test_a_sub_folder_that_cannot_be_listed_is_said_once_and_holds_nothing_up(
    incoming: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir, closed = os.scandir, incoming / "closed"

    def refusing(path: str) -> object:
        if path == str(closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)  # root may list any
        return scandir(path)

    write(closed / "0.wav")
    write(incoming / "open" / "1.wav")
    monkeypatch.setattr(os, "scandir", refusing)
    looker = Looker(incoming)
    looker.look()
    assert looker.look() == ["1.wav"]
    assert looker.arrivals.away == 0
    assert caplog.text.count(f"{closed} cannot be listed (permission denied); it is tried again") == 1
    monkeypatch.undo()
    looker.look()
    assert looker.look() == ["0.wav"]


def names(walk: FolderWalk, *, everything: bool = False) -> list[str]:
    return sorted(found.below for found in walk.files(everything=everything))


def test_a_folder_that_has_not_changed_is_not_listed_again(incoming: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_walk, "_STILL_S", 0.01)
    write(incoming / "old" / "0.wav")
    write(incoming / "new" / "0.wav")
    walk = FolderWalk(incoming, frozenset({".wav"}))
    for _ in range(3):
        assert names(walk) in (["new/0.wav", "old/0.wav"], [])
        time.sleep(0.02)
    assert names(walk) == []
    write(incoming / "new" / "1.wav")
    write(incoming / "newest" / "deeper" / "0.wav")
    assert names(walk) == ["new/0.wav", "new/1.wav", "newest/deeper/0.wav"]
    assert names(walk, everything=True) == ["new/0.wav", "new/1.wav", "newest/deeper/0.wav", "old/0.wav"]


def test_a_folder_is_listed_until_its_time_of_change_has_stood_still(incoming: Path) -> None:
    # A file system that counts in whole seconds gives two files of one second one time of change.
    walk = FolderWalk(incoming, frozenset({".wav"}))
    write(incoming / "0.wav")
    state = incoming.stat()
    assert names(walk) == ["0.wav"]
    write(incoming / "1.wav")
    os.utime(incoming, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert names(walk) == ["0.wav", "1.wav"]


def test_links_to_folders_are_followed_and_loops_are_not(incoming: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "0.wav")
    (incoming / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(incoming)
    (incoming / "broken.wav").symlink_to("nothing")
    assert names(FolderWalk(incoming, frozenset({".wav"}))) == ["link/0.wav"]


def test_the_last_state_of_a_file_counts_also_after_many_others(tmp_path: Path) -> None:
    known = KnownStates()
    for key in range(10_000):
        known.add(key, (key, 1))
    known.add(5, (6, 2))
    assert known.get(5) == (6, 2)
    for key in range(10_000, 20_000):
        known.add(key, (key, 1))
    assert (known.get(5), known.get(4), known.get(20_000)) == ((6, 2), (4, 1), None)
    assert len(known) == 20_000


def test_a_folder_with_another_device_and_nothing_in_it_is_away(incoming: Path, caplog: pytest.LogCaptureFixture) -> None:
    looker = Looker(incoming)
    write(incoming / "0.wav")
    looker.look()
    looker.look()
    (folder,) = looker.arrivals._folders
    folder.device = -5  # as if its disk had been mounted there
    shutil.rmtree(incoming)
    incoming.mkdir()
    looker.look()
    assert looker.arrivals.away == 1
    assert "its disk was unmounted" in caplog.text
