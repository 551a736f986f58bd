"""Open an engine by the name that `--engine` takes."""

from __future__ import annotations

from avizor_inference.engines.base import Engine
from avizor_inference.engines.batching import BatchingEngine
from avizor_inference.engines.embedded import Device, EmbeddedEngine
from avizor_inference.engines.run_statistics import StatisticsOfVersions
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.engines.triton_address import SCHEME, triton_address
from avizor_inference.errors import SettingsError
from avizor_inference.repository.models import ModelRepository

EMBEDDED = "ort"


def engine_options(name: str, device: Device = "config") -> str:
    """Return the options of a command that opens the same engine, such as `--engine ort --device cuda`."""
    return f"--engine {name}" + (f" --device {device}" if name == EMBEDDED and device != "config" else "")


def open_engine(
    name: str,
    repository: ModelRepository,
    *,
    device: Device = "config",
    intra_op_threads: int | None = None,
    batching: bool = False,
    cores: int | None = None,
    statistics: StatisticsOfVersions | None = None,
) -> Engine:
    """Open the engine called `name`: `ort` is ONNX Runtime in this process, `triton://HOST:PORT` a Triton server's gRPC.

    device, intra_op_threads: of `ort`; a server has its own. batching: requests of many callers share runs, as config.pbtxt
    says; a server does so in any case. cores: that they may use; None for all of this process. statistics: where
    `batching` counts what it runs. Raises SettingsError for any other name.
    """
    if name == EMBEDDED and batching:
        return BatchingEngine(
            EmbeddedEngine(repository, device=device, many_callers=True, cores=cores), repository, cores, statistics
        )
    if name == EMBEDDED:
        return EmbeddedEngine(repository, device=device, intra_op_threads=intra_op_threads)
    if not name.startswith(f"{SCHEME}://"):
        raise SettingsError(f"engine {name!r} is not known; use 'ort', or 'triton://HOST:8001' with Triton's gRPC port")
    return TritonEngine(triton_address(name))
