"""One stack for all tests of this folder: it takes a minute to start. Beside good models, its repository has what is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack.compose import Stack, stack
from support.environment import ROOT

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import ImageInput

ALPHA = 0.05


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds, and the models that the example trains on them, as `make up` would; and `cached`, with a response cache.

    Beside them are `damaged`, whose graph is cut off, and `lost+found`, which only root can open.
    """
    folder = tmp_path_factory.mktemp("machines")
    script = ROOT / "examples" / "machine_anomalies.py"
    subprocess.run([sys.executable, script, "--data", folder / "sounds", "--models", folder / "models"], check=True)
    image = ImageInput(height=32, width=32, channels=1)
    for name in ("cached", "damaged"):
        request = ExportRequest(name, "classify", image, labels=list("0123456789"), serving={"response_cache": True})
        export_model(LeNet(), request, folder / "models")
    graph = folder / "models" / "damaged" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    (folder / "models" / "lost+found").mkdir(mode=0o700)
    folder.chmod(0o755)
    for path in folder.parents:  # containers read as users of their own
        if path.owner() != "root" or path == Path("/tmp"):
            break
        path.chmod(path.stat().st_mode | 0o055)
    return folder


@pytest.fixture(scope="session")
def running(machines: Path) -> Iterator[Stack]:
    with stack(machines / "models", ALPHA) as started:
        yield started


@pytest.fixture
def secrets(running: Stack, tmp_path: Path) -> Iterator[Path]:
    """The folder of the stack's secrets, for a test that changes them; they are put back, and read again."""
    kept = tmp_path / "kept"
    shutil.copytree(running.secrets, kept)
    yield running.secrets
    for path in kept.rglob("*"):
        if path.is_file():
            (running.secrets / path.relative_to(kept)).write_bytes(path.read_bytes())
    running.read_secrets_again()
    time.sleep(6)  # the gateway looks at its files every 5 s
