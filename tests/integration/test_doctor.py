"""`avizor doctor` says what is here, what is not, and what is broken: where packages, servers and folders really are so."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from integration.gateway import gateway
from packaging.requirements import Requirement
from support.environment import ROOT

from avizor_cli.doctor.engines import ENGINES
from avizor_cli.doctor.machine import instructions
from avizor_cli.doctor.packages import EXTRAS, INSTALL_RUNTIME
from avizor_cli.doctor.surroundings import GATEWAY_CONNECTIONS, GATEWAY_FILES, look_around
from avizor_cli.doctor.tries import Tried, load_errors
from avizor_cli.summaries import WITHOUT_ENGINE
from avizor_service.open_files import allow_open_files
from avizor_service.settings import Settings

Replace = Callable[[Mapping[str, str]], dict[str, str]]  # see the fixture `replaced`

DEVELOPMENT = {"bench", "dev", "examples"}


def doctor(
    *arguments: object,
    python: object = sys.executable,
    variables: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    code = "from avizor_cli.main import main; main()"
    return subprocess.run(
        [str(python), "-c", code, "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | (variables or {}),
        preexec_fn=prepare,
    )


def found(result: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """What it has found, each thing by its name."""
    assert (result.returncode, result.stderr) == (code, "")
    answer = json.loads(result.stdout)
    assert answer["ok"] == (code == 0)
    named = [each for group in ("engines", "packages", "surroundings") for each in answer[group]]
    return {each["name"]: each for each in named} | {"answer": answer}


# They cost two thirds of a run to load, and no engine needs them.
DEAR = ("altair", "matplotlib", "onnx_ir", "onnxscript", "openTSNE", "sklearn")


@pytest.fixture
def replaced(tmp_path: Path) -> Replace:
    """Replace packages for a command by others with this code, and dear ones that a test does not ask for by nothing."""

    def replace(packages: Mapping[str, str]) -> dict[str, str]:
        dear = () if "numpy" in packages else DEAR  # without numpy they are not loaded
        for name, code in {**dict.fromkeys(dear, ""), **packages}.items():
            (tmp_path / "replaced" / name).mkdir(parents=True)
            (tmp_path / "replaced" / name / "__init__.py").write_text(code)
        return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "replaced"), os.environ.get("PYTHONPATH", "")])}

    return replace


def test_where_all_is_installed_all_is_there() -> None:
    seen = found(doctor("--json"))
    assert {name: seen[name]["state"] for name in ("always needed", *EXTRAS)} == dict.fromkeys(("always needed", *EXTRAS), "ok")
    assert {seen["ort"]["state"], seen["openvino"]["state"]} == {"ok"}
    assert seen["ort"]["version"] == onnxruntime.__version__
    assert seen["ort"]["providers"] == onnxruntime.get_available_providers()
    assert seen["triton"]["state"] == "not asked"
    assert seen["answer"]["machine"]["cores"] <= os.cpu_count()


BROKEN = {
    "torch": "import os; open(os.environ['WAS_LOADED'], 'w')",
    "pyarrow": "raise ImportError('libarrow.so.2500: cannot open shared object file\\nand more')",
    "uvloop": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "duckdb": "import sys; sys.exit('this is no way to go')",
    "altair": "import os; os._exit(7)",
    "rich": "print('a word to the user'); raise ValueError",
    "matplotlib": "try:\n    import not_there\nexcept ImportError as error:\n    raise RuntimeError('do read this') from error",
}


def test_a_broken_package_is_a_finding_and_torch_is_not_loaded(replaced: Replace, tmp_path: Path) -> None:
    mark = tmp_path / "was-loaded"
    seen = found(doctor("--json", variables=replaced(BROKEN) | {"WAS_LOADED": str(mark)}))
    assert not mark.exists()
    wrong = {name for name, each in seen.items() if name in EXTRAS and each["state"] == "wrong"}
    assert wrong >= {"export", "pipeline", "service", "review", "pictures", "keep"}
    assert not wrong & {"inference", "openvino", "client", "tracing", "av", "object-stores", "ray"}
    assert "cannot be loaded (ImportError: libarrow.so.2500: cannot open shared object file)" in seen["keep"]["what"]
    assert "ValueError in rich" in seen["service"]["what"]  # structlog uses it, if it is there
    assert "it crashed the process that tried it (SIGSEGV)" in seen["service"]["what"]
    assert "SystemExit: this is no way to go" in seen["review"]["what"]
    assert "it ended the process that tried it (exit code 7)" in seen["review"]["what"]
    assert re.search(r"rich \d\S* cannot be loaded \(ValueError\)", seen["pipeline"]["what"])
    assert "ModuleNotFoundError: No module named 'not_there'" in seen["pictures"]["what"]
    assert seen["keep"]["remedy"] == "pip install --force-reinstall 'pyarrow>=17'"


def test_it_fails_where_what_is_needed_is_broken(replaced: Replace) -> None:
    broken = replaced({"numpy": "raise ImportError('\\nthis wheel is for another processor\\nreally')"})
    seen = found(doctor("--json", variables=broken), 1)
    assert seen["answer"]["failures"] == ["ort", "always needed"]
    for name in ("ort", "always needed"):
        assert re.search(r"ImportError( in numpy)?: this wheel is for another processor", seen[name]["what"])
        assert "pip install --force-reinstall" in seen[name]["remedy"]
    for name in ("ort", "openvino:bf16"):
        assert seen[name]["remedy"] == "install it again: pip install --force-reinstall 'numpy>=1.26'"


@pytest.mark.parametrize(
    ("package", "rows"), [("onnxruntime", ["ort", "inference"]), ("openvino", ["openvino:bf16", "openvino"])]
)
def test_what_is_broken_is_installed_again_in_one_way(replaced: Replace, package: str, rows: list[str]) -> None:
    broken = doctor("--json", variables=replaced({package: "raise ImportError('no')"}))
    seen = found(broken, 1 if package == "onnxruntime" else 0)
    engine, extra = (seen[row]["remedy"] for row in rows)
    assert re.fullmatch(rf"pip install --force-reinstall '{package}\S*>=\S+'", extra)
    assert engine == f"install it again: {extra}"


def test_the_text_is_lines_that_say_what_and_what_to_do(replaced: Replace) -> None:
    result = doctor(variables=replaced({"onnxruntime": "raise ImportError('no')"}))
    assert (result.returncode, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert re.fullmatch(rf"Avizor \d.*, Python 3\.\d+\.\d+ \({re.escape(sys.executable)}\), Linux .*", lines[0])
    assert any(
        re.match(r"  ort +WRONG +ONNX Runtime does not run: ImportError.*: no; install it again: pip ", line) for line in lines
    )
    assert any(line.startswith("  triton") and "avizor doctor --engine triton://HOST:8001" in line for line in lines)
    assert lines[-2] == "`avizor models check --models FOLDER` verifies the files of a model repository."
    assert lines[-1] == "What has to be mended first: ort."


@pytest.mark.parametrize(
    ("package", "lines"),
    [
        (
            "pyarrow",
            [
                r"  export +WRONG .*: pyarrow \d\S+ cannot be loaded \(ImportError: no\); pip .* 'pyarrow>=17'",
                *(rf"  {row} +WRONG +avizor [^:]*: pyarrow \(see `export` above\)" for row in ("pipeline", "review", "keep")),
            ],
        ),
        (
            "numpy",
            [
                r"  always needed +WRONG +numpy \d\S+ cannot be loaded \(ImportError: no\), onnx cannot be loaded without .*",
                r"  ort +WRONG .*; install it again: pip install --force-reinstall 'numpy>=1.26'",
                r"  projection +WRONG +avizor project: opentsne cannot be loaded without numpy, scikit-learn .* without numpy",
            ],
        ),
        (
            "grpc",  # of grpcio, which is not always needed by itself
            [
                r"  openvino:bf16 +WRONG .*Error in grpc: no; install it again: pip install --force-reinstall 'grpcio>=.+'",
                r"  always needed +WRONG +tritonclient cannot .* without grpcio; pip install --force-reinstall 'grpcio>=\S+'",
                r"  service +WRONG .* without grpcio, grpcio \d\S+ .*; pip install --force-reinstall 'grpcio>=\S+'",
            ],
        ),
    ],
)
def test_the_text_says_once_why_a_package_is_broken(replaced: Replace, package: str, lines: list[str]) -> None:
    result = doctor(variables=replaced({package: "raise ImportError('no')"}))
    for line in lines:
        assert re.search(f"^{line}$", result.stdout, re.MULTILINE), result.stdout
    packages = result.stdout.partition("\nPackages\n")[2]
    assert packages.count("ImportError: no)") == 1


OTHER_RUNTIME = [(name, "1.31.1") for name in ("onnxruntime", "onnxruntime-gpu")]


def test_two_builds_of_a_runtime_that_does_not_run_are_not_both_installed_again(replaced: Replace, tmp_path: Path) -> None:
    variables = replaced({"onnxruntime": "raise ImportError('no')"})
    for name, number in OTHER_RUNTIME:
        folder = tmp_path / "replaced" / f"{name}-{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    seen = found(doctor("--json", variables=variables), 1)
    again = f"pip uninstall onnxruntime-gpu onnxruntime, then {INSTALL_RUNTIME}"
    assert (seen["ort"]["remedy"], seen["onnxruntime"]["remedy"]) == (again, again)


def test_a_package_that_is_too_old_is_named_with_the_range(replaced: Replace, tmp_path: Path) -> None:
    variables = replaced({})
    for name, number in (
        ("pyarrow", "16.1"),
        ("torch", "3.0.1+cpu"),
        ("rich", "99.0rc1"),
        ("av", "of our own"),
        *OTHER_RUNTIME,
    ):
        folder = tmp_path / "replaced" / f"{name}-{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    for name in ("obstore-1.0", "orjson-1.0"):  # half removed
        (tmp_path / "replaced" / f"{name}.dist-info").mkdir()
    (tmp_path / "replaced" / "obstore-1.0.dist-info" / "METADATA").write_text("Name: obstore\n")
    seen = found(doctor("--json", variables=variables))
    assert (seen["object-stores"]["state"], seen["service"]["state"]) == ("ok", "ok")
    assert seen["onnxruntime"]["what"].endswith("are both installed, and their files have the same names")
    assert seen["keep"]["what"].endswith("pyarrow 16.1 is installed, and avizor needs >=17")
    assert "torch 3.0.1+cpu is installed, and avizor needs <3,>=2.13" in seen["export"]["what"]
    assert "rich" not in seen["pipeline"]["what"].partition("pyarrow")[2]
    assert seen["av"]["state"] == "ok"


def environment_of(folder: Path, *extras: str) -> Path:
    """Make an environment with what these extras need and nothing else, and return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in closure("avizor", extras):
        for top in {file.parts[0] for file in distribution(name).files or [] if file.parts[0] != ".."}:
            if top not in ("__pycache__",) and not top.endswith(".pth") and not (site / top).exists():
                (site / top).symlink_to(str(distribution(name).locate_file(top)))
    own = ("inference", "export", "pipeline", "service", "client", "review", "cli", "proto/gen")
    (site / "avizor.pth").write_text("".join(f"{ROOT / each}\n" for each in own))
    return folder / "bin" / "python"


