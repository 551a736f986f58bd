"""Read, check and run an ONNX file from elsewhere once, in a separate process with limits.

Checker, shape inference and ONNX Runtime are native code, and a graph may loop for ever or ask for more memory than there is.
If that process crashes, the user gets an error message instead. Ordinary faults of a file are left to `adopt`, whose messages
are better.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from avizor_export.stages import stage
from avizor_inference.error_text import one_line, shortened
from avizor_inference.errors import ExportError

# Ten times what VGG16 needs for a batch on one slow core.
LIMIT_S = 120
# As many items as the largest batch of the parity check.
MOST_ITEMS = 8
_LEAST_MEMORY = 4 << 30


def check_in_sandbox(path: Path, limit_s: int = LIMIT_S, *, item_shape: tuple[int, ...] = (), free_batch: bool = False) -> None:
    """Raise ExportError if the file cannot be read or run, or crashes the process that runs it, or exceeds its limits.

    limit_s: seconds, of wall clock and of CPU time. The process may use half of this machine's memory. item_shape: sizes for
    what the file leaves free. free_batch: run the file with its batch freed, if it is frozen.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ExportError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from error
    _check_once(path.resolve(), limit_s, item_shape, free_batch, status.st_size, status.st_mtime_ns)


@lru_cache
@stage("try the file in a separate process")
def _check_once(path: Path, limit_s: int, item_shape: tuple[int, ...], free_batch: bool, size: int, modified_ns: int) -> None:
    """Check each state of a file once; a failed check is repeated, since the cache keeps no exceptions."""
    command = [sys.executable, "-P", "-m", "avizor_export.networks.onnx_sandbox", str(path)]
    command += [str(limit_s), "/".join(map(str, item_shape)), "free" if free_batch else ""]
    try:
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise _time_limit_error(path, limit_s) from error
    if process.returncode == -signal.SIGXCPU:  # with several busy threads it comes before the timeout
        raise _time_limit_error(path, limit_s)
    if process.returncode < 0:
        signal_name = signal.Signals(-process.returncode).name
        raise ExportError(f"{path} crashed the process that checked it ({signal_name}); it is damaged: export it again")
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ExportError(f"{path} cannot be run: {shortened(last_line)}; export it again")


def _time_limit_error(path: Path, limit_s: int) -> ExportError:
    return ExportError(
        f"{path} does not run {MOST_ITEMS} items within {limit_s} s; look for an endless loop, or for sizes that are too large"
    )


def _main(path: Path, limit_s: int, item_shape: tuple[int, ...], free: bool) -> None:
    _set_limits(limit_s)
    import numpy as np  # imported after the limits, which then hold for these libraries too
    import onnx

    from avizor_export.networks.onnx_batch import free_batch
    from avizor_export.networks.onnx_input import tensor_input
    from avizor_export.networks.onnx_opening import batch_that_runs, open_onnx
    from avizor_inference.engines.ort_session import open_session
    from avizor_inference.repository.onnx_graph import OPSET, graph_of

    try:
        opened = open_onnx(path, item_shape)
        spec = tensor_input(opened.tensor, path)
        opened = opened.frozen_inside() if free else opened
        if opened.frozen and not free:
            return
        network = free_batch(opened.proto, opened.frozen) if opened.frozen else opened.proto
        onnx.shape_inference.infer_shapes(network, data_prop=True)
        dtype = np.dtype(spec.dtype)
    except MemoryError:
        raise
    except Exception:  # the libraries' errors share no base class; adopt reports them
        return
    if opened.frozen or graph_of(opened.file).opset != OPSET:  # what the network is then proven by
        with suppress(Exception):
            file = open_session(opened.file.SerializeToString(), "it", threads=1)
            file.run(None, {spec.name: np.zeros((opened.frozen or MOST_ITEMS, *spec.item_shape), dtype)})
    session = open_session(network.SerializeToString(), "it", threads=1)
    try:
        session.run(None, {spec.name: np.zeros((MOST_ITEMS, *spec.item_shape), dtype)})
    except Exception as error:
        if opened.frozen:
            return  # the proof, which follows, names the node
        if frozen := batch_that_runs(network, opened.tensor):
            raise RuntimeError(
                f"it runs on a batch of {frozen} and not on one of {MOST_ITEMS}: a batch size is frozen inside, which "
                "--free-batch may free, and torch.onnx.export(..., dynamo=True) with dynamic_shapes leaves free"
            ) from error
        raise


def _set_limits(limit_s: int) -> None:
    """Allow half of this machine's memory, so that the caller has the other half, no core file, and limited CPU time."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = max(physical // 2, _LEAST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # At the soft limit SIGXCPU shows the reason; if both were equal, the kernel would send SIGKILL, which shows nothing.
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))


if __name__ == "__main__":
    try:
        sizes = tuple(int(size) for size in sys.argv[3].split("/") if size)
        _main(Path(sys.argv[1]), int(sys.argv[2]), sizes, bool(sys.argv[4]))
    except MemoryError:
        sys.exit("it needs more memory than half of this machine's")
    except Exception as error:  # whatever the runtime raises
        sys.exit(one_line(error))
