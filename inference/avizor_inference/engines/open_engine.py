"""Open an engine by the name that `--engine` takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from avizor_inference.engines.base import Engine
from avizor_inference.engines.batching import BatchingEngine
from avizor_inference.engines.device import Device
from avizor_inference.engines.openvino import OpenVinoEngine, OpenVinoPrecision, computes_bf16, is_installed
from avizor_inference.engines.ort_installed import require_onnxruntime
from avizor_inference.engines.run_statistics import StatisticsOfVersions
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.engines.triton_address import SCHEME, triton_address
from avizor_inference.engines.tuned import TunedEngine
from avizor_inference.errors import EngineMismatch, EngineUnavailable, ModelNotFound, SettingsError, VersionNotLoaded
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import EnginesHere

EMBEDDED: EnginesHere = "ort"

# OpenVINO's engines by name, with their precisions.
OPENVINO: dict[str, OpenVinoPrecision] = {"openvino": "fp32", "openvino:bf16": "bf16"}

# Each model on the engine that `avizor tune` chose for it.
TUNED = "tuned"


def runs_here(name: str) -> bool:
    """Return whether the engine called `name` computes in the process that opens it, and not on a server."""
    return name in (EMBEDDED, TUNED, *OPENVINO)


def engines_here() -> list[EnginesHere]:
    """Return the engines that this machine has."""
    found: list[EnginesHere] = [EMBEDDED]
    if is_installed():
        found += ["openvino", "openvino:bf16"] if computes_bf16() else ["openvino"]
    return found


def engine_options(name: str, device: Device = "config") -> str:
    """Return the options of a command that opens the same engine, such as `--engine ort --device cuda`."""
    return f"--engine {name}" + (f" --device {device}" if name in (EMBEDDED, TUNED) and device != "config" else "")


def open_engine(
    name: str,
    repository: ModelRepository,
    *,
    device: Device = "config",
    intra_op_threads: int | None = None,
    batching: bool = False,
    cores: int | None = None,
    statistics: StatisticsOfVersions | None = None,
    engines: Mapping[str, EnginesHere] | None = None,
) -> Engine:
    """Open the engine called `name`.

    `ort` is ONNX Runtime in this process, `openvino` and `openvino:bf16` are OpenVINO in this process, `tuned` is the one of
    these that `avizor tune` chose for a model, `triton://HOST:PORT` is a Triton server's gRPC.

    device: of `ort`. intra_op_threads: for one run in this process; a server has its own. batching: requests of many callers
    share runs, as config.pbtxt says; a server does so in any case. cores: that they may use; None for all of this process.
    statistics: where `batching` counts what it runs. engines: of `tuned`, by model, where config.pbtxt is not to be asked.
    Raises SettingsError for any other name, or for what this machine lacks.
    """
    if runs_here(name):
        open_one = partial(
            _open_here,
            repository=repository,
            device=device,
            threads=None if batching else intra_op_threads,
            many_callers=batching,
            cores=cores if batching else None,
        )
        engine = TunedEngine(repository, open_one, engines) if name == TUNED else open_one(name)
        return BatchingEngine(engine, repository, cores, statistics) if batching else engine
    if not name.startswith(f"{SCHEME}://"):
        raise SettingsError(
            f"engine {name!r} is not known; use 'ort', 'openvino', 'openvino:bf16', 'tuned', or 'triton://HOST:8001' with "
            "Triton's gRPC port"
        )
    return TritonEngine(triton_address(name))


@contextmanager
def asked_first(name: str) -> Iterator[None]:
    """Say in errors of a server that is away, or has not loaded a model, what to do before a command can begin.

    name: of the engine. Raises what it gets, with that.
    """
    try:
        yield
    except (EngineUnavailable, ModelNotFound) as error:
        if runs_here(name) or isinstance(error, EngineMismatch):
            raise
        lacks = isinstance(error, ModelNotFound | VersionNotLoaded)
        advice = f"load it there (`avizor models load NAME --engine {name}`)" if lacks else "start it, or correct --engine"
        raise type(error)(f"{error}; {advice}, and run the same command again") from error


def _open_here(
    name: str,
    repository: ModelRepository,
    device: Device,
    threads: int | None,
    many_callers: bool,
    cores: int | None,
) -> Engine:
    if name == EMBEDDED:
        require_onnxruntime("the engine ort")
        from avizor_inference.engines.embedded import EmbeddedEngine  # an extra, which a Triton does not need

        return EmbeddedEngine(repository, device=device, intra_op_threads=threads, many_callers=many_callers, cores=cores)
    if device == "cuda":
        raise SettingsError(f"--device cuda: the engine {name!r} computes on the CPU; leave --device out, or use --engine ort")
    return OpenVinoEngine(
        repository, precision=OPENVINO[name], intra_op_threads=threads, many_callers=many_callers, cores=cores
    )
