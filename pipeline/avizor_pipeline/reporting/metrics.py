"""Serve a batch job's metrics while it runs if it has a port, and push them to a Pushgateway when it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, push_to_gateway, start_http_server

from avizor_inference.error_text import one_line, reason
from avizor_inference.errors import SettingsError
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.models import JobModel
from avizor_pipeline.sinks.part_files import Commit

PUSH_TIMEOUT_S = 10.0


class BatchMetrics:
    """Holds the counters and gauges of one job, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._files = Counter("avizor_batch_files", "Files done, unreadable ones included.", registry=self.registry)
        self._windows = Counter("avizor_batch_windows", "Window rows written.", registry=self.registry)
        self._dead = Counter("avizor_batch_dead_letters", "Files that could not be read.", registry=self.registry)
        self._planned = Gauge("avizor_batch_planned_files", "Files of the job.", registry=self.registry)
        self._exit_code = Gauge(
            "avizor_batch_last_exit_code",
            "0 all rows, 3 finished with dead letters, 1 failed, 2 wrong usage, 128 + the signal that stopped it.",
            registry=self.registry,
        )
        self._finished = Gauge(
            "avizor_batch_last_finish_timestamp_seconds", "When the job ended, in seconds since 1970.", registry=self.registry
        )
        self._judged = Gauge(
            "avizor_batch_recordings", "Recordings judged by an autoencoder.", ["model", "source"], registry=self.registry
        )
        self._not_judged = Gauge(
            "avizor_batch_recordings_not_judged",
            "Recordings that the calibration has nothing to compare with, such as those shorter than the model's window.",
            ["model", "source"],
            registry=self.registry,
        )
        self._flagged = Gauge(
            "avizor_batch_anomalies", "Recordings flagged at the job's alpha.", ["model", "source"], registry=self.registry
        )

    def set_planned(self, files: int) -> None:
        """Set the number of files of the job."""
        self._planned.set(files)

    def count(self, commit: Commit) -> None:
        """Add one shard."""
        self._files.inc(commit.files)
        self._windows.inc(commit.windows)
        self._dead.inc(commit.dead_letters)

    def finish(self, exit_code: int) -> None:
        """Set how the job ended, and that it ended now."""
        self._exit_code.set(exit_code)
        self._finished.set(time.time())

    def set_verdicts(self, outcome: Outcome, models: Sequence[JobModel]) -> None:
        """Set what each model with a calibration judged and flagged."""
        for model in models:
            for source, count in outcome.sources[model.name].items() if model.calibration else ():
                self._judged.labels(model.name, source).set(count.recordings - count.not_judged)
                self._not_judged.labels(model.name, source).set(count.not_judged)
                self._flagged.labels(model.name, source).set(count.anomalies)

    def push(self, gateway: str, job: str) -> str:
        """Push to the Pushgateway at `gateway` as `job`; return why that failed and what to do, or ""."""
        problem = [f"no answer within {PUSH_TIMEOUT_S:g} s; check that a Pushgateway is running there"]

        def push() -> None:
            problem[:] = [self._push(gateway, job)]

        # A thread, because the timeout of a connection is that of each read: a slow answer could take for ever.
        pushing = threading.Thread(target=push, daemon=True)
        pushing.start()
        pushing.join(PUSH_TIMEOUT_S)
        return problem[0]

    def _push(self, gateway: str, job: str) -> str:
        try:
            push_to_gateway(gateway, job=job, registry=self.registry, timeout=PUSH_TIMEOUT_S)
        except HTTPError as error:
            return f"it answered {error.code} {error.reason}; see its log"
        except OSError as error:
            cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
            return f"{reason(cause)}; check that a Pushgateway is running there"
        except (ValueError, HTTPException) as error:
            return f"what answers there is not a Pushgateway ({one_line(error)}); give its HOST:PORT"
        return ""

    @contextlib.contextmanager
    def http_server(self, port: int | None) -> Iterator[None]:
        """Serve /metrics on this port of 127.0.0.1 while the context is open, if it is not None. Raises SettingsError."""
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port, "127.0.0.1", self.registry)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics on 127.0.0.1:{port}: {reason(error)}; stop the other process or choose another "
                "--metrics-port"
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def check_gateway(address: str) -> None:
    """Raise SettingsError unless `address` is a well-formed HOST:PORT or URL. Does not connect to it."""
    try:
        url = urlsplit(address if "://" in address else f"http://{address}")
        well_formed = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not url.netloc.endswith(":")
    except ValueError:  # a port that is not a number, or a bracket that is not closed
        well_formed = False
    if not well_formed:
        raise SettingsError(f"--pushgateway {address} is not an address; write HOST:PORT, and an IPv6 address as [::1]:9091")


def metric_names() -> frozenset[str]:
    """Return the names as they are exposed: those that rules and dashboards may use."""
    return frozenset(
        metric.name + ("_total" if metric.type == "counter" else "") for metric in BatchMetrics().registry.collect()
    )
