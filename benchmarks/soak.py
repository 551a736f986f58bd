"""Keep a gateway under mixed load for an hour: does its memory grow?

    python benchmarks/soak.py [--minutes 60] [--clients 6] [--engine triton://HOST:PORT] [--samples FILE]

Every RPC of the contract is called: with valid items of every kind, with damaged files and messages, with messages that are
too large, with sources that nobody knows. Some calls are cancelled, have deadlines that pass, or come over a connection that is
closed meanwhile. Every 2 s the clients pause until their calls have ended, and the resident memory of the gateway and of all
processes that it started is added up. The first quarter is the warm-up. Through the rest a line is fitted (memory_slope.py).
Exit code 1: the upper bound of the slope's 95 % interval is 1 MiB an hour or more, the gateway ended, or its log has a
traceback.

Memory that the gateway has freed stays with the allocator of the C library for a while: 7 MiB more or less from sample to
sample, in which a slope of 1 MiB an hour is hard to see. So the gateway runs with settings by which the allocator gives it back
sooner (ALLOCATOR). A leak is never freed, and they do not hide it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import grpc
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from integration.gateway import Gateway, gateway
from memory_slope import slope
from support.media import memory_mib
from support.mutated_calls import mutated_calls, mutated_media
from support.small_models import export_small_models
from support.valid_calls import Rpc, export_pumps, rpcs, valid_calls

EVERY_S = 2.0
SETTLE_S = 0.1  # in which the gateway leaves what its clients have cancelled
# Of glibc: blocks from this size on are returned when they are freed, and threads share two heaps.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "2"}
WARM_UP = 0.25  # of the whole time
MOST_MIB_AN_HOUR = 1.0
MESSAGE_MIB = 1  # the limit of the gateway under test; more would vary the memory by as much
CALLS_OF_A_CONNECTION = 300
VARIANTS = 3000  # of damaged calls, which are made once

Messages = list[bytes]


class Load:
    """Calls a gateway from several threads until it is told to stop, and counts how the calls ended."""

    def __init__(self, address: str, clients: int) -> None:
        self.ended: Counter[str] = Counter()
        self._address, self._stop, self._go = address, threading.Event(), threading.Event()
        self._go.set()
        self._busy = [threading.Lock() for _ in range(clients)]
        self._valid = [(rpc, call) for rpc in rpcs() for call in valid_calls(rpc)]
        self._damaged = [*islice(mutated_calls(), VARIANTS), *islice(mutated_media(), VARIANTS)]
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until the last call has ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Wait until no call is under way, and keep it so."""
        self._go.clear()
        with contextlib.ExitStack() as stack:
            for busy in self._busy:
                stack.enter_context(busy)
            time.sleep(SETTLE_S)
            yield
        self._go.set()

    def _run(self, number: int) -> None:
        rng = random.Random(number)
        while not self._stop.is_set():
            with grpc.insecure_channel(self._address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                for _ in range(CALLS_OF_A_CONNECTION):
                    if self._stop.is_set():
                        break
                    self._go.wait()
                    with self._busy[number]:
                        self.ended[self._one(channel, rng)] += 1
                self._valid_call(rng)[0].start(channel, self._valid_call(rng)[1])  # the connection is closed in the middle

    def _one(self, channel: grpc.Channel, rng: random.Random) -> str:
        kind = rng.choices(("valid", "damaged", "cancelled", "late", "oversize"), (60, 25, 8, 5, 1))[0]
        rpc, messages = self._valid_call(rng) if kind != "damaged" else rng.choice(self._damaged)
        if kind == "oversize":
            messages = [messages[0] + bytes(MESSAGE_MIB << 20)]
        call = rpc.start(channel, messages, timeout=rng.uniform(0.0005, 0.01) if kind == "late" else 60.0)
        if kind == "cancelled":
            time.sleep(rng.uniform(0, 0.01))
            call.cancel()
        try:
            return f"{kind} {rpc.finish(call)[0]}"
        except grpc.FutureCancelledError:
            return f"{kind} CANCELLED"

    def _valid_call(self, rng: random.Random) -> tuple[Rpc, Messages]:
        """Return a valid call. Of some, the items come from a source that nobody knows."""
        rpc, call = rng.choice(self._valid)
        if "items" in rpc.request.DESCRIPTOR.fields_by_name and rng.random() < 0.2:
            request = rpc.request.FromString(call[0].SerializeToString())
            for item in request.items:  # type: ignore[attr-defined]
                item.source = f"source-{rng.random()}"
            return rpc, [request.SerializeToString()]
        return rpc, [message.SerializeToString() for message in call]


def measure(served: Gateway, load: Load, seconds: float) -> list[tuple[float, float]]:
    """Return the seconds since the start, and the resident MiB, every EVERY_S; stop early if the gateway ended."""
    started, samples = time.monotonic(), []
    while (now := time.monotonic() - started) < seconds and served.process.poll() is None:
        with load.paused():
            samples.append((now, memory_mib(served.process.pid)))
        if len(samples) % 30 == 1:
            process = psutil.Process(served.process.pid)
            series, threads, files = len(served.metrics()), process.num_threads(), process.num_fds()
            print(
                f"{now / 60:5.1f} min: {samples[-1][1]:7.1f} MiB, {threads} threads, {files} files, {series} series", flush=True
            )
        time.sleep(max(0.0, len(samples) * EVERY_S - (time.monotonic() - started)))
    return samples


def main() -> None:
    """Serve, load, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--engine", default="ort")
    parser.add_argument("--samples", type=Path, help="where the samples are written as CSV")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the gateway is stopped too
    os.environ.update(ALLOCATOR)  # for the gateway, which inherits it
    with tempfile.TemporaryDirectory() as folder:
        models, log = Path(folder, "models"), Path(folder, "log")
        export_small_models(models)
        export_pumps(models)
        options = ("--engine", arguments.engine, "--alpha", 0.05, "--max-windows", 20, "--max-message-mib", MESSAGE_MIB)
        with gateway(models, *options, log=log) as served:
            load = Load(served.address, arguments.clients)
            samples = measure(served, load, arguments.minutes * 60)
            load.stop()
            code = served.process.poll()
            if code is None:
                code = served.stop()
        print(*(f"{count:9,} {ended}" for ended, count in sorted(load.ended.items())), sep="\n")
        if code or "Traceback" in log.read_text():
            raise SystemExit(f"the gateway ended with {code}; the end of its log:\n{log.read_text()[-5000:]}")
    if arguments.samples:
        arguments.samples.write_text("s,mib\n" + "".join(f"{at:.1f},{mib:.3f}\n" for at, mib in samples))
    judge(np.array(samples), arguments.minutes)


def judge(samples: np.ndarray, minutes: float) -> None:
    """Print the slope after the warm-up; exit with 1 if it may be too large."""
    seconds, mib = samples[samples[:, 0] >= WARM_UP * minutes * 60].T
    found = slope(seconds / 3600, mib)
    print(
        f"after {WARM_UP * minutes:.1f} min of warm-up, {len(mib)} samples: {mib[0]:.1f} MiB at first, {mib[-1]:.1f} at the "
        f"end, {mib.max():.1f} at most"
    )
    print(
        f"slope {found.value:+.2f} MiB an hour, 95 % interval {found.low:+.2f} to {found.high:+.2f}; "
        f"dependence of blocks {found.dependence:+.2f}"
    )
    if found.high >= MOST_MIB_AN_HOUR:
        raise SystemExit(
            f"the upper bound is not under {MOST_MIB_AN_HOUR:g} MiB an hour: memory grows, or the run was too short"
        )


if __name__ == "__main__":
    main()
