"""Start commands of `avizor` from a process that has loaded their modules: that saves half of the CPU of a start, or more.

A command that is started so is a process of its own, which does all that it does itself. Only its modules were loaded before,
in a process that does nothing else: one for each group of commands, and for each worker of pytest. Scripts that make models are
started so, too, as `avizor fit` is. Workers of jobs and decoders
of gateways are started so, too (scripts/warm_children.py). What is about the start itself, or about its first moments,
uses `subprocess`. AVIZOR_COLD_STARTS=1 lets all tests do that.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from support.scripts.warm_children import DECODER, SANDBOX, WORKER, replace_starts

STARTER = Path(__file__).parent / "scripts" / "warm_starter.py"
GROUPS = (  # of commands that load much the same
    ("batch", "calibrate", "explain", "models", "neighbours", "project", "report", "retry", "review", "verify", "watch"),
    ("call", "health", "serve"),
    ("describe", "export", "fit", "tune"),
)
WARM = {command: group for group in GROUPS for command in group} | {SANDBOX: (SANDBOX,)}
_BESIDE = {DECODER: "serve", WORKER: "serve", SANDBOX: SANDBOX}  # other programs start beside those of a job
_NUMBER = struct.Struct("i")
_ROOM_FOR_A_NAME = 400  # warm_children.call_me


def note_environment() -> None:
    """Note what the environment of this run is: a command that is to have another one may load its modules otherwise."""
    _USUAL.clear()
    _USUAL.update(os.environ)


def start_own_processes_warm() -> None:
    """Start warm, too, what the code under test starts from this process: workers, decoders, and what tries an ONNX file."""

    def helper(program: str, environment: Mapping[str, str]) -> socket.socket | None:
        is_cold = "AVIZOR_COLD_STARTS" in os.environ or _of_loading(environment) != _of_loading(_USUAL)
        if is_cold or "resource_tracker" in program:
            return None
        return _starter(WARM[_BESIDE.get(program, "batch")])

    replace_starts(helper)


def warm_run(
    command: Sequence[str], timeout: float = 120, input: str | bytes | None = None, text: bool = True, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end, as `subprocess.run` does that captures its output. options: of Popen."""
    pipes = {"stdin": None if input is None else subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with WarmPopen(command, text=text, **pipes | options) as process:
        try:
            output, errors = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def warm_shell(commands: Iterable[str]) -> dict[str, str]:
    """Return the variables of a shell in which these commands start warm. It has to inherit all files of this process."""
    starters = {}
    for command in sorted(set(commands) & set(WARM)):
        starter = _starter(WARM[command])
        starter.set_inheritable(True)
        starters[command] = starter.fileno()
    real = Path(sys.executable).with_name("avizor")
    return {
        "AVIZOR_STARTERS": json.dumps(starters),
        "AVIZOR_COMMAND": str(real),
        "PATH": f"{STARTER.parent / 'warm'}:{real.parent}:{os.environ['PATH']}",
    }


class WarmPopen(subprocess.Popen[Any]):
    """Holds a process, as Popen does. It is started cold where its environment may change how modules are loaded."""

    _told: socket.socket | None = None

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any, startupinfo: Any,
        creationflags: Any, shell: Any, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int,
        restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: int, start_new_session: bool, process_group: int,
    ) -> None:  # fmt: skip
        """See subprocess, which calls it so from Python 3.11 to 3.13."""
        pipes = (p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        environment = {os.fsdecode(name): os.fsdecode(value) for name, value in (os.environ if env is None else env).items()}
        group = _group(list(map(os.fspath, args)))
        is_cold = not group or preexec_fn or pass_fds or "AVIZOR_COLD_STARTS" in os.environ
        if is_cold or _of_loading(environment) != _of_loading(_USUAL):
            super()._execute_child(  # type: ignore[misc]
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell, *pipes,
                restore_signals, gid, gids, uid, umask, start_new_session, process_group,
            )  # fmt: skip
            return
        request = {
            "arguments": list(map(os.fspath, args)),
            "environment": environment,
            "folder": os.fspath(cwd or Path.cwd()),
            "new_session": start_new_session,
        }
        files = [own if own != -1 else usual for usual, own in enumerate((p2cread, c2pwrite, errwrite))]
        self._told, theirs = socket.socketpair()
        with theirs:
            numbers = array.array("i", [*files, theirs.fileno()])
            _starter(group).sendmsg([json.dumps(request).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
        (self.pid,) = _NUMBER.unpack(self._told.recv(_NUMBER.size))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.kill()  # a test has failed, and nobody ends it any more
        super().__exit__(kind, error, trace)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._told is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        self._told.setblocking(not wait_flags & os.WNOHANG)
        try:
            (status,) = _NUMBER.unpack(self._told.recv(_NUMBER.size))
        except BlockingIOError:
            return 0, 0
        return self.pid, status

    def _internal_poll(self, *arguments: Any, **more: Any) -> int | None:
        if self._told is None:
            return super()._internal_poll(*arguments, **more)  # type: ignore[misc,no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
                    self._handle_exitstatus(ended[1])  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def _group(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the commands beside which a command starts warm, nothing if it does not. A program of Python makes a model."""
    return WARM["export"] if arguments[0] == sys.executable else WARM.get(arguments[1], ())


def _of_loading(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is read as modules are loaded, by Python and by libraries."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(("PYTHON", "LD_", "MALLOC", "CUDA", "OPENBLAS", "OMP_NUM"))
    }


@cache
def _starter(group: tuple[str, ...]) -> socket.socket:
    """Return the socket of the process that starts these commands. It ends with this process, and so with the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        number = theirs.fileno()
        command = [sys.executable, str(STARTER), ",".join(group), str(number), " " * _ROOM_FOR_A_NAME]
        _STARTERS.append(subprocess.Popen(command, env=_USUAL, pass_fds=[number], stdin=subprocess.DEVNULL))
    return ours


_STARTERS: list[subprocess.Popen[bytes]] = []
_USUAL = dict(os.environ)
