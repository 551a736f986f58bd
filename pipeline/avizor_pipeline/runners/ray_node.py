"""Run the workers of one machine of a Ray cluster, inside one of Ray's processes there.

They are the workers of `local.py`: what a file does to its worker is settled on this machine. Ray brings shards here, and takes
what came of them back. Nothing of this module imports Ray.
"""

from __future__ import annotations

import os
import pickle
import platform
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module, metadata
from pathlib import Path

from avizor_inference.engines.open_engine import runs_here
from avizor_inference.error_text import reason
from avizor_inference.errors import AvizorError, JobError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.file_access import path_of, state_at
from avizor_inference.object_store import is_url
from avizor_pipeline.checked_models import check_models
from avizor_pipeline.model_groups import shared_graphs
from avizor_pipeline.models import open_models
from avizor_pipeline.process_memory import prepare_children
from avizor_pipeline.runners.attempts import Task
from avizor_pipeline.runners.base import Done
from avizor_pipeline.runners.local import run_alone
from avizor_pipeline.runners.worker import Computing, Worker
from avizor_pipeline.runners.worker_process import WorkerOptions
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.lease import WORKERS_END_S
from avizor_pipeline.sinks.lock import LOCK_FILE, prepare_for_workers, who_holds
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.part_files import commit_path, find_damage, read_commit
from avizor_pipeline.sinks.section_files import read_record

_LOOK_S = 0.5

# Bytes of a shard in one argument of a call. Ray carries arguments below 100 kB within the call, larger ones through its store
# of objects, which other jobs may have filled.
_ARGUMENT_BYTES = 64 * 1024

# What computes the rows, besides Avizor and Python: the names of distributions, any of which may provide it.
_LIBRARIES = ("numpy", "onnxruntime onnxruntime-gpu", "openvino", "soundfile", "soxr", "pillow", "av", "pyarrow")

# Ray sets it to the number of cores that it has given to a process. Workers have one thread each, as they have without Ray.
_THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class NodeOrder:
    """Holds what the workers of a machine are told.

    workers: their number. worker_bytes: memory that each may have by itself; None: any. folder: from which the job was started;
    relative paths are below it. held: of `who_holds`. sample: a file of the dataset that must be there; None: not known.
    threads: OMP_NUM_THREADS of the job; "" if it is not set.
    """

    settings: JobSettings
    out: OutputPath
    workers: int
    file_timeout_s: float
    engine_wait_s: float
    worker_bytes: int | None
    folder: str
    held: str
    sample: Entry | None = None
    threads: str = ""


def software() -> dict[str, str]:
    """Return what computes rows in this process: name -> version. Machines that differ in it might compute other rows."""
    found = {"Python": platform.python_version(), "Avizor": _avizor()}
    for names in _LIBRARIES:
        for name in names.split():
            with suppress(metadata.PackageNotFoundError):
                found[names.split()[0]] = metadata.version(name)
    return found


def _avizor() -> str:
    """Return the version of Avizor, and a digest of its code: two checkouts may call themselves by one version."""
    digest = sha256()
    for package in ("avizor_inference", "avizor_pipeline"):
        (folder,) = map(Path, import_module(package).__path__)
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    version = "unknown"
    with suppress(metadata.PackageNotFoundError):
        version = metadata.version("avizor")
    return f"{version} ({digest.hexdigest()[:12]})"


def to_arguments(shard: Shard) -> list[bytes]:
    """Return a shard as arguments of a call, each of which is small."""
    data = pickle.dumps(shard)
    return [data[start : start + _ARGUMENT_BYTES] for start in range(0, len(data), _ARGUMENT_BYTES)]


class NodeWorkers:
    """Holds the workers of a machine. Its methods are called from threads: `run` by as many as there are workers.

    All end at once when this process ends. It ends by itself when the job has been silent for WORKERS_END_S (see `ping`).
    """

    def __init__(self, order: NodeOrder) -> None:
        self._order = order
        self._gate = _Gate()
        self._workers: Sequence[_GatedWorker] = ()
        self._idle: queue.SimpleQueue[_GatedWorker] = queue.SimpleQueue()
        self._heard = self._answered = time.monotonic()

    def begin(self) -> None:
        """Check that this machine has what the job needs. Raises JobError."""
        order = self._order
        with _named():
            _enter(order)
            _check_models(order.settings)
            _check_output(order)
            _check_dataset(order)
        # Without its name, workers are not made to import the main module of Ray's process.
        sys.modules["__main__"].__dict__.pop("__file__", None)
        if order.worker_bytes is not None:
            prepare_children()
        shared = shared_graphs(order.settings)
        options = WorkerOptions(order.settings, order.out, order.engine_wait_s, order.worker_bytes, shared)
        self._workers = [_GatedWorker(options, self._gate) for _ in range(order.workers)]
        for worker in self._workers:
            self._idle.put(worker)
        self._heard = self._answered = time.monotonic()
        threading.Thread(target=self._end_if_silent, daemon=True).start()

    def run(self, again: bool, *parts: bytes) -> Done:
        """Do a shard or a section. again: whether it was begun on a machine that was lost. Raises as LocalRunner does."""
        shard: Shard = pickle.loads(b"".join(parts))  # noqa: S301 - from the process of the job
        if again and (done := _committed(self._order.out, shard)):
            return done
        worker = self._idle.get()
        try:
            return run_alone(worker, shard, self._order.file_timeout_s)
        finally:
            self._idle.put(worker)

    def ping(self) -> bool:
        """Return whether a worker waits for an engine that is away.

        A call says that the job has the answer to the one before. So when this machine ends its workers WORKERS_END_S after its
        last answer that has arrived, it does so before the job, which counts from its last call, gives their shards to others.
        """
        self._heard, self._answered = self._answered, time.monotonic()
        return any(worker.waits for worker in self._workers)

    def stop(self) -> None:
        """End all workers at once, and begin no other."""
        with self._gate.lock:
            self._gate.is_closed = True
            for worker in self._workers:
                worker.kill()
        ended = [self._idle.get(timeout=WORKERS_END_S) for _ in self._workers]
        for worker in ended:
            worker.close()
            self._idle.put(worker)

    def _end_if_silent(self) -> None:
        while not self._gate.is_closed:
            if time.monotonic() - self._heard > WORKERS_END_S:
                os._exit(1)  # workers end with the process that started them
            time.sleep(_LOOK_S)


