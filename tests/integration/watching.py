"""Run `avizor watch` as a separate process, and ask what it has written so far."""

from __future__ import annotations

import re
import signal
import socket
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import duckdb
import pyarrow.parquet as pq
from integration.jobs import AVIZOR, query
from support.waiting import wait_until
from support.warm_starts import WarmPopen

from avizor_pipeline.sinks.part_files import shard_of


def watch_command(what: Path | str, models: Path, out: Path, *more: str) -> list[str]:
    return [
        *map(str, (AVIZOR, "watch", what, "--models", models, "--model", "normal", "--out", out)),
        *("--alpha", "0.05", "--every-s", "0.5"),
        *(() if what == "-" else ("--settle-s", "0.5", "--workers", "1")),
        *more,
    ]


_BEGAN = "avizor watch: watching"


class Watch:
    """A running `avizor watch`. It is killed at the end of the context if it still runs. normal: the only model."""

    def __init__(self, what: Path | str, models: Path, out: Path, *more: str, stdin: int | IO[bytes] | None = None) -> None:
        self.out, self._log = out, out.with_name(f"{out.name}.log")
        self.started = (self.log.count(_BEGAN) if self._log.exists() else 0) + 1
        with self._log.open("ab") as log:
            self.process = WarmPopen(
                watch_command(what, models, out, *more), stdin=stdin, stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def recordings(self) -> dict[str, int]:
        """The files in `recordings/` by what follows the last folder, with the number of their windows."""
        return {Path(uri).name: windows for uri, windows in rows(self.out, "recordings", "uri, windows")}

    def dead(self) -> set[str]:
        return {Path(uri).name for (uri,) in rows(self.out, "dead_letters", "uri")}

    def wait_for(self, *names: str) -> None:
        """Wait until these files have rows."""
        wait_until(lambda: {*names} <= {*self.recordings()} or self.process.poll() is not None)
        assert self.process.poll() is None, self.log

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log or self.process.poll() is not None)
        assert text in self.log, self.log

    @property
    def has_begun(self) -> bool:
        """Whether it watches. The log goes on that of earlier ones with the same `out`."""
        return self.log.count(_BEGAN) == self.started

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)

    def metric(self, port: int, name: str) -> float:
        """The value of a series, given with its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            found = re.findall(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[0]) if found else float("nan")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rows(out: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Rows of a table of a job that may run, sorted."""
    try:
        return sorted(query(f"select {columns} from '{out}/{table}/*.parquet'"), key=str)
    except duckdb.IOException:  # there is no part yet
        return []


def counted_windows(out: Path) -> list[tuple[Any, ...]]:
    """Uri and start of the windows that count: a part without the record of its shard or section is cleared by the next run."""
    records = (
        (part, (out / "commits" / f"{shard_of(part.stem)}.json", out / "sections" / f"{part.stem}.json"))
        for part in (out / "windows").glob("*.parquet")
    )
    counted = [str(part) for part, either in records if any(record.exists() for record in either)]
    return query(f"select uri, start_sample from read_parquet({counted})") if counted else []


def parts(out: Path, table: str) -> int:
    return len(list((out / table).glob("*.parquet")))


def sorted_windows(out: Path) -> dict[str, list[object]]:
    """All columns of `windows` but the names of the recordings, in the order of time."""
    table = pq.read_table(out / "windows").sort_by(
        [("model", "ascending"), ("start_sample", "ascending"), ("channel", "ascending")]
    )
    return {name: table[name].to_pylist() for name in table.column_names if name != "uri"}
