"""Fresh processes import only the packages that they may import, and the built wheel has all files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from integration.gateway import gateway
from support.environment import ROOT
from support.sounds import tone, write_wav


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_batch_job_never_loads_torch(models: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "data" / "1.wav", tone(1.0))
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnxscript", "avizor_export"):
            raise ImportError("torch was asked for")
sys.meta_path.insert(0, Refuse())
sys.argv = ["avizor", "batch", sys.argv[1], "--models", sys.argv[2], "--model", "kinds", "--out", sys.argv[3]]
if __name__ == "__main__":
    from avizor_cli.main import main
    main()
"""
    script = tmp_path / "job.py"  # a file, since worker processes import the main module anew
    script.write_text(code)
    result = subprocess.run(
        [sys.executable, script, tmp_path / "data", models, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("more", [[], ["--memory", "3GiB"]])
def test_a_batch_job_on_a_triton_does_without_onnx_runtime(
    models: Path, tmp_path: Path, triton_address: str, more: list[str]
) -> None:
    write_wav(tmp_path / "data" / "1.wav", tone(1.0))
    script = tmp_path / "job.py"
    script.write_text(
        "import sys\nsys.modules['onnxruntime'] = None\n"
        "if __name__ == '__main__':\n    from avizor_cli.main import main\n    main()\n"
    )
    command = [sys.executable, str(script), "batch", "data", "--models", str(models), "--model", "kinds", "--model", "normal"]
    options = ["--alpha", "0.05", "--workers", "1", "--out", "out"]

    def run(*engine: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *options, *engine], capture_output=True, text=True, check=False, cwd=tmp_path)

    done = run("--engine", f"triton://{triton_address}", *more)
    assert done.returncode == 0, done.stderr
    if more:  # which is for a job that works
        return
    here = run()
    assert here.returncode == 1
    assert here.stderr.startswith("Error: the engine ort needs onnxruntime, which is not installed here; pip install ")


# In one process without ONNX Runtime, which loads most of what they need once: their exit codes, and what they say.
ONE_AFTER_ANOTHER = """
import contextlib, io, json, sys
sys.modules["onnxruntime"] = None
from avizor_cli.main import main
ended = []
for words in json.loads(sys.argv[1]):
    sys.argv, errors, code = ["avizor", *words], io.StringIO(), None
    with contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as end:
            code = end.code
    ended.append([code, errors.getvalue()])
print(json.dumps(ended))
"""


def test_explanations_of_a_triton_or_a_gateway_do_without_onnx_runtime(
    models: Path, tmp_path: Path, triton_address: str
) -> None:
    write_wav(tmp_path / "1.wav", tone(1.0))
    asked = "cam kinds", "occlusion kinds", "error-map normal"
    on_triton = "--models", models, "--engine", f"triton://{triton_address}"
    with gateway(models, "--alpha", 0.05) as running:
        commands: list[tuple[object, ...]] = [(each, "--gateway", running.address) for each in asked]
        commands += [(each, *on_triton) for each in asked[1:]]
        commands += [(asked[0], *on_triton), (asked[0], *on_triton[:2])]
        words = [
            list(map(str, ("explain", *str(each).split(), tmp_path / "1.wav", *where, "--out", tmp_path / "maps")))
            for each, *where in commands
        ]
        done = python(ONE_AFTER_ANOTHER, json.dumps(words))
    assert (done.returncode, done.stderr) == (0, "")
    install = "which is not installed here; pip install 'avizor[inference-cpu]', or 'avizor[inference]' on a machine with a GPU"
    assert json.loads(done.stdout.splitlines()[-1]) == [
        *[[0, ""]] * 5,
        *([1, f"Error: {what} needs onnxruntime, {install}\n"] for what in ("a class activation map", "the engine ort")),
    ]


EXPORT = ("describe", "export", "fit")
ABSENT = [
    ("batch", "pyarrow", "jobs"),
    ("tune", "matplotlib", "pictures"),
    *((command, "torch", "networks") for command in EXPORT),
]


@pytest.mark.parametrize(("command", "module", "extra"), ABSENT)
def test_a_command_whose_extra_is_absent_says_what_to_install(command: str, module: str, extra: str) -> None:
    without = f"import sys; sys.modules[{module!r}] = None; from avizor_cli.main import main; sys.argv = sys.argv[1:]; main()"
    result = python(without, "avizor", command, "--whatever", "x")
    assert result.returncode == 1
    assert f"pip install 'avizor[{extra}]'" in result.stderr
    listed = python(without, "avizor", "--help")
    assert listed.returncode == 0
    assert "models" in listed.stdout


def test_a_model_is_tuned_without_torch_and_on_a_triton_without_an_engine_of_its_own(
    models: Path, tmp_path: Path, triton_address: str
) -> None:
    def tune(absent: list[str], *more: object) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.modules.update(dict.fromkeys({absent})); from avizor_cli.main import main; main()"
        few = "--instances", 1, "--seconds", 0.1, "--dry-run", "--plot", tmp_path / "tuned.png"
        return python(code, "tune", "digits", "--models", models, *few, *more)

    here = tune(["torch"], "--engine", "ort", "--batch", 4, "--threads", 1)
    assert here.returncode == 0, here.stderr
    there = tune(["torch", "onnxruntime"], "--engine", f"triton://{triton_address}", "--clients", 2, "--queue-delay-us", 0)
    assert there.returncode == 0, there.stderr
    assert "chosen: instances 1" in there.stdout


def test_the_wheel_holds_every_package_with_its_types(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packages = {
        "avizor_inference",
        "avizor_export",
        "avizor_pipeline",
        "avizor_review",
        "avizor_service",
        "avizor_client",
        "avizor_cli",
        "avizor",
    }
    for package in packages:
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    assert "avizor/v1/inference_pb2_grpc.py" in names
    assert {name.partition("/")[0] for name in names if not name.startswith("avizor-")} == packages


def test_a_gateway_never_loads_torch(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIZOR_COLD_STARTS", "1")
    with gateway(models, "--alpha", 0.05) as running:
        loaded = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "onnxruntime" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize("module", ["avizor_inference.engines.embedded", "avizor_export.precision.speed"])
def test_onnx_runtime_reports_to_nobody(module: str, tmp_path: Path) -> None:
    bare = {"PATH": os.defpath, "HOME": str(tmp_path)}  # in CI it would keep quiet by itself
    subprocess.run([sys.executable, "-c", f"import {module}"], env=bare, check=True)
    assert list(tmp_path.rglob("*onnxruntime*")) == []


def test_the_command_of_the_client_alone_says_what_to_install_where_click_is_absent(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text('raise ModuleNotFoundError("No module named \'click\'", name="click")')
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "avizor_client.cli", "models"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    needed = next(line for line in requires("avizor") or () if line.startswith("click"))
    assert ended.stderr == f"Error: `python -m avizor_client.cli` needs click, which is not installed; pip install '{needed}'\n"