class _Gate:
    """Lets one worker start at a time, and none once it is closed."""

    def __init__(self) -> None:
        self.lock, self.is_closed = threading.Lock(), False


class _GatedWorker(Worker):
    """Is a worker that is started by one of many threads."""

    def __init__(self, options: WorkerOptions, gate: _Gate) -> None:
        super().__init__(options)
        self._gate = gate

    def begin(self, task: Task) -> Computing:
        """See Worker. Raises JobError when the job is being stopped."""
        with self._gate.lock:
            if self._gate.is_closed:
                raise JobError("the job was stopped")
            return super().begin(task)


def _committed(out: OutputPath, shard: Shard) -> Done | None:
    """Return what a lost machine has finished of a shard before it was lost; remove the record of what is damaged."""
    if shard.is_section:
        return read_record(out, shard.id)
    commit = read_commit(out, shard.id)
    if not isinstance(commit, str) and not find_damage(out, commit):
        return commit
    commit_path(out, shard.id).unlink(missing_ok=True)
    return None


# ---- checks of a machine


@contextmanager
def _named() -> Iterator[None]:
    """Say in errors of which machine they are."""
    try:
        yield
    except (AvizorError, OSError) as error:
        what = reason(error) if isinstance(error, OSError) else str(error)
        raise JobError(f"the machine {platform.node()} cannot do its part of the job: {what}") from error


def _enter(order: NodeOrder) -> None:
    settings = order.settings
    named = [settings.repository, settings.reconstructions, *(root for root in settings.roots if root != "-")]
    named += [] if not isinstance(order.out, Path) else [str(order.out)]
    relative = [name for name in named if name and not is_url(name) and not path_of(name).is_absolute()]
    try:
        os.chdir(order.folder)
    except OSError as error:
        if relative:
            raise JobError(
                f"it has no folder {order.folder}, from which the job was started ({reason(error)}), and {relative[0]} is "
                "relative to that: give absolute paths"
            ) from error
    os.environ.pop(_THREADS, None)
    if order.threads:
        os.environ[_THREADS] = order.threads


def _check_models(settings: JobSettings) -> None:
    try:
        models = open_models(settings)
    except AvizorError as error:
        raise JobError(f"{error}; each machine needs the same models below {settings.repository} (--models)") from error
    if runs_here(settings.engine):  # the job has asked a server itself
        check_models(models, settings)


def _check_output(order: NodeOrder) -> None:
    """Raise JobError unless this machine sees the output folder that the job holds."""
    out = order.out
    where = (
        "is it a folder of that machine alone? With several machines --out is on an object store, or on a mount that all share"
        if isinstance(out, Path)
        else "are the address and the credentials of the store in the environment in which Ray was started there?"
    )
    try:
        held = who_holds(out)
    except OSError as error:
        raise JobError(f"{out / LOCK_FILE} cannot be read ({reason(error)}); {where}") from error
    if held != order.held:
        raise JobError(f"{out / LOCK_FILE} is not that of the job; {where}")
    prepare_for_workers(out)


def is_there(entry: Entry) -> bool:
    """Return whether the file of an entry can be looked at from this machine. Raises StoreUnavailable."""
    return state_at(entry.file) != (0, 0)


def _check_dataset(order: NodeOrder) -> None:
    problem = ""
    try:
        if order.sample and not is_there(order.sample):
            problem = f"{order.sample.path} cannot be looked at"
    except AvizorError as error:
        problem = str(error)
    if problem:
        raise JobError(
            f"{problem}, and it can where the job was started: a dataset is on an object store, or on a mount that all "
            "machines have at the same path"
        )
    if (folder := order.settings.reconstructions) and not path_of(folder).is_dir():
        raise JobError(f"--reconstructions {folder} is not a folder there; it needs a mount that all machines share")


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Return how the software of a machine differs from that of the job; "" if it does not."""
    names = dict.fromkeys((*here, *there))
    return ", ".join(
        f"{name} {there.get(name, 'not installed')} (here {here.get(name, 'not installed')})"
        for name in names
        if here.get(name) != there.get(name)
    )
