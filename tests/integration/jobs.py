"""Run batch jobs as separate processes, and a Pushgateway that keeps what they push."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import psutil
from support.warm_starts import warm_run

from avizor_inference.digests import sha256_of_file

AVIZOR = Path(sys.executable).with_name("avizor")


def command(data: Path, models: Path, out: Path, *more: str) -> list[str]:
    return [
        *map(str, (AVIZOR, "batch", data, "--models", models, "--model", "kinds", "--model", "normal", "--out", out)),
        *("--alpha", "0.05", "--workers", "2"),  # so that a test means the same on a machine of many cores
        *more,
    ]


def batch(data: Path, models: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return warm_run(command(data, models, out, *more), timeout=120)


def part_digests(out: Path) -> dict[str, str]:
    return {str(path.relative_to(out)): sha256_of_file(path) for path in sorted(out.glob("*/*.parquet"))}


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def committed(out: Path) -> int:
    return len(list((out / "commits").glob("*.json")))


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All that a job has started: its workers, and what keeps count of their locks."""
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return found


def gone(processes: list[psutil.Process], seconds: float = 30.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def start(*arguments: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start a command in a separate process group."""
    return subprocess.Popen(
        arguments, stderr=subprocess.PIPE, stdout=stdout, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_first_shard(out: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the first shard is there, and not the last."""
    assert eventually(lambda: committed(out) > 0 or process.poll() is not None)
    assert 0 < committed(out) < 7, "the job had not begun or was over"


def files_below(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def one_sentence(text: str) -> bool:
    """Whether a log ends in one line of error, with no traceback before it."""
    return text.rstrip().splitlines()[-1].startswith("Error: ") and "Traceback" not in text


def query(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


@dataclass
class Sink:
    """What was pushed at the ends of jobs, in order: the exit code, and all series.

    added: path and series of what was added to a group (POST): by running jobs, and the last success.
    """

    address: str = ""
    codes: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    added: list[tuple[str, str]] = field(default_factory=list)
    on_push: Callable[[int], None] = lambda code: None

    def take(self, path: str, text: str) -> None:
        code = int(float(re.findall(r"^avizor_batch_last_exit_code (\S+)$", text, re.MULTILINE)[0]))
        finished = float(re.findall(r"^avizor_batch_last_finish_timestamp_seconds (\S+)$", text, re.MULTILINE)[0])
        assert abs(finished - time.time()) < 300
        self.codes.append(code)
        self.texts.append(text)
        self.paths.append(path)
        self.on_push(code)


@contextmanager
def pushgateway() -> Iterator[Sink]:
    """A real HTTP server that keeps what a Pushgateway would."""
    sink = Sink()

    class Receiver(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            sink.take(self.path, self._text())
            self._done()

        def do_POST(self) -> None:
            sink.added.append((self.path, self._text()))
            self._done()

        def _text(self) -> str:
            return self.rfile.read(int(self.headers["Content-Length"])).decode()

        def _done(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

        def log_error(self, *arguments: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:  # a job that was killed while it pushed
            ...

    server = Server(("127.0.0.1", 0), Receiver)
    sink.address = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
