"""review_answers.py loses no answer: not to a kill, not to a full disk, not to another reviewer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from integration.disks import mount
from support.reviewed_jobs import MODEL, say

from avizor_inference.errors import SettingsError
from avizor_inference.review_answers import AnswerFile, ItemKey

ONE = ItemKey("a/1.wav", MODEL)


@pytest.fixture
def file(tmp_path: Path) -> AnswerFile:
    return AnswerFile(tmp_path / "answers.jsonl")


def test_a_later_answer_of_the_same_reviewer_counts_and_may_be_withdrawn(file: AnswerFile) -> None:
    say(file, "a/1.wav", "abnormal", note="a bearing?")
    say(file, "a/1.wav", "normal")
    assert file.answers().verdict(ONE) == "normal"
    assert [answer.note for answer in file.answers().on(ONE)] == [""]
    say(file, "a/1.wav", "withdrawn")
    assert file.answers().verdict(ONE) is None
    assert file.answers().answered() == []
    assert len(file.path.read_text().splitlines()) == 3, "nothing was changed that was written"


def test_two_reviewers_who_disagree_are_both_heard(file: AnswerFile) -> None:
    say(file, "a/1.wav", "abnormal", "ana")
    say(file, "a/1.wav", "normal", "ben")
    say(file, "a/2.wav", "normal", "ana")
    answers = file.answers()
    assert answers.verdict(ONE) == "disagreed"
    assert [(each.reviewer, each.answer) for each in answers.on(ONE)] == [("ana", "abnormal"), ("ben", "normal")]
    assert answers.counts() == {"disagreed": 1, "normal": 1}


def test_an_answer_on_a_window_is_not_one_on_the_recording(file: AnswerFile) -> None:
    say(file, "a/1.wav", "abnormal", channel=0, start_sample=4096)
    assert file.answers().verdict(ONE) is None
    assert file.answers().verdict(ItemKey("a/1.wav", MODEL, 0, 4096)) == "abnormal"


def test_answers_of_another_process_are_seen_by_a_reader_that_has_read_before(file: AnswerFile) -> None:
    assert file.answers().answered() == []
    other = AnswerFile(file.path)
    say(other, "a/1.wav", "normal")
    assert file.answers().verdict(ONE) == "normal"
    say(other, "a/1.wav", "unsure")
    assert file.answers().verdict(ONE) == "unsure"
    file.path.unlink()
    assert file.answers().verdict(ONE) is None


def test_what_was_read_does_not_change_under_a_reader(file: AnswerFile) -> None:
    """A page that lists answers goes on while another reviewer answers."""
    say(file, "a/1.wav", "normal")
    read = file.answers()
    say(file, "a/2.wav", "normal")
    say(file, "a/1.wav", "withdrawn")
    assert file.answers().counts() == {"normal": 1}
    assert read.counts() == {"normal": 1}
    assert read.verdict(ONE) == "normal"
    assert file.answers().verdict(ONE) is None


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_what_a_killed_process_left_of_a_line_costs_no_other_answer(file: AnswerFile, cut: int) -> None:
    say(file, "a/1.wav", "normal")
    whole = file.path.read_bytes()
    say(file, "a/2.wav", "abnormal")
    torn = file.path.read_bytes()[: len(whole) + cut]
    file.path.write_bytes(torn)
    assert AnswerFile(file.path).answers().counts() == {"normal": 1}
    say(file, "a/3.wav", "unsure")
    answers = AnswerFile(file.path).answers()
    assert answers.counts() == {"normal": 1, "unsure": 1}
    assert answers.unreadable == 1
    assert file.path.read_bytes().startswith(torn)


def test_hostile_notes_and_names_are_one_line_each(file: AnswerFile) -> None:
    note, name = '"}\n{"uri": "a/2.wav"\u2028</script><img src=x onerror=alert(1)>', "a/1.wav\r\n\x00'\""
    say(file, name, "normal", note=note)
    (answer,) = file.answers().on(ItemKey(name, MODEL))
    assert answer.note == note
    assert file.path.read_bytes().count(b"\n") == 1


MANY = """
import sys
from pathlib import Path
from threading import Thread
from support.reviewed_jobs import say
from avizor_inference.review_answers import AnswerFile
file, reviewer = AnswerFile(Path(sys.argv[1])), sys.argv[2]
def answer(half):
    for number in range(50):
        say(file, f"{reviewer}/{half}/{number}.wav", "normal", reviewer)
threads = [Thread(target=answer, args=(half,)) for half in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

KILLED = """
import sys
from pathlib import Path
from support.reviewed_jobs import say
from avizor_inference.review_answers import AnswerFile
file = AnswerFile(Path(sys.argv[1]))
for number in range(100000):
    say(file, f"a/{number}.wav", "normal", note="x" * 500)
    print(number, flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    folders = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": folders})


def test_reviewers_at_once_lose_nothing(file: AnswerFile) -> None:
    """Two processes of two threads each."""
    processes = [start(MANY, file.path, reviewer) for reviewer in ("ana", "ben")]
    assert [process.wait(60) for process in processes] == [0, 0]
    answers = file.answers()
    assert (len(answers.answered()), answers.unreadable) == (200, 0)


def test_what_was_told_to_be_kept_is_there_after_a_kill(file: AnswerFile) -> None:
    process = start(KILLED, file.path)
    assert process.stdout
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = 20 + len(process.stdout.read().splitlines())
    process.wait()
    say(file, "b/later.wav", "abnormal")
    answers = AnswerFile(file.path).answers()
    assert answers.counts()["normal"] >= told
    assert answers.verdict(ItemKey("b/later.wav", MODEL)) == "abnormal"


def test_a_full_disk_is_told_and_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    mount(tmp_path, "size=16k")
    try:
        file = AnswerFile(tmp_path / "answers.jsonl")
        told = 0
        refused = ""
        while not refused and told < 100:
            try:
                say(file, f"a/{told}.wav", "normal", note="x" * 1500)
                told += 1
            except SettingsError as error:
                refused = str(error)
        assert "no space left on device" in refused
        answers = AnswerFile(file.path).answers()
        assert (answers.counts()["normal"], answers.unreadable) == (told, 0)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_results_that_cannot_be_written_to_are_named_with_the_remedy(tmp_path: Path) -> None:
    mount(tmp_path, "ro")
    try:
        file = AnswerFile(tmp_path / "answers.jsonl")
        assert file.answers().answered() == []
        with pytest.raises(SettingsError, match=r"answers.jsonl \(read-only file system\); name a file .* with --answers FILE"):
            file.check_writable()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_an_answer_waits_for_a_reviewer_who_is_writing(file: AnswerFile) -> None:
    """The lock is one of the open file: a thread of the same process waits as another process does."""
    with file._opened():
        other = threading.Thread(target=say, args=(AnswerFile(file.path), "a/1.wav", "normal"))
        other.start()
        time.sleep(0.2)
        assert file.path.stat().st_size == 0
    other.join(10)
    assert file.answers().verdict(ONE) == "normal"


def test_a_pipe_is_no_file_of_answers_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        file = AnswerFile(path)
        with pytest.raises(SettingsError, match="no file"):
            file.answers()
        with pytest.raises(SettingsError, match="no file"):
            file.check_writable()
        with pytest.raises(SettingsError, match="no file"):
            say(file, "a/1.wav", "normal")
