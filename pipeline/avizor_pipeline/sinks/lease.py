"""Let one job at a time write below a place on an object store: by an object that the job renews while it runs.

Stores have no locks that end with a process. So job.lock is created if it is absent, and changed every few seconds, each time
only if it is still what this job has written. A job that finds it watches it: if it changes, the other job is alive; if it does
not for a minute, that job has ended. The clocks of the machines are not compared.

A job that was killed on this machine is not waited for: the kernel's lock on a file of this machine says whether it is alive.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avizor_inference.daemon_threads import DaemonThreads
from avizor_inference.error_text import reason
from avizor_inference.errors import JobError
from avizor_inference.items.object_path import ObjectPath, Version
from avizor_pipeline.sinks.file_lock import LOCK_FILE, Holder, file_lock, refusal, remove_place
from avizor_pipeline.sinks.write_errors import writing

_log = logging.getLogger(__name__)

# Seconds between two renewals; and how long the object is watched before its job counts as dead. A job whose renewals fail for
# so long has lost the store, or was stopped.
RENEW_S = 10.0
WATCH_S = 60.0
_POLL_S = 2.0

# Seconds that a store has to answer when a job is stopped.
_LEAVE_S = 1.0

# Seconds within which workers on other machines end by themselves when they do not hear of their job any more.
WORKERS_END_S = 15.0

# Raises JobError if the place is not held any more.
StillHeld = Callable[[], None]


class _Lease(Holder):
    """Is what the object holds.

    renewals: number of them, so that each makes another object. workers_elsewhere: whether the job has workers on other
    machines, of which the kernel of this one knows nothing.
    """

    renewals: int = 0
    workers_elsewhere: bool = False

    def is_of(self, other: _Lease) -> bool:
        """Return whether both are of one job."""
        return self.model_copy(update={"renewals": other.renewals}) == other

    @property
    def content(self) -> bytes:
        return f"{self.model_dump_json()}\n".encode()


@contextmanager
def lease(out: ObjectPath, *, workers_elsewhere: bool = False) -> Iterator[StillHeld]:
    """Hold `out` for one job. workers_elsewhere: see _Lease.

    Raises JobError while another job holds it, or if the store refuses.
    """
    with writing(out):
        folder = out.working_folder()
    with file_lock(folder, out, place=True) as holder:
        remove_unsent(folder)
        held = _Held(out / LOCK_FILE, _Lease(**holder.model_dump(), workers_elsewhere=workers_elsewhere))
        with writing(held.path):
            held.acquire(out)
        held.begin_to_renew()
        within_s, is_released = None, False
        try:
            yield lambda: held.check(out)
        except BaseException as error:
            within_s = None if isinstance(error, Exception) else _LEAVE_S
            raise
        finally:
            is_released = held.release(within_s)
            remove_unsent(folder)
        if is_released:  # else the next job knows by the lock file that this one was of this machine
            remove_place(folder)


def nobody_holds(out: ObjectPath) -> None:
    """Raise JobError if a job that is alive holds `out`. Nothing is written to the store."""
    with writing(out):
        path, folder = out / LOCK_FILE, out.working_folder()
        with file_lock(folder, out, place=True) as here:
            found = _read(path)
            if not found:
                remove_place(folder)
        if found and not (found[0] and found[0].place == here.place):
            _watch(path, out, *found)


class _Held:
    """Holds the object, and renews it from a thread."""

    def __init__(self, path: ObjectPath, content: _Lease) -> None:
        self.path, self._content = path, content
        self._version: Version = None, None
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="avizor-lease", daemon=True)

    def acquire(self, out: ObjectPath) -> None:
        """Create the object, or take it over from a job that is dead. Raises OSError, JobError."""
        while True:
            try:
                self._version = self.path.put(self._content.content, new=True)
                return
            except (FileExistsError, FileNotFoundError):  # it is there, or was until a moment ago
                found = _read(self.path)
            if not found:
                continue  # it has just been removed
            holder, version = found
            if not holder or holder.place != self._content.place:
                _watch(self.path, out, holder, version)
            elif holder.workers_elsewhere:
                _log.warning("a job into %s was killed; its workers on other machines end within %g s", out, WORKERS_END_S)
                time.sleep(WORKERS_END_S)
            with suppress(FileExistsError, FileNotFoundError):  # another job was faster
                self._version = self.path.put(self._content.content, version=version)
                return

    def begin_to_renew(self) -> None:
        """Renew the object until it is released."""
        self._thread.start()

    def check(self, out: ObjectPath) -> None:
        """Raise JobError if another job has taken the place over."""
        if self._lost:
            raise JobError(
                f"{self.path} is not of this job any more (it was removed, or not renewed for {WATCH_S:g} s), and another may "
                "run there; what this job has finished is kept: run the same command again to go on"
            )

    def release(self, within_s: float | None = None) -> bool:
        """Remove the object if it is still of this job. A store that is away is not waited for: others watch the object.

        Return whether it is gone, or of another job. within_s: the store has so much time, in seconds, to answer; None: as much
        as a request has.
        """
        self._stop.set()
        self._thread.join(within_s)
        with DaemonThreads(1) as threads, suppress(OSError):  # TimeoutError, too
            threads.submit(self._remove).result(within_s)
            return True
        return False

    def _remove(self) -> None:
        if self._own_version():
            self.path.unlink()

    def _renew(self) -> None:
        while not self._lost and not self._stop.wait(RENEW_S):
            self._content = self._content.model_copy(update={"renewals": self._content.renewals + 1})
            try:
                self._version = self.path.put(self._content.content, version=self._version, patient=False)
            except FileNotFoundError:
                self._lost = True
            except FileExistsError:
                self._adopt()
            except OSError as error:  # it may be back at the next time
                _log.warning("%s could not be renewed (%s)", self.path, reason(error))

    def _adopt(self) -> None:
        """Go on from the object that is there if this job has written it: the answer to an earlier renewal was lost."""
        try:
            own = self._own_version()
        except OSError as error:  # the next renewal asks again
            _log.warning("%s could not be read (%s)", self.path, reason(error))
            return
        if own:
            self._version = own
        else:
            self._lost = True

    def _own_version(self) -> Version | None:
        """Return the version that is there; None if it is not of this job. A store that is away is not waited for."""
        found = _read(self.path, patient=False)
        return found[1] if found and found[0] and found[0].is_of(self._content) else None


def _watch(path: ObjectPath, out: ObjectPath, holder: _Lease | None, version: Version) -> None:
    """Return when an object has not changed for WATCH_S seconds, or is removed. Raises JobError if its job renews it."""
    _log.warning(
        "%s says that a job is running%s; watching for %g s whether it is alive: if you know that it has ended, remove it",
        path,
        f" ({holder})" if holder else "",
        WATCH_S,
    )
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        time.sleep(_POLL_S)
        found = _read(path)
        if not found:
            return
        if found[1] != version:
            raise refusal(out, found[0])


def _read(path: ObjectPath, *, patient: bool = True) -> tuple[_Lease | None, Version] | None:
    """Return what an object says, if it can be understood, and its version; None if there is none.

    patient: whether a store that is away is waited for. Raises OSError.
    """
    try:
        content, version = path.read_version(patient=patient)
    except FileNotFoundError:
        return None
    try:
        return _Lease.model_validate_json(content), version
    except ValueError:
        return None, version


def lease_holder(out: ObjectPath) -> Holder | None:
    """Return the job that holds `out`; None if no job does. Raises OSError."""
    found = _read(out / LOCK_FILE)
    return found[0] if found else None


def remove_unsent(folder: Path) -> None:
    """Remove what a job has left that was killed before it had sent it."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK_FILE:
                path.unlink()