def closure(name: str, extras: Iterable[str]) -> set[str]:
    """Return the names of a package and of all that it needs."""
    names, left = set[str](), [(name, tuple(extras))]
    done = set[tuple[str, tuple[str, ...]]]()
    while left:
        done.add(pair := left.pop())
        names.add(pair[0])
        for each in map(Requirement, requires(pair[0]) or []):
            wanted = not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in ("", *pair[1]))
            inner = each.name, tuple(sorted(each.extras))
            if wanted and inner not in done:
                with_files(each.name)
                left.append(inner)
    return names


def with_files(name: str) -> None:
    try:
        distribution(name)
    except PackageNotFoundError:
        pytest.fail(f"{name} is not installed, and the packages of this environment need it")


def test_where_only_the_gateways_packages_are_the_others_are_absent(tmp_path: Path) -> None:
    python = environment_of(tmp_path / "gateway", "gateway", "keep")
    alone = {"PYTHONPATH": ""}
    seen = found(doctor("--json", python=python, variables=alone))
    states = {name: seen[name]["state"] for name in ("always needed", *ENGINES, *EXTRAS)}
    here = {"always needed", "service", "client", "keep"}
    assert states == {name: "ok" if name in here else "absent" for name in states}
    assert seen["pipeline"]["remedy"] == "pip install 'avizor[pipeline]'"
    assert seen["pipeline"]["what"] == "avizor batch, watch, verify, retry: lacks rich"
    assert seen["ray"]["remedy"] == "pip install 'avizor[ray]'"
    for engine, install in (("ort", "'avizor[inference]'"), ("openvino:bf16", "'avizor[openvino]'")):
        failed = found(doctor("--json", "--engine", engine, python=python, variables=alone), 1)
        assert failed["answer"]["failures"] == [engine]
        assert install in failed[engine]["remedy"]
    (tmp_path / "rest" / "onnxruntime" / "capi").mkdir(parents=True)  # a package that was not removed whole
    rest = found(doctor("--json", python=python, variables={"PYTHONPATH": str(tmp_path / "rest")}), 1)
    assert rest["ort"]["what"].startswith("ONNX Runtime does not run: AttributeError: ")
    assert rest["ort"]["remedy"] == INSTALL_RUNTIME
    for each in tmp_path.glob("gateway/lib/python*/site-packages/*soxr*"):
        each.unlink()
    lacking = found(doctor("--json", python=python, variables=alone), 1)
    assert lacking["answer"]["failures"] == ["always needed"]
    assert (lacking["always needed"]["what"], lacking["always needed"]["remedy"]) == ("lacks soxr", "pip install 'soxr>=0.5'")


