"""The public names of the packages are typed and lazy, and include everything that examples and docs import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.environment import ROOT

FACES = ("avizor_inference", "avizor_export", "avizor_pipeline", "avizor_review")
PACKAGES = {*FACES, "avizor_service", "avizor_client", "avizor_cli"}
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]


def modules_imported(code: str) -> set[str]:
    """Full names of the modules that this code imports, or imports something from."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    return modules


def beyond_faces(code: str) -> set[str]:
    return {module for module in modules_imported(code) if module.partition(".")[0] in PACKAGES and "." in module}


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("package", FACES)
def test_every_name_of_a_face_can_be_imported(package: str) -> None:
    face = import_module(package)
    for name in face.__all__:
        assert getattr(face, name) is not None
    assert set(dir(face)) >= set(face.__all__)


@pytest.mark.parametrize("package", FACES)
def test_another_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="misspelt"):
        _ = import_module(package).misspelt


@pytest.mark.parametrize("package", FACES)
def test_importing_a_face_loads_nothing_heavy(package: str) -> None:
    heavy = {"torch", "onnx", "onnxruntime", "tritonclient", "pyarrow", "numpy", "duckdb", "altair"}
    code = f"import sys, {package}; print(*sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda path: path.name)
def test_examples_import_from_faces_alone(path: Path) -> None:
    assert beyond_faces(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_docs_imports_from_faces_alone(page: Path) -> None:
    for block in python_blocks(page):
        assert beyond_faces(block) == set(), block


def test_the_check_sees_what_it_looks_for() -> None:
    assert beyond_faces(
        "import avizor_export.cli\nfrom avizor_inference.items import audio\nimport avizor_export\nimport os"
    ) == {
        "avizor_export.cli",
        "avizor_inference.items",
    }
    assert any(python_blocks(page) for page in PAGES)
