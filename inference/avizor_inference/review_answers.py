"""Keep what people said of the items of a job: an append-only file of JSON lines beside its results.

A line is one answer, written whole under a lock and flushed to disk before anybody is told that it is kept. What a killed
process or a full disk leaves of a line is ended by the next answer and not counted as one. Nothing is ever changed: whoever
thinks again adds another line, and of one reviewer's answers on an item the last one counts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, Field

from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_inference.regular_files import open_regular, regular_descriptor
from avizor_inference.strict_json import Strict

ANSWERS_FILE = "answers.jsonl"

# What is said of an item. `withdrawn` takes back what the same reviewer said before.
Word = Literal["normal", "abnormal", "unsure", "withdrawn"]

# What all reviewers together say of an item.
Verdict = Literal["normal", "abnormal", "unsure", "disagreed"]

MOST_NOTE = 2000
MOST_NAME = 100


class ItemKey(NamedTuple):
    """Names what is answered: an item as a whole, or with channel and start_sample one window of it."""

    uri: str
    model: str
    channel: int | None = None
    start_sample: int | None = None


class Answer(Strict):
    """Holds what one reviewer said of one item of a job. time: when, with its zone."""

    uri: str
    model: str
    channel: int | None = Field(default=None, description="of the window that is meant; null: the whole item")
    start_sample: int | None = Field(default=None, description="of that window, as in the table `windows`")
    answer: Word
    note: str = Field(default="", max_length=MOST_NOTE)
    reviewer: str = Field(min_length=1, max_length=MOST_NAME)
    time: AwareDatetime

    @property
    def key(self) -> ItemKey:
        """Return what is answered."""
        return ItemKey(self.uri, self.model, self.channel, self.start_sample)


class Answers:
    """Holds the last answer of each reviewer on each item. unreadable: lines that are none, such as one that was torn."""

    def __init__(self) -> None:
        self._of: dict[ItemKey, dict[str, Answer]] = {}
        self.unreadable = 0

    def add(self, answer: Answer) -> None:
        """Take an answer, which replaces what the same reviewer said of the item before."""
        by_reviewer = self._of.setdefault(answer.key, {})
        by_reviewer.pop(answer.reviewer, None)
        if answer.answer != "withdrawn":
            by_reviewer[answer.reviewer] = answer
        elif not by_reviewer:
            del self._of[answer.key]

    def copy(self) -> Answers:
        """Return a copy, to which answers can be added while others read this one."""
        copy = Answers()
        copy._of = {key: dict(by_reviewer) for key, by_reviewer in self._of.items()}
        copy.unreadable = self.unreadable
        return copy

    def on(self, key: ItemKey) -> list[Answer]:
        """Return what counts on an item, one answer of each reviewer, the latest last."""
        return list(self._of.get(key, {}).values())

    def verdict(self, key: ItemKey) -> Verdict | None:
        """Return what all reviewers of an item say together; None if nobody has answered."""
        words = {answer.answer for answer in self._of.get(key, {}).values() if answer.answer != "withdrawn"}
        return "disagreed" if len(words) > 1 else next(iter(words), None)

    def answered(self) -> list[ItemKey]:
        """Return what was answered, in the order of the first answers."""
        return list(self._of)

    def counts(self) -> Mapping[Verdict, int]:
        """Return how many items have each verdict."""
        return Counter(verdict for key in self._of if (verdict := self.verdict(key)))


class AnswerFile:
    """Reads and appends answers; several processes may do so at once, and threads of one.

    Reading goes on where it ended, so that the answers of others are seen at the price of what is new.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers, self._read_to, self._identity = Answers(), 0, (0, 0)
        self._lock = threading.RLock()

    def answers(self) -> Answers:
        """Return all that is in the file now; nothing if it is absent. What is returned does not change any more.

        Raises SettingsError if it cannot be read.
        """
        with self._lock:
            try:
                with open_regular(self.path) as file:
                    self._read_on(file.fileno())
            except FileNotFoundError:
                self._answers, self._read_to = Answers(), 0
            except OSError as error:
                raise SettingsError(f"{self.path} cannot be read ({reason(error)})") from error
            return self._answers

    def check_writable(self) -> None:
        """Raise SettingsError, with what to do, unless answers can be appended. Leaves an empty file if there was none."""
        with self._opened():
            pass

    def append(self, answer: Answer) -> None:
        """Write an answer and flush it to disk. Raises SettingsError if the disk refuses it; then nothing of it is there."""
        line = answer.model_dump_json(exclude_defaults=True).encode() + b"\n"
        with self._lock, self._opened() as descriptor:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # what a killed process began is a line of its own
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open and lock the file. Its lock is of the open file, and so between threads too."""
        try:
            descriptor = regular_descriptor(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SettingsError(
                f"answers cannot be written to {self.path} ({reason(error)}); name a file on a disk that can be written to "
                "with --answers FILE"
            ) from error

    def _read_on(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        if identity != self._identity or status.st_size < self._read_to:
            self._answers, self._read_to, self._identity = Answers(), 0, identity
        text = os.pread(descriptor, status.st_size - self._read_to, self._read_to)
        whole = text[: text.rfind(b"\n") + 1]  # the rest may be under way
        answers = self._answers.copy() if whole else self._answers  # other threads may be reading it
        for line in filter(None, whole.split(b"\n")):
            try:
                answers.add(Answer.from_json(line))
            except ValueError:
                answers.unreadable += 1
        self._answers = answers
        self._read_to += len(whole)
