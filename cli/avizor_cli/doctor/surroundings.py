"""Look at what else commands depend on: where they write temporary files, memory that processes share, limits of open files."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from pathlib import Path

from avizor_cli.doctor.finding import Finding
from avizor_inference.error_text import named, reason, remedy

_MIB = 2**20

# Where Python looks, if no variable names a folder. Where none of these can be written to, it takes the current folder.
_USUAL = (Path("/tmp"), Path("/var/tmp"), Path("/usr/tmp"))  # noqa: S108 - nothing is written there

# Free bytes: a shard on its way to an object store, and the weights of a network that is quantised, take some 100 MiB.
_LEAST_TEMPORARY = 256 * _MIB

# `avizor serve --workers` has its counts and metrics there. A process that writes to memory files of a full one is killed.
_SHARED = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
_LEAST_SHARED = 8 * _MIB
_EMPTY = "end what fills it, or make it larger (--shm-size of Docker)"

# Open files that a command needs, and those that `avizor serve` allows itself (avizor_service/open_files.py).
_LEAST_FILES = 256
GATEWAY_CONNECTIONS = 1000
GATEWAY_FILES = 2512


def look_around() -> list[Finding]:
    """Return what was found."""
    return [_temporary_folder(), _shared_memory(), _open_files()]


def _temporary_folder() -> Finding:
    name = "temporary files"
    try:
        folder = _absolute(tempfile.gettempdir())
    except FileNotFoundError as error:
        return Finding(name, "wrong", reason(error), remedy(error, ""), is_needed=True)
    free = shutil.disk_usage(folder).free
    details = {"folder": str(folder), "free_bytes": free}
    wanted = next(((each, value) for each in ("TMPDIR", "TEMP", "TMP") if (value := os.environ.get(each))), None)
    if wanted and _absolute(wanted[1]) != folder:
        why, mend = _unused(_absolute(wanted[1]))
        what = f"{wanted[0]} names {wanted[1]}, {why}; {folder} is used"
        mends = " or ".join(filter(None, [mend, f"name another folder with {wanted[0]}"]))
        return Finding(name, "wrong", what, mends, details=details)
    if not wanted and folder not in _USUAL:
        what = f"{named(list(map(str, _USUAL)))} cannot be written to; {folder}, in which the command runs, is used"
        return Finding(name, "wrong", what, "name a folder that can be written with TMPDIR", details=details)
    if free < _LEAST_TEMPORARY:
        what = f"{folder} has {_size(free)} free, and commands may need {_size(_LEAST_TEMPORARY)}"
        return Finding(name, "wrong", what, "make room there, or name another folder with TMPDIR", details=details)
    return Finding(name, "ok", f"{folder}, {_size(free)} free", details=details)


def _unused(folder: Path) -> tuple[str, str]:
    """Return why temporary files are not written to a folder, and what to do."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"x")
    except FileNotFoundError:
        return "which does not exist", "make that folder"
    except NotADirectoryError:
        return "which is no folder", ""
    except OSError as error:
        mend = "make room in it" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "let this user write to it"
        return f"which cannot be written to ({reason(error)})", mend
    return "which could not be written to a moment ago", "run the command again"


def _shared_memory() -> Finding:
    name, use = str(_SHARED), "avizor serve --workers needs it"
    if not _SHARED.is_dir():
        return Finding(name, "ok", "it is not there, and the folder of temporary files is used")
    try:
        with tempfile.TemporaryFile(dir=_SHARED, buffering=0) as file:
            file.write(b"x")
        free = shutil.disk_usage(_SHARED).free
    except OSError as error:
        mend = _EMPTY if error.errno == errno.ENOSPC else "mount it for this user"
        return Finding(name, "wrong", f"it cannot be written to ({reason(error)}); {use}", mend)
    details = {"free_bytes": free}
    if free < _LEAST_SHARED:
        what = f"{_size(free)} are free, and {use}"
        return Finding(name, "wrong", what, _EMPTY, details=details)
    return Finding(name, "ok", f"{_size(free)} free", details=details)


def _open_files() -> Finding:
    name, (soft, hard) = "open files", resource.getrlimit(resource.RLIMIT_NOFILE)
    details = {"soft": soft, "hard": hard}
    if _below(soft, _LEAST_FILES):
        return Finding(name, "wrong", f"a process may have {soft}, which is too few", "raise `ulimit -n`", details=details)
    if _below(hard, GATEWAY_FILES):
        what = f"a process may have {hard} at most; avizor serve needs {GATEWAY_FILES} for {GATEWAY_CONNECTIONS} connections"
        raised = "raise the hard limit (LimitNOFILE= of systemd, --ulimit nofile= of Docker), or lower --max-connections"
        return Finding(name, "wrong", what, raised, details=details)
    return Finding(name, "ok", f"a process may have {_count(soft)}, and raise that to {_count(hard)}", details=details)


def _absolute(folder: str) -> Path:
    """Return an absolute path without `..`: Python writes that of a variable so, but for `.`, which it leaves."""
    return Path(os.path.normpath(Path(folder).absolute()))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / _MIB:.1f} MiB"


def _below(limit: int, least: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < least


def _count(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else f"{limit:,}"