def test_a_triton_says_who_it_is_and_which_models_it_serves(replaced: Replace, models: Path, triton_address: str) -> None:
    seen = found(doctor("--engine", f"triton://{triton_address}", "--json", variables=replaced({})))["triton"]
    assert (seen["state"], seen["live"], seen["ready"]) == ("ok", True, True)
    assert {each["name"]: each["state"] for each in seen["models"]} == dict.fromkeys(
        (each.name for each in models.iterdir() if each.is_dir()), "READY"
    )
    assert re.match(rf"\S+ 2\.\d+\.\d+ at {re.escape(triton_address)} is ready; it serves digits 1, kinds 1, ", seen["what"])


def test_a_gateway_that_is_asked_as_a_triton_is_called_a_gateway(models: Path) -> None:
    with gateway(models, "--alpha", "0.05") as running:
        seen = found(doctor("--engine", f"triton://{running.address}", "--json"))["triton"]
    assert seen["state"] == "ok"  # it answers like one
    said = rf"no Triton, but the gateway of Avizor \d\S+ at {re.escape(running.address)} is ready; it serves digits 1, "
    assert re.match(said, seen["what"])


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that answers in another protocol, and at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = (
            "import socket, sys\n"
            "with socket.socket(fileno=int(sys.argv[1])) as listener:\n"
            "    while True:\n"
            "        listener.accept()[0].sendall(b'HTTP/1.1 400 Bad Request\\r\\nContent-Length: 0\\r\\n\\r\\n')\n"
        )
        number = listener.fileno()
        with subprocess.Popen([sys.executable, "-c", program, str(number)], pass_fds=[number]) as server:
            yield f"127.0.0.1:{port}"
            server.kill()


