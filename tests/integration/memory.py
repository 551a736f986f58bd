"""Watch the memory of a gateway, and ask it for answers that are as large as the requests."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
from torch import nn

from avizor.v1 import inference_pb2 as pb
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.items.input_spec import TensorInput

MIB = 1 << 20
WIDE = (1, 512, 512)  # an item of 1 MiB


def with_wide_model(models: Path, folder: Path, max_batch_size: int) -> Path:
    """Copy a repository to a folder, and add the model `wide`, whose outputs are large and take their time."""
    shutil.copytree(models, folder)
    network = nn.Sequential(*(nn.Conv2d(1, 1, 7, padding=3) for _ in range(4)))
    request = ExportRequest(
        "wide", "reconstruct", TensorInput(item_shape=WIDE), serving=ServingOptions(max_batch_size=max_batch_size)
    )
    export_model(network.eval(), request, folder)
    return folder


def wide(items: int) -> pb.ReconstructRequest:
    """Return a request of so many MiB whose answer is as large as itself."""
    item = pb.Item(tensor=pb.Tensor(dtype="float32", shape=WIDE, data=bytes(MIB)))
    return pb.ReconstructRequest(model="wide", items=[item] * items)


class Peak:
    """Watches the memory of a process from a thread."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.idle = self.highest = self.now()

    def now(self) -> int:
        return int(self._process.memory_info().rss)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        end = threading.Event()

        def watch() -> None:
            while not end.wait(0.005):
                self.highest = max(self.highest, self.now())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    @property
    def growth_mib(self) -> float:
        return (self.highest - self.idle) / MIB
