"""Provide fixtures for every suite: small models that are really exported, and the folder of the real data."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from support.environment import DATA, on_gpu
from support.gpu_page import GpuPage, Machine
from support.networks import PaddedAutoencoder
from support.sounds import FRAMES, SAMPLE_RATE, SOUND, tone
from support.tables import TRANSFER, transfers
from support.tritons import serving_triton, triton_image
from triton_server.install import TritonInstall, install

from avizor_export.architectures.catalogue import build
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import ImageInput


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends a run as Ctrl-C does: fixtures stop what they started, a Triton server above all.

    Hypothesis draws the same examples in every run, and measures no time: the tests share their cores.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings.register_profile("avizor", deadline=None, derandomize=True)
    settings.load_profile("avizor")
    if on_gpu():
        config.pluginmanager.register(GpuPage(Machine.here(triton_image() or "no image was named")))


@pytest.fixture(autouse=True)
def signals_are_heard() -> Iterator[None]:
    """A batch command that a test runs in this process ignores signals from its end on. What is started later would, too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small models: `digits` (image), `kinds` (audio, classifier), `normal` (audio, autoencoder), `transfers` (table).

    `normal` is calibrated with 30 recordings of three windows from each of the sources `a` and `b`; `transfers` with 40
    rows of the source `a`.
    """
    folder = tmp_path_factory.mktemp("repository") / "models"
    torch.manual_seed(0)
    image = ImageInput(height=32, width=32, channels=1)
    export_model(
        LeNet(), ExportRequest("digits", "classify", image, labels=list("0123456789"), serving={"max_batch_size": 16}), folder
    )
    kinds = build("conv4bn pool conv8bn pool conv12bn pool conv16bn pool gap drop0.3 fc", 3, (1, 16, FRAMES))
    export_model(
        kinds, ExportRequest("kinds", "classify", SOUND, labels=["low", "mid", "high"], serving={"max_batch_size": 16}), folder
    )
    normal = [
        NormalRecording(source, tone(3 * 4096 / SAMPLE_RATE, seed=seed).reshape(3, 4096))
        for source in ("a", "b")
        for seed in range(30)
    ]
    request = ExportRequest("normal", "reconstruct", SOUND, normal=normal, serving={"max_batch_size": 16})
    export_model(PaddedAutoencoder(), request, folder)
    rows = [NormalRecording("a", row[None]) for row in transfers(40)]
    request = ExportRequest(
        "transfers", "reconstruct", TRANSFER, real_items=transfers(8), normal=rows, serving={"max_batch_size": 16}
    )
    export_model(torch.nn.Linear(5, 5), request, folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data in {DATA}; name its folder in AVIZOR_DATA")
    return DATA


@pytest.fixture(scope="session")
def triton_install() -> TritonInstall:
    """Triton from the wheel, installed once into a cache folder.

    Fails where it cannot be installed: a suite that leaves an engine out is not a green suite. AVIZOR_SKIP_TRITON=1 says that
    this is meant.
    """
    if os.environ.get("AVIZOR_SKIP_TRITON") == "1":
        pytest.skip("AVIZOR_SKIP_TRITON=1: nothing is proven about Triton")
    return install()


@pytest.fixture(scope="session")
def triton_address(request: pytest.FixtureRequest, models: Path) -> Iterator[str]:
    """host:port of the gRPC of a real Triton that serves `models`: from AVIZOR_TRITON_IMAGE if set, else from the wheel."""
    with serving_triton(request, models) as address:
        yield address
