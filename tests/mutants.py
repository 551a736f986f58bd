"""Mutation testing: count how many small faults, planted in the most important code, its unit tests catch.

    python tests/mutants.py [PART_OF_A_PATH]

A mutant is a module of TARGETS with one expression changed by the operators of mutmut: `<` becomes `<=`, 8 becomes 9, a text
becomes another, an argument is left out. For each a process is forked that imports the changed module and runs the module's
tests. The mutant is caught if one of them fails; those that none caught are printed as differences, and docs/mutants.md
explains them. Run it with `make mutants`.

mutmut's operators, but not its command: that leaves out every function with a decorator, and so each validator and property.
Not mutated: docstrings, type annotations without a call, descriptions of fields (they are documentation).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import pytest
from hypothesis import Phase, settings
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[1]
INFERENCE = "inference/avizor_inference"
UNIT = "tests/unit/inference"


def of(*names: str, folder: str = UNIT) -> tuple[str, ...]:
    """Return test files by their names."""
    return tuple(f"{folder}/test_{name}.py" for name in names)


KINDS = ("input_spec", "kinds", "decode", "file_forms")

# Module -> the test files that are to catch its mutants, the quickest first.
TARGETS = {
    f"{INFERENCE}/anomaly/item_score.py": of("item_score"),
    f"{INFERENCE}/anomaly/p_values.py": of("p_values", "confidence", "cross_fitted", "p_value_oracle", "promise"),
    f"{INFERENCE}/anomaly/verdict.py": of("verdict", "confidence", "p_values"),
    f"{INFERENCE}/repository/calibration.py": of("calibration", "cross_fitted"),
    f"{INFERENCE}/strict_json.py": of("strict_json"),
    f"{INFERENCE}/repository/manifest.py": of("manifest"),
    f"{INFERENCE}/items/tensor_spec.py": of("input_spec"),
    f"{INFERENCE}/items/kinds/image.py": of(*KINDS, "images", "image_transforms", "reconstructions"),
    f"{INFERENCE}/items/kinds/audio.py": of(
        *KINDS, "sound_presets", "pcm", "windows", "window_counts", "audio", "sections", "reconstructions"
    ),
    f"{INFERENCE}/items/kinds/table.py": of(*KINDS, "table_columns", "table_rows", "row_files"),
    f"{INFERENCE}/items/kinds/tensor.py": of(*KINDS),
    "service/avizor_service/tokens.py": of("tokens", "callers", "shared_rate", folder="tests/unit/service"),
}
# Packages that tests import. They are loaded once, so that no forked process has to.
PACKAGES = (
    "hypothesis.strategies",
    "numpy",
    "PIL.Image",
    "pyarrow.parquet",
    "pydantic",
    "soundfile",
    "soxr",
    "torchvision.transforms.v2",
)
LIMIT_S = 40  # of CPU for the tests of one mutant, which need a second, those of p_values.py ten; more is a loop without end


@dataclass(frozen=True)
class Mutant:
    """A module's source with one expression changed."""

    path: str
    line: int
    original: str
    changed: str

    def difference(self) -> str:
        """Return the changed lines, one below the other."""
        lines = difflib.unified_diff(self.original.splitlines(), self.changed.splitlines(), lineterm="", n=0)
        return "\n".join(f"    {line}" for line in list(lines)[2:] if not line.startswith("@@"))


class _Changes(cst.CSTVisitor):
    """Collects (node, what it is replaced by) of a whole module."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, cst.CSTNode, cst.CSTNode]] = []
        self._line = 1

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value == "description":
            return False
        if isinstance(node, cst.Annotation) and "(" not in cst.Module([]).code_for_node(node.annotation):
            return False
        if position := self.get_metadata(PositionProvider, node, None):  # operators have none
            self._line = position.start.line
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.found += [(self._line, node, new) for new in operator(node) if _descriptions(new) == _descriptions(node)]
        return True


def _descriptions(node: cst.CSTNode) -> list[cst.BaseExpression]:
    """Return the arguments of a call that describe a field."""
    arguments = node.args if isinstance(node, cst.Call) else ()
    return [each.value for each in arguments if each.keyword is not None and each.keyword.value == "description"]


def mutants(path: str) -> Iterator[Mutant]:
    """Yield the mutants of a module that are Python."""
    original = (ROOT / path).read_text()
    wrapper, changes = MetadataWrapper(cst.parse_module(original)), _Changes()
    wrapper.visit(changes)
    for line, node, new in changes.found:
        changed = wrapper.module.deep_replace(node, new)
        assert isinstance(changed, cst.Module)
        yield Mutant(path, line, original, changed.code)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a mutant instead of its module."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        super().__init__(name, str(ROOT / mutant.path))
        self._mutant = mutant

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        return compile(self._mutant.changed, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds a mutant where its module is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = ".".join(Path(mutant.path).with_suffix("").parts[1:])

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, ROOT / self._mutant.path, loader=_Loader(fullname, self._mutant)
        )


class _Fixtures:
    """Stands in for tests/conftest.py, which exports models."""

    @pytest.fixture
    def shared_data(self) -> None:
        """No mutant waits for the real data, which is not everywhere."""
        pytest.skip("runs without the real data")


def run_tests(mutant: Mutant) -> int:
    """Run the tests of the mutant's module in this process, which is a child and ends here. Return pytest's exit code."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    settings.register_profile(
        "mutants", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
    )
    settings.load_profile("mutants")
    sys.meta_path.insert(0, _Finder(mutant))
    options = ["-x", "-q", "--noconftest", "-p", "no:cacheprovider"]
    return pytest.main([*options, *TARGETS[mutant.path]], plugins=[_Fixtures()])


def start(mutant: Mutant) -> int:
    """Fork a process that runs the tests on a mutant; return its id."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        code = 70
        try:
            code = run_tests(mutant)
        finally:
            os._exit(code)
    return process


def survivors(candidates: list[Mutant]) -> list[Mutant]:
    """Run the tests on each mutant, as many at once as there are cores; return those that no test caught, by line."""
    waiting, survived = candidates[::-1], []
    running: dict[int, Mutant] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant = waiting.pop()
            running[start(mutant)] = mutant
        process, status = os.wait()
        mutant, code = running.pop(process), os.waitstatus_to_exitcode(status)
        if code == 0:
            survived.append(mutant)
        elif code > 2:  # 1: a test failed, 2: the module cannot be imported, below 0: a crash, or no end
            sys.exit(f"{mutant.path}:{mutant.line}: pytest ended with {code}\n{mutant.difference()}")
    return sorted(survived, key=lambda mutant: mutant.line)


def cpu_seconds() -> float:
    """Return the CPU time of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print for each module how many mutants there are and how many were caught, and each one that was not."""
    os.chdir(ROOT)
    for package in PACKAGES:
        importlib.import_module(package)
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for path in (path for path in TARGETS if wanted in path):
        before = cpu_seconds()
        source = (ROOT / path).read_text()
        if survivors([Mutant(path, 0, source, source)]) == []:
            sys.exit(f"{path}: its tests fail without any change: {', '.join(TARGETS[path])}")
        candidates = list(mutants(path))
        survived = survivors(candidates)
        caught = len(candidates) - len(survived)
        share = caught / len(candidates)
        print(f"{path}: {caught} of {len(candidates)} mutants caught ({share:.0%}), {cpu_seconds() - before:.0f} s of CPU")
        for mutant in survived:
            print(f"  line {mutant.line}\n{mutant.difference()}", flush=True)


if __name__ == "__main__":
    main()
