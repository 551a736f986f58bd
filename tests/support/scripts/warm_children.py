"""Start the processes of a warm command warm, too: workers of a job, workers and decoders of a gateway.

They load again what the command has loaded, which is most of what they cost. So a helper stands beside the command, forked
before its first thread. It forks where the command would start a program of Python, and the new process becomes a child of the
command, with the files, the environment, the folder and the signals that it would have had. See support/warm_starts.py.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import multiprocessing.util
import os
import resource
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

DECODER = "avizor_service.decoders.worker"
WORKER = "avizor_service.workers.worker"
SANDBOX = "avizor_export.networks.onnx_sandbox"
_PYTHON = sys.executable  # tests put another program in its place

LONGEST = 1 << 18  # bytes of a request
MOST_FILES = 16
_ABOVE = 500  # numbers of files from here on are free
_NUMBER = struct.Struct("i")
_PR_SET_CHILD_SUBREAPER = 36
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_LIBC = ctypes.CDLL(None)


def offered() -> Callable[[], object] | None:
    """Let what this process starts be warm. Returns None in it; in what is started later, the program to run."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        return _programs(theirs)
    theirs.close()
    replace_starts(lambda _program, _environment: ours)
    return None


# ---- in the process that starts others


class _Cold(Exception):
    """There is no helper: it was ended with all that the command has started, or the program is to load its modules itself."""


def replace_starts(helper: Callable[[str, Mapping[str, str]], socket.socket | None]) -> None:
    """Let this process ask a helper where it would start what multiprocessing spawns, or a module named above.

    helper: returns the socket of one, for a module or code and an environment; None starts the program cold.
    """
    lock = threading.Lock()
    execute, spawn = subprocess.Popen._execute_child, multiprocessing.util.spawnv_passfds  # type: ignore[attr-defined]

    def start(program: Sequence[str], files: dict[int, int], environment: dict[str, str], group: int) -> int:
        """Return the number of a new child of this process. files: number that it has there -> number here."""
        asked = helper(program[1], environment)
        if asked is None:
            raise _Cold
        request = {
            "program": list(map(os.fspath, program)),
            "numbers": list(files),
            "environment": environment,
            "folder": str(Path.cwd()),
            "group": group,
            "ignored": [int(number) for number in signal.valid_signals() if _is_ignored(number)],
            "blocked": list(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
            "limits": [resource.getrlimit(limit) for limit in _LIMITS],
        }
        sent = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files.values()))]
        with lock:
            _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
            try:
                asked.sendmsg([json.dumps(request).encode()], sent)
                (pid,) = _NUMBER.unpack(asked.recv(_NUMBER.size))
            except (OSError, struct.error) as error:
                raise _Cold from error
            finally:
                _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 0)
        return int(pid)

    def spawned(path: Any, args: Any, passfds: Sequence[int]) -> int:
        """Stands for multiprocessing.util.spawnv_passfds."""
        try:
            return start(args[args.index("-c") :], {number: number for number in (0, 1, 2, *passfds)}, dict(os.environ), -1)
        except _Cold:
            return int(spawn(path, args, passfds))

    def executed(self: Any, args: Any, *more: Any) -> None:
        """Stands for Popen._execute_child, see subprocess."""
        env, pipes, group = more[5], more[9:15], more[21]
        read, _, _, out, _, errors = pipes
        files = {number: number if own == -1 else own for number, own in enumerate((read, out, errors))}
        try:
            if not isinstance(args, list) or args[:3] != [_PYTHON, "-P", "-m"] or args[3] not in (DECODER, WORKER, SANDBOX):
                raise _Cold
            self.pid = start(args[2:], files, dict(os.environ if env is None else env), -1 if group is None else group)
        except _Cold:
            execute(self, args, *more)
            return
        self._child_created = True
        self._close_pipe_fds(*pipes)

    multiprocessing.util.spawnv_passfds = spawned
    subprocess.Popen._execute_child = executed  # type: ignore[attr-defined]


def _is_ignored(number: int) -> bool:
    return number not in (signal.SIGPIPE, signal.SIGXFSZ) and signal.getsignal(number) is signal.SIG_IGN


# ---- in the helper


def _programs(requests: socket.socket) -> Callable[[], object]:
    """Start what the command asks for. Returns in each new process; ends with the command."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # those for the whole group, too
    call_me("beside", *sys.argv)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # whoever reads what the command writes waits for the end of it
        os.dup2(nowhere, number)
    os.close(nowhere)
    while True:
        message, data, _, _ = requests.recvmsg(LONGEST, socket.CMSG_SPACE(MOST_FILES * array.array("i").itemsize))
        if not message:
            os._exit(0)
        files = array.array("i")
        files.frombytes(data[0][2])
        if program := start_child(requests, json.loads(message), list(files)):
            return program


def start_child(requests: socket.socket, request: dict[str, Any], files: list[int]) -> Callable[[], object] | None:
    """Start a child of the process that asks for it, and tell it the number. Returns what is to be run in the new process."""
    told, tells = os.pipe()
    if not (between := os.fork()):
        parent = os.getpid()
        if os.fork():
            os._exit(0)  # so that the new process becomes a child of the one that asks
        os.write(tells, _NUMBER.pack(os.getpid()))
        while os.getppid() == parent:
            time.sleep(0.0002)
        requests.detach()  # or what gets its number would be closed with it
        return _begun(request, files)
    for file in (*files, tells):
        os.close(file)
    os.waitpid(between, 0)
    number = os.read(told, _NUMBER.size)
    os.close(told)
    with suppress(OSError):  # it has ended meanwhile
        requests.send(number)
    return None


def _begun(request: dict[str, Any], files: list[int]) -> Callable[[], object]:
    """Let this process be as if the program had just been started, and return what runs it."""
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, _ABOVE) for file in files]
    os.closerange(3, _ABOVE)
    for number, file in zip(request["numbers"], high, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["group"] >= 0:
        os.setpgid(0, request["group"])
    for limit, values in zip(_LIMITS, request["limits"], strict=True):
        resource.setrlimit(limit, tuple(values))
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    option, program, *arguments = request["program"]
    call_me(sys.executable, "-P", option, program, *arguments)
    sys.argv = [option, *arguments]
    if option == "-c":
        return partial(exec, program, {"__name__": "__main__"})
    if program == WORKER and (later := offered()):  # it starts decoders
        return later
    return partial(runpy._run_module_as_main, program)  # type: ignore[attr-defined]


def call_me(*arguments: str) -> None:
    """Change the command line of this process, as others see it. What has no room is left out."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(os.fsencode("\0".join(arguments))[: end - start - 1].ljust(end - start, b"\0"))
