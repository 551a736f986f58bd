"""Provide fixtures for every suite: small models that are really exported, and the folder of the real data."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.environment import DATA, on_gpu
from support.made_once import made_once
from support.tritons import serving_triton, triton_image
from support.warm_starts import note_environment, start_own_processes_warm
from triton_server.install import TritonInstall, install

HANDLERS: dict[int, Any] = {}  # of signals, at the start of the run


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends a run as Ctrl-C does: fixtures stop what they started, a Triton server above all."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    HANDLERS.update({number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)})
    os.environ.setdefault("NUMBA_OPT", "0")  # librosa is compiled once in each environment, for a few values
    gc.disable()
    if not on_gpu():  # or a machine with a GPU would test something else
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    else:
        from support.gpu_page import GpuPage, Machine

        config.pluginmanager.register(GpuPage(Machine.here(triton_image() or "no image was named")))
    only_hands_out = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if not only_hands_out:
        prepare_libraries()


def prepare_libraries() -> None:
    """Load what a process needs that runs tests. The one that hands them out to others starts them four seconds sooner without.

    Hypothesis draws the same examples in every run, and measures no time: the tests share their cores.
    """
    from hypothesis import settings
    from support.operator_table import read_operators_once

    settings.register_profile("avizor", deadline=None, derandomize=True)
    settings.load_profile("avizor")
    read_operators_once()


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep in a folder of pytest, which removes it later, what is left behind where commands and browsers are killed."""
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    folder = factory.getbasetemp() / "temporary"
    folder.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    note_environment()
    start_own_processes_warm()


def pytest_collection_finish() -> None:
    """Look for garbage from here on, and never among the modules and tests that are there for good.

    torch and seven thousand tests are millions of objects. To go through them costs a third of the time of an export.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter end what is frozen, too: some libraries tell of each type that outlives them."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """A batch command that a fixture runs in this process ignores signals from its end on. What is started later would, too."""
    value = yield
    hear_signals()
    return value


@pytest.fixture(autouse=True)
def signals_are_heard() -> Iterator[None]:
    """The same of what a test runs in this process."""
    yield
    hear_signals()


def hear_signals() -> None:
    """Handle signals as at the start of the run, which a shell may have told to ignore some."""
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)


@pytest.fixture
def no_garbage() -> None:
    """End what earlier tests have left.

    At the depth of a nested text no function can be called any more. What is ended there, such as a call of gRPC, says so, in a
    test that has nothing to do with it.
    """
    gc.collect()


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> Path:
    """Four small models: `digits` (image), `kinds` (audio, classifier), `normal` (audio, autoencoder), `transfers` (table).

    `normal` is calibrated with 30 recordings of three windows from each of the sources `a` and `b`; `transfers` with 40
    rows of the source `a`.
    """
    from support.small_models import export_small_models

    return made_once(request, "repository", lambda folder: export_small_models(folder / "models")) / "models"


@pytest.fixture(scope="session")
def lookup(request: pytest.FixtureRequest) -> Path:
    """A repository of one model, `lookup` (tensor), at some of whose inputs a run fails."""
    from support.small_models import export_lookup

    return made_once(request, "lookup", lambda folder: export_lookup(folder / "models")) / "models"


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
