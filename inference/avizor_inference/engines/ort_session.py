"""Open ONNX Runtime sessions: the one place that sets their options and providers."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented

from avizor_inference.engines.int8_sums import sums_saturate
from avizor_inference.error_text import one_line
from avizor_inference.errors import EngineError, GpuFull, SettingsError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

# Decision 45. TF32, the runtime's default, rounds the factors of float32 products to 10 bits: answers differ from a CPU's, and
# from those in another batch. Its default search for convolutions times all of them, again for each new batch size.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

# What CUDA says, in an error that begins with the signatures of C++ functions.
_CUDA_FAILURE = re.compile(r"\b(CUDA|CUDNN|CUBLAS|CUFFT) failure [^;]*[^; ]")

# How CUDA, its libraries, and ONNX Runtime's allocator say that the GPU's memory is full.
_GPU_FULL = re.compile(r"CUDA failure 2: out of memory|CU(BLAS|DNN)_STATUS_\w*ALLOC\w*_FAILED|requested buffer of size \d+")

_INSTALL = "install them with pip install 'onnxruntime-gpu[cuda,cudnn]'"
_WITHOUT_GPU = "fix the CUDA installation, or choose the CPU by name (device='cpu', --device cpu)"
_ERRORS_ONLY = 3  # the runtime's warnings are meant for its own developers
_FATAL_ONLY = 4


def open_session(
    graph: Path | bytes,
    what: str,
    *,
    on_gpu: bool = False,
    gpu: int = 0,
    threads: int = 0,
    optimised: bool = True,
    spinning: bool = True,
    configure: Callable[[ort.SessionOptions], None] = lambda _options: None,
) -> ort.InferenceSession:
    """Open a session on a model file, or on the bytes of one.

    what: names the graph in messages. gpu: which one, of those that this process may use. threads: for one run; 0 lets ONNX
    Runtime choose. optimised: False runs each node as it is written. spinning: threads of a run that wait for work keep their
    core busy for a while, before they sleep. configure: sets what else a caller needs.
    Raises EngineError if ONNX Runtime cannot load the graph, GpuFull, SettingsError if there is no such GPU for `on_gpu`: that
    never falls back to the CPU silently.
    """
    if on_gpu:
        _check_gpu(what, gpu)
    if on_gpu:
        _load_cuda_libraries()
    providers = [(CUDA, {**CUDA_OPTIONS, "device_id": str(gpu)}), CPU] if on_gpu else [CPU]

    def opened(whole_sums: bool) -> ort.InferenceSession:
        options = _options(threads, optimised, spinning, whole_sums)
        configure(options)
        return ort.InferenceSession(graph, options, providers, enable_fallback=False)

    try:
        try:
            session = opened(whole_sums=sums_saturate())
        except NotImplemented:  # the other way has no kernel for some operators of files that came quantised
            session = opened(whole_sums=False)
    except Exception as error:  # the runtime's own exceptions have no common base class
        failure = EngineError(f"ONNX Runtime cannot load {what}: {runtime_reason(error)}")
        raise ((on_gpu and gpu_full(what, error)) or failure) from error
    if on_gpu and CUDA not in session.get_providers():
        raise SettingsError(
            f"{what} asks for a GPU and ONNX Runtime cannot load CUDA 13 and cuDNN 9; {_INSTALL}, or {_WITHOUT_GPU}"
        )
    if on_gpu:  # its log has an error for each way to compute a convolution that this GPU lacks, before it takes another
        ort.set_default_logger_severity(_FATAL_ONLY)
    return session


def _options(threads: int, optimised: bool, spinning: bool, whole_sums: bool) -> ort.SessionOptions:
    """See open_session. whole_sums: products of uint8 and int8 are computed as those of uint8, whose sums are not cut off."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if whole_sums:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def runtime_reason(error: Exception) -> str:
    """Return in one line why ONNX Runtime failed, such as `CUDA failure 2: out of memory`."""
    found = _CUDA_FAILURE.search(str(error))
    return found[0] if found else one_line(error)


def gpu_full(what: str, error: Exception) -> GpuFull | None:
    """Return the error of a full GPU, if that is why something failed there. what: had no room, such as `model 'a'`."""
    if found := _GPU_FULL.search(str(error)):
        return GpuFull(
            f"the GPU has no memory left for {what} ({found[0]}); stop other programs on it, use fewer --workers, smaller "
            "batches or fewer instances, or choose the CPU (--device cpu)"
        )
    return None


def has_gpu() -> bool:
    """Return whether ONNX Runtime was built for CUDA and this process may use an NVIDIA GPU."""
    return CUDA in ort.get_available_providers() and bool(gpus())


def _check_gpu(what: str, gpu: int) -> None:
    """Raise SettingsError unless this process may use so many GPUs that it has this one."""
    there = gpus()
    if not there:
        lacks = "there is no NVIDIA driver here" if there is None else "the NVIDIA driver shows none to this process"
        raise SettingsError(f"{what} asks for a GPU and {lacks}; {_WITHOUT_GPU}")
    if not 0 <= gpu < there:
        raise SettingsError(
            f"{what} asks for GPU {gpu}, and the NVIDIA driver shows {there} to this process, counted from 0; name another in "
            "`gpus` of config.overrides.pbtxt and export again, or choose the CPU (--device cpu)"
        )


@cache
def gpus() -> int | None:
    """Return how many GPUs the driver lets this process use, None without a driver. CUDA_VISIBLE_DEVICES can hide all of them.

    Asked first, because ONNX Runtime logs at length if there is none.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


@cache
def _load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from NVIDIA's wheels, if they are installed: the system's loader does not look there.

    What is not found is left to the system's loader. The runtime prints what it misses, which is its own error later.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
