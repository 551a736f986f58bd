"""Start and stop a Triton server for as long as a test needs it.

    with TritonServer(install(), repository) as server:
        client = tritonclient.grpc.InferenceServerClient(server.grpc_url)

Several servers may run at once, from one process or many: each has its own ports, shared memory and log.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from .install import TritonInstall

ModelControl = Literal["explicit", "none", "poll"]
"""`explicit`: models load and unload through the API. `none`: all load, once. `poll`: changes on disk are followed."""

_HOST = "127.0.0.1"
_SHARED_MEMORY = Path("/dev/shm")  # where POSIX shared memory lives on Linux
_MEBIBYTE = 1 << 20
_ATTEMPTS = 5
_POLL_S = 0.05
_ENDPOINT_TIMEOUT_S = 1.0
_LOG_TAIL_LINES = 30
_PORT_TAKEN = "already in use"  # what Triton says of any port that was taken between our looking and its binding


class TritonStartError(RuntimeError):
    """The server ended, or did not become ready in time. The message ends with the last lines of its log."""


class _PortTakenError(TritonStartError):
    """Another process was quicker; other ports may do."""


class _Ports(NamedTuple):
    grpc: int
    http: int
    metrics: int


class TritonServer:
    """A Triton server on free ports of 127.0.0.1, ready for inference inside the `with` block and killed at its end.

    Args:
        install: what to start.
        model_repository: folder of models whose `config.pbtxt` are complete: nothing is filled in.
        model_control: how models are loaded; see `ModelControl`.
        load_models: under `explicit`, the models to load before the server is ready: names, `*` for all, or none.
        extra_args: further arguments for the server. They come last, so they win over those chosen here.
        ready_timeout_s: how long starting may take, loading of models included.
        stop_timeout_s: how long the server may take to finish requests and unload models before it is killed.
        log_path: where the log is kept; by default it goes when the `with` block ends, and `log_text()` remembers it.
    """

    def __init__(
        self,
        install: TritonInstall,
        model_repository: Path,
        *,
        model_control: ModelControl = "explicit",
        load_models: Sequence[str] = ("*",),
        extra_args: Sequence[str] = (),
        ready_timeout_s: float = 120.0,
        stop_timeout_s: float = 20.0,
        log_path: Path | None = None,
    ) -> None:
        self._install = install
        self._model_repository = model_repository.resolve()
        self._model_control = model_control
        self._load_models = tuple(load_models) if model_control == "explicit" else ()
        self._extra_args = tuple(extra_args)
        self._ready_timeout_s = ready_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self.identity = f"avizor-{uuid.uuid4().hex[:12]}"
        """The name that the server gives of itself, and that its shared memory begins with."""
        self._log_path = log_path
        self._scratch: Path | None = None
        self._log_after_exit = ""
        self._starts = 0
        self._log_start = 0  # how long the log was when this start began: bytes of earlier ones, or of a kept file
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: _Ports | None = None
        self._unpacking: set[Path] = set()  # folders of its backend of Python

    def __enter__(self) -> Self:
        if self._log_path is None:
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{self.identity}-"))
            self._log_path = self._scratch / "triton.log"
        try:
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.kill()  # to stop takes it seconds
        finally:
            self._clean_up()

    @property
    def grpc_url(self) -> str:
        """`host:port` for gRPC clients."""
        return f"{_HOST}:{self._bound.grpc}"

    @property
    def http_url(self) -> str:
        """Where the HTTP API is: `http://host:port`."""
        return f"http://{_HOST}:{self._bound.http}"

    @property
    def metrics_url(self) -> str:
        """What Prometheus scrapes: `http://host:port/metrics`."""
        return f"http://{_HOST}:{self._bound.metrics}/metrics"

    @property
    def pid(self) -> int:
        """Of the running server; its process group bears the same number."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def _bound(self) -> _Ports:
        if self._ports is None:
            raise RuntimeError("the server has not been started")
        return self._ports

    def log_text(self) -> str:
        """Everything the server has printed so far; after the `with` block, everything it ever printed."""
        if self._log_path is None or not self._log_path.exists():
            return self._log_after_exit
        return self._log_path.read_text(errors="replace")

    def start(self) -> None:
        """Start the server and wait until it is ready. A server that was stopped or killed keeps its ports.

        Raises:
            TritonStartError: it ended (a model that does not load ends it), or it is not ready in time.
        """
        if self._process is not None:
            raise RuntimeError("the server is running")
        if self._ports is not None:  # its clients know these: no others will do
            self._start_on(self._ports)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            ports = _free_ports()
            try:
                self._start_on(ports)
            except _PortTakenError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                self._ports = ports
                return

    def stop(self) -> None:
        """End the server in good order: it finishes its requests and unloads its models. Kill it if that takes long."""
        self._end(signal.SIGTERM, self._stop_timeout_s)

    def kill(self) -> None:
        """End the server at once, as a crash would: open calls break off. `start()` brings it back, ports unchanged."""
        self._end(signal.SIGKILL, 0.0)

    def _start_on(self, ports: _Ports) -> None:
        self._starts += 1
        command = [str(self._install.tritonserver), *self._arguments(ports), *self._extra_args]
        assert self._log_path is not None, "use the server in a with statement"
        others = _unpacking_folders()
        with self._log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                env=self._install.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, to which its backend processes belong too
            )
        try:
            self._wait_until_ready(ports)
        except BaseException:
            self.kill()
            raise
        self._unpacking = _unpacking_folders() - others

    def _arguments(self, ports: _Ports) -> list[str]:
        return [
            f"--id={self.identity}",
            f"--model-repository={self._model_repository}",
            f"--backend-directory={self._install.backends}",
            f"--cache-directory={self._install.caches}",
            f"--grpc-address={_HOST}",
            f"--grpc-port={ports.grpc}",
            f"--http-address={_HOST}",
            f"--http-port={ports.http}",
            f"--metrics-address={_HOST}",
            f"--metrics-port={ports.metrics}",
            "--allow-metrics=true",
            "--allow-gpu-metrics=false",
            "--strict-readiness=true",
            "--disable-auto-complete-config",
            f"--model-control-mode={self._model_control}",
            *(f"--load-model={name}" for name in self._load_models),
            "--repository-poll-secs=1",
            f"--exit-timeout-secs={max(1, int(self._stop_timeout_s / 2))}",
            # Of this start alone: processes of a server that was killed may still hold locks in regions of the same name.
            f"--backend-config=python,shm-region-prefix-name={self.identity}-{self._starts}-",
            f"--backend-config=python,shm-default-byte-size={_MEBIBYTE}",  # per model instance; it grows as needed
            f"--backend-config=python,shm-growth-byte-size={_MEBIBYTE}",
            f"--backend-config=python,stub-timeout-seconds={int(self._ready_timeout_s)}",
        ]

    def _wait_until_ready(self, ports: _Ports) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        while not self._is_ready(ports):
            self._raise_if_ended()
            if time.monotonic() > deadline:
                raise TritonStartError(self._report(f"Triton was not ready after {self._ready_timeout_s:g} s"))
            time.sleep(_POLL_S)

    def _is_ready(self, ports: _Ports) -> bool:
        """Whether all endpoints answer, all models are ready, and the server that says so is this one.

        Triton opens gRPC first, then HTTP, then metrics; so gRPC needs no look of its own.
        """
        base = f"http://{_HOST}:{ports.http}/v2"
        return (
            _get(f"{base}/health/ready") is not None
            and self.identity in (_get(base) or "")
            and _get(f"http://{_HOST}:{ports.metrics}/metrics") is not None
        )

    def _raise_if_ended(self) -> None:
        assert self._process is not None
        if not _has_ended(self._process.pid):
            return
        if _PORT_TAKEN in self._log_of_this_start():
            raise _PortTakenError(self._report("a port was taken by another process"))
        raise TritonStartError(self._report("Triton ended while starting"))

    def _report(self, what: str) -> str:
        lines = self._log_of_this_start().splitlines()
        told = [line for line in lines if line and not line.startswith(("+", "|"))]  # tables of settings: 20 lines each
        return "\n".join([f"{what}; the last lines of its log:", *told[-_LOG_TAIL_LINES:]])

    def _log_of_this_start(self) -> str:
        assert self._log_path is not None
        return self._log_path.read_bytes()[self._log_start :].decode(errors="replace")

    def _end(self, how: signal.Signals, patience_s: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        deadline = time.monotonic() + patience_s
        try:
            os.kill(process.pid, how)
            while not _has_ended(process.pid) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        finally:  # also when interrupted
            # Not waited for until now: the number, and its group's, cannot have been given to another process.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._remove_what_is_left()

    def _remove_what_is_left(self) -> None:
        """A server that was killed leaves its regions behind; they are memory, and stay until removed. And an empty folder."""
        for region in _SHARED_MEMORY.glob(f"*{self.identity}*"):
            region.unlink(missing_ok=True)
        for folder in self._unpacking:  # that of another server, which has begun at the same time, is empty, too
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _clean_up(self) -> None:
        self._log_after_exit = self.log_text()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch, self._log_path = None, None


def _unpacking_folders() -> set[Path]:
    """Where backends of Python would unpack environments. They are always in /tmp."""
    return set(Path("/tmp").glob("python_env_*"))


def _free_ports() -> _Ports:
    """Three ports that nobody listens on at the moment; held together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in _Ports._fields]
        for one in sockets:
            one.bind((_HOST, 0))
        return _Ports(*(one.getsockname()[1] for one in sockets))


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it stays a zombie, so that its number is not given to another process yet."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _get(url: str) -> str | None:
    """The body of a successful answer, else None."""
    try:
        with _OPENER.open(url, timeout=_ENDPOINT_TIMEOUT_S) as answer:
            return str(answer.read(), "utf-8", "replace")
    except (OSError, http.client.HTTPException):  # nobody there, an error, or another protocol
        return None


# Without the proxies that the environment may name: these addresses are this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
