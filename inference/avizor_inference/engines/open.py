"""Opening an engine by its name on the command line, and running more rows through it than fit one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine
from avizor_inference.engines.embedded import Device, EmbeddedEngine
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.engines.triton_address import SCHEME, triton_address
from avizor_inference.errors import SettingsError
from avizor_inference.repository.models import ModelRepository

EMBEDDED = "ort"


def open_engine(
    name: str, repository: ModelRepository, *, device: Device = "config", intra_op_threads: int | None = None
) -> Engine:
    """`ort`: embedded, with device and threads as given. `triton://HOST:PORT`: that server's gRPC, which has its own.

    Raises SettingsError for a name that is neither.
    """
    if name == EMBEDDED:
        return EmbeddedEngine(repository, device=device, intra_op_threads=intra_op_threads)
    if not name.startswith(f"{SCHEME}://"):
        raise SettingsError(f"engine {name!r} is not known; use 'ort', or 'triton://HOST:8001' with Triton's gRPC port")
    return TritonEngine(triton_address(name))


def infer_rows(
    engine: Engine,
    model: str,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    version: int | None = None,
    timeout_s: float | None = None,
    in_flight: int = 4,
) -> dict[str, Array]:
    """Run any number of rows, at least one: in chunks of at most the model's batch, `in_flight` of them at a time.

    Raises what Engine.infer raises; the chunks still in flight are then waited for by nobody.
    """
    rows, size = len(next(iter(inputs.values()))), engine.spec(model, version).max_batch_size
    waiting: deque[Future[dict[str, Array]]] = deque()
    results: list[dict[str, Array]] = []
    for start in range(0, max(rows, 1), size):
        if len(waiting) == in_flight:
            results.append(waiting.popleft().result())
        chunk = {name: array[start : start + size] for name, array in inputs.items()}
        waiting.append(engine.submit(model, chunk, outputs, version=version, timeout_s=timeout_s))
    results += [future.result() for future in waiting]
    return {name: np.concatenate([result[name] for result in results]) for name in outputs}
