"""engines/in_process.py: what engines of this process refuse before anything is run."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from pathlib import Path

import pytest

from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.errors import EngineUnavailable, VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import CONFIG_FILE


@pytest.mark.parametrize("engine", ["ort", "openvino"])
@pytest.mark.parametrize(("text", "found"), [("", 0), ("max_batch_size: -1", -1)])
def test_a_config_that_leaves_no_room_for_an_item_is_refused_by_its_file(
    models: Path, tmp_path: Path, engine: str, text: str, found: int
) -> None:
    shutil.copytree(models / "digits", tmp_path / "digits")
    path = tmp_path / "digits" / CONFIG_FILE
    path.write_text(text)
    with open_engine(engine, ModelRepository(tmp_path)) as opened, pytest.raises(VersionRefused) as refused:
        opened.spec("digits")
    assert str(refused.value) == (f"{path}: max_batch_size is {found}; it has to be at least 1: correct it, or export again")


def test_nothing_is_loaded_by_a_request_that_came_as_the_engine_was_being_closed(models: Path) -> None:
    """Both wait for another load to end. Nobody would free what is loaded after the end of the engine."""
    engine = EmbeddedEngine(models, device="cpu")

    def ask() -> None:
        with contextlib.suppress(EngineUnavailable):
            engine.spec("digits")

    threads = [threading.Thread(target=engine.close), threading.Thread(target=ask)]
    with engine._lock:  # as a load has it
        for thread in threads:
            thread.start()
            time.sleep(0.1)
    for thread in threads:
        thread.join(60)
    assert not engine._loaded
