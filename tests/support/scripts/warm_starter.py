"""Load the modules of commands of `avizor` once, and start them as often as it is asked to: `warm_starter.py NAME,NAME SOCKET`.

Each message on the socket is a start: JSON, with the files that are the command's input, output and errors, and a socket on
which its number is told, and at its end its status. See support/warm_starts.py.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

NUMBER = struct.Struct("i")
_STARTS_OTHERS = ("batch", "retry", "serve", "watch")

# What a command, or a process that it starts, loads once it has begun.
_LATER = {
    "batch": (
        "numpy.ma",
        "avizor_pipeline.runners.worker",
        "multiprocessing.popen_spawn_posix",
        "multiprocessing.sharedctypes",
    ),
    "describe": ("avizor_export.description.command",),
    "export": ("torch.export._trace", "matplotlib.figure"),
    "fit": ("avizor_export.fitting.command",),
    "avizor_export.networks.onnx_sandbox": (
        "avizor_export.networks.onnx_batch",
        "avizor_export.networks.onnx_input",
        "avizor_export.networks.onnx_opening",
        "avizor_inference.engines.ort_session",
        "onnx.shape_inference",
        "onnxruntime",
    ),
    "serve": ("numpy.ma", "avizor_service.server", "avizor_service.decoders.messages", "avizor_inference.items.signals"),
}
_PR_SET_PDEATHSIG = 1


def load(names: Sequence[str]) -> None:
    """Load what the commands load in any case."""
    import click

    from avizor_cli.main import avizor

    for variable, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("GRPC_VERBOSITY", "NONE")):  # see avizor_cli.main
        os.environ.setdefault(variable, value)
    for name in names:
        if name in avizor.list_commands(click.Context(avizor)):
            avizor.get_command(click.Context(avizor), name)
        for module in _LATER.get(name, ()):
            importlib.import_module(module)
    if "export" in names:
        from support.operator_table import read_operators_now

        read_operators_now()
    gc.freeze()


def starts(requests: socket.socket) -> Callable[[], object]:
    """Start what is asked for. Returns what is to be run in each process that was started; ends with the socket."""
    from support.scripts import warm_children  # not where multiprocessing loads this file, in a process that it starts cold

    running: dict[int, tuple[int, socket.socket]] = {}  # a file of the process -> its number, and where its end is told
    while True:
        waits: list[socket.socket | int] = [requests, *running]
        for ready in select.select(waits, [], [])[0]:
            if isinstance(ready, int):
                pid, told = running.pop(ready)
                status = os.waitpid(pid, 0)[1]
                with contextlib.suppress(OSError):  # nobody waits for it any more
                    told.send(NUMBER.pack(status))
                told.close()
                os.close(ready)
                continue
            room = socket.CMSG_SPACE(warm_children.MOST_FILES * array.array("i").itemsize)
            message, data, _, _ = requests.recvmsg(warm_children.LONGEST, room)
            if not message:
                os._exit(0)
            files = array.array("i")
            files.frombytes(data[0][2])
            request = json.loads(message)
            if "program" in request:  # of the process that runs the tests
                if child := warm_children.start_child(requests, request, list(files)):
                    for _, ends in running.values():
                        ends.detach()
                    return child
                continue
            told = socket.socket(fileno=files[3])
            if not (pid := os.fork()):
                for file, other in running.items():
                    os.close(file)
                    other[1].close()
                requests.close()
                begin(request, list(files[:3]))
                told.send(NUMBER.pack(os.getpid()))
                told.close()
                # A job with a limit of memory measures what its workers need, and so do they.
                warms_others = sys.argv[1] in _STARTS_OTHERS and "--memory" not in sys.argv
                return (warm_children.offered() if warms_others else None) or program(request["arguments"])
            for file in files[:3]:
                os.close(file)
            running[os.pidfd_open(pid)] = pid, told


def begin(request: dict[str, Any], files: list[int]) -> None:
    """Let this process be as if it had just been started."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    atexit.register(gc.unfreeze)  # some libraries tell of each type that outlives them
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # nothing is left behind tests that were ended
    if request["new_session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    tempfile.tempdir = None
    sys.argv = request["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).parent)


def program(arguments: Sequence[str]) -> Callable[[], object]:
    """Return what runs a command of `avizor`, or a program of Python: a file, `-m` and a module, or `-c` and code."""
    if arguments[0] != sys.executable:
        return _main
    if arguments[1] in ("-m", "-c"):
        sys.argv = [arguments[1], *arguments[3:]]
        sys.path[0] = str(Path.cwd())
        if arguments[1] == "-c":
            return partial(exec, arguments[2], {"__name__": "__main__"})
        return partial(runpy._run_module_as_main, arguments[2])  # type: ignore[attr-defined]
    sys.argv = list(arguments[1:])
    sys.path[0] = str(Path(arguments[1]).parent)
    return partial(runpy.run_path, arguments[1], run_name="__main__")


def _main() -> None:
    from avizor_cli.main import main

    main()


def run(main: Callable[[], object]) -> NoReturn:
    """Run a program to its end. The system takes apart what is there then: that would cost Python 60 ms and more."""
    try:
        main()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        code = end.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream and not stream.closed:
                stream.flush()
        except OSError:  # Python says so, in its way
            sys.exit(code)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the process of the tests may have blocked some while it started this one
    load(sys.argv[1].split(","))
    run(starts(socket.socket(fileno=int(sys.argv[2]))))