def test_a_server_that_is_no_triton_or_none_is_wrong(replaced: Replace, silent: str) -> None:
    variables = replaced({})
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        for address, reason in ((nobody, "Connection refused"), (silent, "")):
            seen = found(doctor("--engine", f"triton://{address}", "--json", variables=variables), 1)
            assert seen["answer"]["failures"] == ["triton"]
            assert seen["triton"]["what"].startswith(f"no Triton answers at {address}: ")
            assert reason in seen["triton"]["what"]
            assert "start it" in seen["triton"]["remedy"]
            assert seen["ort"]["state"] == "ok"


@pytest.mark.parametrize("engine", ["tuned", "orr", "tritn://localhost:8001"])
def test_an_engine_that_is_not_known_is_wrong_usage(engine: str) -> None:
    result = doctor("--engine", engine)
    assert result.returncode == 2
    assert f"{engine!r} is not known; use 'ort', 'openvino', 'openvino:bf16', or 'triton://HOST:8001'" in result.stderr


DRIVER = """
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.skipif("CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="ONNX Runtime has no CUDA")
def test_a_gpu_on_which_cuda_does_not_run_is_wrong_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run(["cc", "-shared", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.c"], check=True)
    python = environment_of(tmp_path / "without-cuda", "inference")
    seen = found(doctor("--json", python=python, variables={"PYTHONPATH": "", "LD_LIBRARY_PATH": str(tmp_path)}), 1)
    assert seen["answer"]["failures"] == ["ort on a GPU"]
    assert seen["ort"]["state"] == "ok"
    what = seen["ort on a GPU"]["what"]
    assert re.fullmatch(r"CUDA does not run: lib\w+\.so\.\d+: cannot open shared object file: No such file or directory", what)
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in seen["ort on a GPU"]["remedy"]


def may_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


def test_surroundings_that_make_other_commands_fail_are_told(replaced: Replace, tmp_path: Path) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 1000))

    seen = found(doctor("--json", variables=replaced({}) | {"TMPDIR": str(tmp_path / "missing")}, prepare=few_files))
    assert seen["temporary files"]["state"] == "wrong"
    assert seen["temporary files"]["what"].startswith(f"TMPDIR names {tmp_path / 'missing'}, which does not exist; ")
    assert seen["temporary files"]["remedy"] == "make that folder or name another folder with TMPDIR"
    assert (seen["open files"]["state"], seen["open files"]["remedy"]) == ("wrong", "raise `ulimit -n`")


@pytest.mark.parametrize("written", ["{0}", "{0}/", "{0}/here/..", "."])
def test_a_temporary_folder_is_right_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", written.format(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    seen = next(each for each in look_around() if each.name == "temporary files")
    assert (seen.state, seen.details["folder"]) == ("ok", str(tmp_path))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("touch {0}", "which is no folder; /tmp is used; name another folder with TMPDIR"),
        (
            "mkdir {0} && mount -t tmpfs -o size=4k tmpfs {0} && head -c 8192 /dev/zero > {0}/full",
            "which cannot be written to (no space left on device); /tmp is used; make room in it or name another folder",
        ),
        (
            "mkdir {0} && mount -t tmpfs -o ro tmpfs {0}",
            "which cannot be written to (read-only file system); /tmp is used; let this user write to it or name",
        ),
    ],
)
def test_why_temporary_files_are_elsewhere_is_told(tmp_path: Path, made: str, said: str) -> None:
    if "mount" in made and not may_mount():
        pytest.skip("this user may not mount a folder of its own")
    code = "from avizor_cli.doctor.surroundings import look_around; print(look_around()[0].text)"
    script = f'{made.format(tmp_path / "named")}; exec "$@"'
    inside = ["unshare", "-rm"] if "mount" in made else []
    result = subprocess.run(
        [*inside, "sh", "-c", script, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "named")},
    )
    assert result.stdout.startswith(f"TMPDIR names {tmp_path / 'named'}, {said}")


def test_it_fails_where_no_temporary_file_can_be_written(replaced: Replace) -> None:
    def no_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    seen = found(doctor("--json", variables=replaced({}), prepare=no_files), 1)
    assert seen["answer"]["failures"] == ["temporary files"]
    assert seen["temporary files"]["what"].startswith("no usable temporary directory found in ")
    assert seen["/dev/shm"]["state"] == "wrong"


FULL = 'mount -t tmpfs -o size=4k tmpfs /dev/shm && { head -c 8192 /dev/zero > /dev/shm/full; exec "$@"; }'


@pytest.mark.skipif(not may_mount(), reason="this user may not mount a folder of its own")
def test_shared_memory_that_is_full_is_to_be_emptied() -> None:
    code = "from avizor_cli.doctor.surroundings import look_around; print(look_around()[1].text)"
    command = ["unshare", "-rm", "sh", "-c", FULL, "sh", sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "end what fills it" in result.stdout
    assert "mount" not in result.stdout


def test_a_library_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, replaced: Replace) -> None:
    for name, value in replaced({"endless": "import time; time.sleep(600)", "quick": ""}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("avizor_cli.doctor.tries._LIMIT_S", 5.0)
    assert load_errors(["endless", "quick"]) == {"endless": "it did not end within 5 s", "quick": ""}
    with Tried("load", "endless") as tried:
        pass
    assert tried.answer("endless")["error"]


def test_each_extra_that_is_no_part_of_another_is_shown() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) - set(EXTRAS) == {*DEVELOPMENT, *WITHOUT_ENGINE.values(), "inference-cpu"}


def test_the_open_files_are_those_that_a_gateway_allows_itself() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert Settings.max_connections == GATEWAY_CONNECTIONS
    resource.setrlimit(resource.RLIMIT_NOFILE, (GATEWAY_FILES - 1, before[1]))
    try:
        allow_open_files(GATEWAY_CONNECTIONS)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == GATEWAY_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("flags", "there"),
    [
        ("fpu sse2 avx2 fma", {"AVX2"}),
        ("avx2 avx512f avx512_vnni avx512_bf16", {"AVX2", "AVX-512", "VNNI", "BF16"}),
        ("avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8", {"AVX2", "AVX-512", "VNNI", "BF16", "AMX"}),
    ],
)
def test_what_of_a_processor_pays_is_known_by_its_flags(flags: str, there: set[str]) -> None:
    seen = instructions(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert {name for name, has in seen.items() if has} == there
    assert list(seen) == ["AVX2", "AVX-512", "VNNI", "BF16", "AMX"]


def test_of_another_processor_nothing_is_said() -> None:
    assert instructions("processor\t: 0\nFeatures\t: fp asimd\n") == {}
