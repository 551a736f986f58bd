"""Say what the control groups of this process allow: its container's, those that this one is in, and those of systemd.

Each group has limits of its own, and the smallest of all counts. Of version 2 all controllers have one tree of groups, of
version 1 one each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_PROCESS = Path("/proc/self")


def core_limit() -> int | None:
    """Return how many cores the time of this process is worth, rounded up; None without a limit."""
    cores = []
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):  # there is no such file, or no limit: `max`, or -1
            quota, period = _quota(folder)
            cores.append(max(1, -(-quota // period)))
    return min(cores, default=None)


def memory_limit() -> int | None:
    """Return how many bytes this process and those beside it may use; None without a limit."""
    return min((limit for _, limit in _memory_limits()), default=None)


def memory_left() -> int | None:
    """Return how many bytes more they may use, at least 0; None without a limit. What is kept of files counts as free."""
    return min((max(0, limit - _held(folder)) for folder, limit in _memory_limits()), default=None)


def _held(folder: Path) -> int:
    """Return the bytes of a group that are not given back where others need them; 0 where that is not told."""
    used = kept = 0
    with suppress(OSError, ValueError):  # gVisor has the first of them alone
        used = _number(folder, "memory.current", "memory.usage_in_bytes")
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        stat = {name: int(count) for name, count in map(str.split, lines)}
        # The names with `total_` are those of version 1 for what is in this group and those inside it.
        kept = sum(stat.get(f"total_{name}", stat.get(name, 0)) for name in ("active_file", "inactive_file"))
    return max(0, used - kept)


def _memory_limits() -> Iterator[tuple[Path, int]]:
    for folder in _groups("memory"):
        with suppress(OSError, ValueError):  # as above; version 1 writes a number larger than any machine
            yield folder, _number(folder, "memory.max", "memory.limit_in_bytes")


def _quota(folder: Path) -> tuple[int, int]:
    """Return the microseconds of computing that a group has in each period, and those of the period."""
    with suppress(FileNotFoundError):
        quota, period = map(int, (folder / "cpu.max").read_text(encoding="ascii").split())
        return quota, period
    quota = _number(folder, "cpu.cfs_quota_us")
    if quota < 0:
        raise ValueError(quota)
    return quota, _number(folder, "cpu.cfs_period_us")


def _number(folder: Path, *names: str) -> int:
    """Return the number in the first of these files that is there."""
    file = next((each for each in (folder / name for name in names) if each.exists()), folder / names[-1])
    return int(file.read_text(encoding="ascii"))


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, the innermost first."""
    try:
        lines, mounts = (os.fsdecode((_PROCESS / name).read_bytes()).split("\n")[:-1] for name in ("cgroup", "mountinfo"))
    except OSError:  # not on Linux
        return
    for _, names, group in (line.split(":", 2) for line in lines):
        if not names or controller in names.split(","):
            for top, folder in _mounted(mounts, controller if names else ""):
                yield from _upwards(top, PurePosixPath(group), folder)


def _mounted(mounts: list[str], controller: str) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield which group is mounted where. controller: "" for version 2."""
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, options = after.partition(" ")[0], after.rpartition(" ")[2]
        if kind == "cgroup" and controller in options.split(",") if controller else kind == "cgroup2":
            top, folder = before.split(" ")[3:5]
            yield PurePosixPath(top), Path(folder)


def _upwards(top: PurePosixPath, group: PurePosixPath, folder: Path) -> Iterator[Path]:
    """Yield the folder of a group, and those of the groups around it. top: the group that is mounted at `folder`."""
    inside = group.relative_to(top) if group.is_relative_to(top) else PurePosixPath()
    if ".." in inside.parts:  # the group is outside what a container sees
        inside = PurePosixPath()
    for each in (inside, *inside.parents) if inside.parts else (inside,):
        yield folder / each
