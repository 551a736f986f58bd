"""Find files that have arrived in a folder and are finished, from a thread of its own.

A file is finished when its size and its time of change have been the same over two looks, `settle_s` apart, and no process of
this machine has it open for writing. So a file that is renamed into place is taken as fast as one that was written there. It is
handed over when a round is to begin, not before: until then it may change again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avizor_inference.error_text import reason
from avizor_inference.errors import DatasetError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.file_access import name_of, state_in
from avizor_pipeline.live.folder_walk import FolderWalk
from avizor_pipeline.live.known_states import KnownStates, State
from avizor_pipeline.live.open_writers import is_being_written
from avizor_pipeline.sinks.rounds import key_of, key_of_path
from avizor_pipeline.sources.folder import FolderSource
from avizor_pipeline.sources.root_names import RootNames, place_of

_log = logging.getLogger(__name__)

# Seconds between two looks, and between two looks at all files, which find those that have changed.
LOOK_EVERY_S = 0.5
_ALL_EVERY_S = 60.0

# Looks of either kind take at most one part in so many of the time: a folder of a million files is looked at less often.
_LOOKING_PART, _ALL_PART = 10, 20

# Files that are waited for, and that wait to be planned: the rest is found by later looks.
_MOST_PENDING = 50_000

# Names that are written to the log one by one.
_MOST_SAID = 100

# Seconds for which an empty file has to stay so at least: many writers create a file, and open it again to fill it.
_EMPTY_S = 60.0

_CHANGED = "has changed since it was read; its rows stay (avizor batch --changed redo)"


@dataclass
class _Pending:
    """Holds a file that is not finished. since: when this state was first seen, by the monotonic clock. look: in which look."""

    state: State
    since: float
    look: int


@dataclass
class _Folder:
    """Holds one root. place: where it leads. device: of the file system on which files were found. unlisted: sub-folders that
    were said to be so. unwanted: suffixes of files that were said to be left out.
    """

    walk: FolderWalk
    place: str
    pending: dict[str, _Pending] = field(default_factory=dict)
    device: int | None = None
    is_away: bool = False
    unlisted: set[str] = field(default_factory=set)
    unwanted: set[str] = field(default_factory=set)


class Arrivals:
    """Collects the entries of finished files that no round has.

    roots: folders, as they are spelt now. first: the same as the job's first command spelt them. known: the files of all
    rounds. settle_s: see above. on_seen: is called with the source of each file that has come, finished or not. on_look: is
    called after each look. away: number of folders that cannot be looked at now. changed: number of files that have changed.
    """

    def __init__(
        self,
        source: FolderSource,
        roots: Sequence[Path],
        first: Sequence[str],
        known: KnownStates,
        settle_s: float,
        on_seen: Callable[[str], None] = lambda _source: None,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_seen, self._on_look = on_seen, on_look
        self._source, self._known, self._settle_s = source, known, settle_s
        self._names = RootNames([name_of(str(root)) for root in roots], first)
        self._folders = [_Folder(FolderWalk(root, source.suffixes), _below(root)) for root in roots]
        self._arrived = deque[Entry]()
        self._over, self._wanted = threading.Event(), threading.Event()
        self._said, self._is_asked = 0, False
        self._all_at, self._look_every_s = 0.0, LOOK_EVERY_S
        self._failure: BaseException | None = None
        self.away = self.changed = self.looks = 0
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)

    @property
    def pending(self) -> int:
        """Return the number of files that are not finished."""
        return sum(len(folder.pending) for folder in self._folders)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, if it was begun. A look that hangs, since a file server is away, is not waited for."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def take(self) -> list[Entry]:
        """Return what is finished, as the look after the last call has found it. Raises what has ended the thread."""
        if self._failure:
            raise self._failure
        if not self._arrived:
            self._wanted.set()
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def look(self) -> None:
        """Look once at each folder. It is called by one thread only."""
        started = time.monotonic()
        everything = started >= self._all_at
        self._is_asked = self._wanted.is_set()
        for folder in self._folders:
            try:
                self._look(folder, everything=everything)
            except OSError as error:
                self._note_away(folder, reason(error))
        self.away = sum(folder.is_away for folder in self._folders)
        self.looks += 1
        spent = time.monotonic() - started
        if everything:
            self._all_at = started + max(_ALL_EVERY_S, spent * _ALL_PART)
        else:
            self._look_every_s = max(LOOK_EVERY_S, spent * (_LOOKING_PART - 1))

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self.look()
                self._on_look()
                self._over.wait(self._look_every_s)
        except BaseException as error:  # it is raised where it can be told
            self._failure = error

    def _look(self, folder: _Folder, *, everything: bool) -> None:
        found = folder.walk.files(everything=everything)
        for file in found:
            if folder.device != folder.walk.device:
                folder.device = folder.walk.device
            self._see(folder, file.below, file.state)
            if len(folder.pending) >= _MOST_PENDING:
                found.close()
                break
        if folder.walk.is_empty and folder.device not in (None, folder.walk.device):
            self._note_away(folder, "it is empty and on another file system than before: its disk was unmounted")
            return
        if folder.is_away:
            folder.is_away = False
            _log.warning("%s is back", folder.walk.root)
        for below in folder.walk.unlisted.keys() - folder.unlisted:
            self._say(f"{folder.walk.root / below} cannot be listed ({folder.walk.unlisted[below]}); it is tried again")
        folder.unlisted = set(folder.walk.unlisted)
        for suffix in folder.walk.unwanted.keys() - folder.unwanted:
            first, taken = folder.walk.root / folder.walk.unwanted[suffix], ", ".join(sorted(self._source.suffixes))
            self._say(f"{first} and others that end in {suffix} are left out; taken: {taken}")
        folder.unwanted = set(folder.walk.unwanted)
        self._settle(folder)

    def _see(self, folder: _Folder, below: str, state: State) -> None:
        """Take note of a file: it may be new, or have changed."""
        if below in folder.pending:
            return  # `_settle` looks at it
        key = key_of_path(folder.place + below)
        known = self._known.get(key)
        if known is None:
            folder.pending[below] = _Pending(state, time.monotonic(), self.looks)
            self._on_seen(self._source.source_of(Path(below)))
        elif known != state:
            self._known.add(key, state)
            self.changed += 1
            self._say(f"{folder.walk.root / below} {_CHANGED}")

    def _settle(self, folder: _Folder) -> None:
        """Look at the files that are not known, and hand over those that are finished, if they are wanted."""
        for below, pending in list(folder.pending.items()):
            path, now = folder.walk.root / below, time.monotonic()
            try:
                status = os.stat(path)  # noqa: PTH116
            except FileNotFoundError:
                del folder.pending[below]
                self._say(f"{path} was removed before it was finished, and is left out")
                continue
            except OSError:  # its folder is closed now, or its server is away: it may come back
                pending.since = now
                continue
            if pending.state != (state := state_in(status)):
                pending.state, pending.since, pending.look = state, now, self.looks
            elif now - pending.since < self._settles_in(state) or self.looks <= pending.look or not self._is_asked:
                continue
            elif not is_being_written(path):
                self._hand_over(folder, below, pending)

    def _settles_in(self, state: State) -> float:
        size, _ = state
        return self._settle_s if size else max(self._settle_s, _EMPTY_S)

    def _hand_over(self, folder: _Folder, below: str, pending: _Pending) -> None:
        try:
            entries = list(self._source.entries(folder.walk.root, Path(below)))
        except DatasetError as error:  # of a table without a column
            self._say(f"{error}; it is left out")
            entries = []
        if any(entry.modified_ns != pending.state[1] for entry in entries):
            pending.since = time.monotonic()  # it has changed in this moment
            return
        del folder.pending[below]
        self._known.add(key_of_path(folder.place + below), pending.state)
        self._wanted.clear()
        changed = self.changed
        self._arrived.extend(self._new(map(self._names.name, entries)))
        if self.changed > changed:
            self._say(f"{folder.walk.root / below}: the file of {self.changed - changed} known items {_CHANGED}")

    def _new(self, entries: Iterable[Entry]) -> Iterable[Entry]:
        """Yield the entries that no round has: a file of many items is not known by itself."""
        for entry in entries:
            if entry.part is None:
                yield entry
            elif (known := self._known.get(key := key_of(entry))) is None:
                self._known.add(key, (entry.size, entry.modified_ns))
                yield entry
            elif known != (entry.size, entry.modified_ns):
                self._known.add(key, (entry.size, entry.modified_ns))
                self.changed += 1

    def _note_away(self, folder: _Folder, why: str) -> None:
        if not folder.is_away:
            folder.is_away = True
            _log.warning("%s cannot be looked at (%s); it is waited for", folder.walk.root, why)
        for pending in folder.pending.values():
            pending.since = time.monotonic()

    def _say(self, text: str) -> None:
        self._said += 1
        if self._said <= _MOST_SAID:
            _log.warning("%s", text)
        if self._said == _MOST_SAID:
            _log.warning("there are more such files; from now on they are counted, and not named")


def _below(root: Path) -> str:
    """Return what the one path of a folder's files begins with. See `RootNames`."""
    return place_of(name_of(str(root))).rstrip("/") + "/"
