"""Replace everything once under mixed load: did a call fail?

    python benchmarks/replacements [--minutes 60] [--calls-a-second 1] [--times 5] [--report FILE]

Ordinary clients call through nginx (deploy/nginx/nginx.conf), with TLS and tokens: typed calls with no retries at all, the same
with avizor_client, raw tensors over gRPC and HTTP, JSON, and a stream. Behind it are `avizor serve --workers 2` and Triton.
Others call a gateway on ONNX Runtime without nginx. Meanwhile each part is replaced once, or twice in two ways (steps.py), and
the calls that failed are counted by replacement. The load is --times as high from 5 s before until 20 s after a replacement.

The report is written again every minute and after each replacement. Exit code 1: a call failed in a replacement that should
cost none (MAY_FAIL names the others), or a replacement did not come to its end.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import tritonclient.grpc
import tritonclient.http

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from replacements.callers import Callers, rest, tensors, typed, with_policy
from replacements.ledger import Ledger
from replacements.site import Site, site
from replacements.steps import STEPS

BEFORE_S, AFTER_S = 5.0, 20.0  # in a run of an hour; less in a short one
SHORT_MINUTES = 10.0
SHARE = 0.8  # of the time, over which the replacements are spread

# Of a server that is the only one of its kind there is none while it restarts.
MAY_FAIL = ("gateway worker, killed", "Triton, restarted", "nginx, restarted")
STREAM = "Monitor (windows)"


def start(callers: Callers, running: Site) -> None:
    """Begin calls of every kind."""
    door, own = running.door, running.own_door
    for rpc in ("Classify", "DetectAnomaly"):
        callers.add(rpc, typed(door, rpc))
        callers.add(f"{rpc}, avizor_client", with_policy(door, rpc))
        callers.add(f"{rpc}, embedded", typed(own, rpc))
        callers.add(f"{rpc}, embedded, avizor_client", with_policy(own, rpc))
    for name, over in (("grpc", tritonclient.grpc), ("http", tritonclient.http)):
        callers.add(f"tritonclient.{name} to Triton", tensors(door, over, "token"))
        callers.add(f"tritonclient.{name} to the gateway", tensors(door, over, "limited-token"))
    callers.add("JSON over HTTP", rest(door))
    callers.listen(STREAM, door)


def replace(name: str, running: Site, ledger: Ledger, callers: Callers, share: float) -> bool:
    """Replace one part under more load; return whether that came to its end. share: of the usual time before and after."""
    callers.busy.set()
    time.sleep(BEFORE_S * share)
    period = ledger.begin(name)
    try:
        period.note = STEPS[name](running, ledger)
        done = True
    except Exception as error:
        period.note, done = f"NOT DONE: {error}", False
    period.lasted_s = ledger.now_s - period.begun_s
    time.sleep(AFTER_S * share)
    ledger.end()
    callers.busy.clear()
    return done


def main() -> None:
    """Start, load, replace, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--calls-a-second", type=float, default=1.0, help="of each of 13 kinds")
    parser.add_argument("--times", type=float, default=5.0, help="how much higher the load is around a replacement")
    parser.add_argument("--report", type=Path, help="where the tables are written")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped too
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as running:
        ledger = Ledger()
        callers = Callers(ledger, arguments.calls_a_second, arguments.times)
        start(callers, running)
        done = [True]
        for number, name in enumerate(STEPS):
            at_s = (number + 0.5) / len(STEPS) * SHARE * arguments.minutes * 60
            wait(ledger, at_s, arguments.report)
            done.append(replace(name, running, ledger, callers, min(1.0, arguments.minutes / SHORT_MINUTES)))
            report(ledger, arguments.report)
        wait(ledger, arguments.minutes * 60, arguments.report)
        callers.stop()
        report(ledger, arguments.report)
    wrong = [period.name for period in ledger.periods if period.name not in MAY_FAIL and _failed(period.failed)]
    if wrong or not all(done):
        raise SystemExit(f"calls failed that should not: {', '.join(wrong) or 'none'}; all replaced: {all(done)}")


def _failed(failed: object) -> bool:
    return any(kind != STREAM for kind, _ in failed)  # type: ignore[attr-defined]


def wait(ledger: Ledger, until_s: float, file: Path | None) -> None:
    """Write the tables every minute until then."""
    while (left_s := until_s - ledger.now_s) > 0:
        time.sleep(min(60.0, left_s))
        report(ledger, file, show=False)


def report(ledger: Ledger, file: Path | None, *, show: bool = True) -> None:
    """Write the tables, and print them if `show`."""
    text = f"after {ledger.now_s / 60:.1f} minutes\n\n{ledger.table()}"
    if show:
        print(text, flush=True)
    if file:
        file.write_text(text)


if __name__ == "__main__":
    main()
