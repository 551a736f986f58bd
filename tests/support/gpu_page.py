"""Write docs/gpu.md: what tests saw on a GPU, row by row, or that there was none. A plugin of pytest for `make test-gpu`."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import onnxruntime
import pytest

from support.environment import ROOT

PAGE = ROOT / "docs" / "gpu.md"

_SECTIONS = {
    "test_engine": "Contract suite",
    "test_devices": "Devices of the embedded engine",
    "test_gateway": "Gateway: classes, limits, health",
    "test_gateway_verdicts": "Gateway: verdicts and their metrics",
    "test_gateway_errors": "Gateway: bad items and bad calls",
    "test_typed_rpcs": "Gateway: embeddings, reconstructions, outputs on request",
    "test_monitor": "Gateway: streams",
    "test_engines": "Batch job",
}
_ENGINES = {"onnxruntime": "ONNX Runtime, CUDA provider", "triton": "Triton, NVIDIA's image"}
_NOT_RUN = "not run: "

_HEAD = """# What was seen on a GPU

`make test-gpu` writes this page. It runs the contract suite, the gateway and a batch job with the embedded engine on ONNX
Runtime's CUDA provider, and with Triton from NVIDIA's image. Several cases of a test are counted. TensorRT is not part of
it; speed is in [benchmarks.md](benchmarks.md#on-a-gpu).
"""


@dataclass(frozen=True)
class Machine:
    """Says what there is to test on. gpu: names and drivers, empty if there is none. docker: whether an engine answers."""

    gpu: str
    docker: bool
    image: str

    @classmethod
    def here(cls, image: str) -> Machine:
        """Ask the driver and Docker."""
        query = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
        gpu = "; ".join(f"{name.strip()}" for name in _output(*query).splitlines())
        return cls(gpu, bool(_output("docker", "version", "--format", "{{.Server.Version}}")), image)

    def lacks(self, engine: str) -> str:
        """Return what an engine needs and is not here, or nothing."""
        if not self.gpu:
            return "no GPU"
        return "no Docker" if engine == "triton" and not self.docker else ""


@dataclass(eq=False)  # pytest looks plugins up by identity
class GpuPage:
    """Skips what cannot be run, says so, and writes the page when all tests have ended."""

    machine: Machine
    path: Path = PAGE
    # By section, what a test says, and engine: how its cases ended.
    results: dict[str, dict[str, dict[str, Counter[str]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    # What tests have measured: its name, and the number with its unit.
    measured: dict[str, str] = field(default_factory=dict)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out the tests of no engine; skip those of an engine that is not here."""
        kept = [item for item in items if _engine(item)]
        config.hook.pytest_deselected(items=[item for item in items if not _engine(item)])
        items[:] = kept
        for item in kept:
            if missing := self.machine.lacks(_engine(item)):
                item.add_marker(pytest.mark.skip(reason=_NOT_RUN + missing))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a case ended. An error of a fixture counts as a failure."""
        report = yield
        if report.failed:
            self._note(item, "failed")
            reason = " ".join(str(getattr(report.longrepr, "reprcrash", report.longrepr)).split()).removeprefix(f"{ROOT}/")
            self.failures.append(f"`{item.name}`: {reason[:300]}")
        elif report.skipped and isinstance(report.longrepr, tuple):
            self._note(item, report.longrepr[2].removeprefix("Skipped: "))
        elif report.passed and report.when == "call":
            self._note(item, "passed")
        if report.when == "call":
            self.measured |= {name: str(number) for name, number in report.user_properties}
        return report

    def _note(self, item: pytest.Item, outcome: str) -> None:
        module = item.path.stem
        section = self.results.setdefault(_SECTIONS.get(module, module), {})
        name = getattr(item, "originalname", None) or item.name
        says = name.removeprefix("test_").replace("_", " ")
        section.setdefault(says, {}).setdefault(_engine(item), Counter())[outcome] += 1

    @property
    def is_run(self) -> bool:
        """Return whether any case was run."""
        return any(
            {"passed", "failed"} & set(outcomes)
            for tests in self.results.values()
            for engines in tests.values()
            for outcomes in engines.values()
        )

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page. A run without a GPU fails, and does not replace what another run saw."""
        if not self.is_run:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            if self.path.exists() and "passed" in self.path.read_text():
                return
        self.path.write_text(self.text())

    def pytest_unconfigure(self) -> None:
        """Say what came of it, after all that pytest says."""
        if self.is_run:
            print(f"wrote {self.path}")
        else:
            missing = self.machine.lacks("onnxruntime") or "no test was chosen"
            print(
                f"nothing was run: {missing}; see {self.path}. Run it on a machine with an NVIDIA GPU, and Docker with "
                "NVIDIA's container toolkit"
            )

    def text(self) -> str:
        """Return the page."""
        facts = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD").strip() or "unknown",
            "GPU, driver, memory": self.machine.gpu or "no GPU was to be had",
            "Triton": self.machine.image + ("" if self.machine.docker and self.machine.gpu else ", not started"),
            "ONNX Runtime": f"{onnxruntime.__version__}, with {', '.join(onnxruntime.get_available_providers())}",
        }
        parts = [_HEAD, _table(("", "this run"), facts.items())]
        for section, tests in self.results.items():
            rows = [(says, *(_cell(engines.get(engine)) for engine in _ENGINES)) for says, engines in tests.items()]
            parts += [f"## {section}\n", _table(("what holds", *_ENGINES.values()), rows)]
        if self.measured:
            parts += ["## Measured\n", _table(("", "this run"), self.measured.items())]
        if self.failures:
            parts += ["## What failed\n", "\n".join(f"* {failure}" for failure in self.failures) + "\n"]
        return "\n".join(parts)


def _engine(item: pytest.Item) -> str:
    """Return which engine a case runs on, or nothing if it runs on none."""
    parameters = getattr(item, "callspec", None)
    values = parameters.params.values() if parameters else ()
    named = {part for value in values for part in str(value).split(", ")}
    if "triton" in named or "triton_address" in getattr(item, "fixturenames", ()):
        return "triton"
    return "onnxruntime" if named & {"embedded", "batching"} else ""


def _cell(outcomes: Counter[str] | None) -> str:
    """Return how the cases of a test ended: one case by a word, several by their numbers."""
    if outcomes is None:
        return "–"
    if len(outcomes) == 1:
        ((outcome, count),) = outcomes.items()
        return outcome if count == 1 or outcome.startswith(_NOT_RUN) else f"{count} {outcome}"
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _output(*command: str) -> str:
    """Return what a command prints; nothing if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
