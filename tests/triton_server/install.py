"""Install NVIDIA Triton into a cache folder, without Docker, root, or anything but `pip` and `venv`.

`install()` puts together, once per recipe:

    <cache>/triton-<version>-<hash of the recipe>/
      pytriton/tritonserver/bin/tritonserver    from the nvidia-pytriton wheel; CPU, gRPC, HTTP, metrics
      pytriton/tritonserver/backends/python/    from the wheel, with the stub for Python 3.11 put beside the library
      pytriton/tritonserver/backends/onnxruntime/model.py    ours: the wheel has no ONNX Runtime backend
      nvidia_pytriton.libs/                     from the wheel; the wheel's layout is kept, its RPATHs point here
      lib/libpython3.11.so.1.0                  a link: the stub is linked against it
      venv/                                     Python 3.11 with onnxruntime and numpy 1, for the backends
      installed.json                            written last: a folder without it is half an installation

Nothing outside the cache folder is touched. A virtual environment cannot be moved, so the folder is built where it will
stay; a lock keeps a second process from looking in meanwhile, and `installed.json` is what makes it count.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TRITON_WHEEL = "nvidia-pytriton"
TRITON_WHEEL_VERSION = "0.7.0"  # carries Triton 2.51 (24.10)
ONNXRUNTIME_VERSION = "1.31.0"
NUMPY_VERSION = "1.26.4"  # the wheel's Python backend predates numpy 2: under it, arrays arrive empty
PYTHON_VERSION = "3.11"  # the newest Python with both a stub in the wheel and wheels of numpy 1 and onnxruntime
LIBPYTHON = f"libpython{PYTHON_VERSION}.so.1.0"

_BACKEND_SOURCE = Path(__file__).with_name("onnxruntime_backend") / "model.py"
_WHEEL_FOLDERS = ("pytriton/tritonserver/", "nvidia_pytriton.libs/")
_MARKER = "installed.json"
_PIP_TIMEOUT_S = 1800.0
_PROBE_TIMEOUT_S = 60.0
_CANNOT_LOAD = 127  # exit code of the dynamic loader, when a shared library or a symbol is missing

_log = logging.getLogger(__name__)

# Run in a candidate interpreter: what `_Interpreter` has to know of it, as JSON.
_PROBE = """
import importlib.util, json, os, platform, sys, sysconfig
multiarch = sysconfig.get_config_var("MULTIARCH") or ""
folders = [sysconfig.get_config_var("LIBDIR"), os.path.join(sys.base_prefix, "lib")]
print(json.dumps({
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "version": "%d.%d" % sys.version_info[:2],
    "implementation": platform.python_implementation(),
    "has_venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    "library_folders": [path for f in folders if f for path in (f, os.path.join(f, multiarch))],
}))
"""


class TritonUnavailable(RuntimeError):
    """Triton cannot be installed here. The message says what is missing and how to mend it."""


@dataclass(frozen=True)
class TritonInstall:
    """Where one installation keeps its parts; it holds no state and may be shared by any number of servers."""

    root: Path
    """The folder that holds everything below."""

    @property
    def tritonserver(self) -> Path:
        """The server's executable."""
        return self.root / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        """Backends `python` and `onnxruntime`: the server's `--backend-directory`."""
        return self.root / "pytriton" / "tritonserver" / "backends"

    @property
    def caches(self) -> Path:
        """Response caches: the server's `--cache-directory`."""
        return self.root / "pytriton" / "tritonserver" / "caches"

    @property
    def venv(self) -> Path:
        """The virtual environment in which the backends run."""
        return self.root / "venv"

    @property
    def python(self) -> Path:
        """The interpreter of `venv`."""
        return self.venv / "bin" / "python"

    @property
    def libraries(self) -> tuple[Path, ...]:
        """Folders of shared libraries, for `LD_LIBRARY_PATH`."""
        return self.root / "nvidia_pytriton.libs", self.root / "lib"

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment to start the server in, made of `base` (by default this process' own).

        The backend's embedded interpreter finds its packages as a shell would: by the first `python3` on PATH. What
        would lead it to the packages of the calling process instead is taken out.
        """
        env = dict(os.environ if base is None else base)
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "LD_PRELOAD"):
            env.pop(name, None)
        env["PYTHONNOUSERSITE"] = "1"
        env["VIRTUAL_ENV"] = str(self.venv)
        env["PATH"] = _joined(self.venv / "bin", env.get("PATH") or os.defpath)
        env["LD_LIBRARY_PATH"] = _joined(*self.libraries, env.get("LD_LIBRARY_PATH", ""))
        return env


def default_cache() -> Path:
    """`$AVIZOR_CACHE`, or else `~/.cache/avizor`."""
    configured = os.environ.get("AVIZOR_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "avizor"


def install(cache: Path | None = None, *, python: Path | None = None) -> TritonInstall:
    """Return the installation inside `cache`, made first where there is none of this recipe.

    Args:
        cache: folder for installations, one sub-folder per recipe; by default `default_cache()`.
        python: the Python 3.11 to build on; by default the running one, or else one found on PATH.

    Raises:
        TritonUnavailable: no suitable Python 3.11, no package index within reach, or libraries are missing.
    """
    root = (cache or default_cache()).expanduser().resolve() / _folder_name()
    found = TritonInstall(root)
    if _is_complete(found):
        return found
    root.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root.with_name(root.name + ".lock")):
        if not _is_complete(found):  # another process may have made it while this one waited
            _build(found, python)
    return found


def _folder_name() -> str:
    """A name that changes with whatever the installation is made of: this file and the backend's source."""
    digest = hashlib.sha256()
    for source in (Path(__file__), _BACKEND_SOURCE):
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return f"triton-{TRITON_WHEEL_VERSION}-{digest.hexdigest()[:12]}"


def _is_complete(candidate: TritonInstall) -> bool:
    """Whether it was built to the end, and the interpreter and library that it links to are still on this machine."""
    needed = (candidate.root / _MARKER, candidate.python, candidate.root / "lib" / LIBPYTHON, candidate.tritonserver)
    return all(path.exists() for path in needed)  # `exists` follows links


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes. The kernel lets go of it should this process die."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # closing the file releases the lock


def _build(target: TritonInstall, python: Path | None) -> None:
    """Make `target` from nothing, whatever an interrupted build left behind. The caller holds the lock."""
    interpreter = _find_interpreter(python)
    _log.info("installing Triton into %s", target.root)
    shutil.rmtree(target.root, ignore_errors=True)
    target.root.mkdir(parents=True)
    _run([interpreter.executable, "-m", "venv", target.venv], "creating a virtual environment")
    packages = (f"onnxruntime=={ONNXRUNTIME_VERSION}", f"numpy=={NUMPY_VERSION}")
    _pip(target, "install", *packages)
    _unpack_wheel(target)
    _link_libpython(target, interpreter.library)
    _add_backends(target)
    _check(target)
    _write_marker(target, interpreter)


def _pip(target: TritonInstall, command: str, *arguments: str | Path) -> None:
    """Run pip of the virtual environment; wheels only, so that nothing is ever compiled."""
    options = ("--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:")
    _run([target.python, "-m", "pip", command, *options, *arguments], f"pip {command}")


def _unpack_wheel(target: TritonInstall) -> None:
    """Take the server and its libraries out of the wheel; the rest of it, PyTriton's own Python code, is not used."""
    with tempfile.TemporaryDirectory(dir=target.root) as folder:
        _pip(target, "download", "--no-deps", "--dest", folder, f"{TRITON_WHEEL}=={TRITON_WHEEL_VERSION}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(_WHEEL_FOLDERS)]
            archive.extractall(target.root, members)
    target.tritonserver.chmod(0o755)  # zipfile drops permissions


def _link_libpython(target: TritonInstall, library: Path) -> None:
    """Give libpython a folder of its own: the interpreter's would bring in what else lies there, as conda's does."""
    folder = target.root / "lib"
    folder.mkdir()
    (folder / LIBPYTHON).symlink_to(library)


def _add_backends(target: TritonInstall) -> None:
    """Put the stub where the Python backend looks for it, and our ONNX Runtime backend beside it."""
    stubs = target.backends.parent / "python_backend_stubs"
    stub = _stub(target)
    shutil.copyfile(stubs / PYTHON_VERSION / stub.name, stub)
    stub.chmod(0o755)
    shutil.rmtree(stubs)
    folder = target.backends / "onnxruntime"
    folder.mkdir()
    shutil.copyfile(_BACKEND_SOURCE, folder / "model.py")


def _stub(target: TritonInstall) -> Path:
    """The program that runs Python models: one process per model instance."""
    return target.backends / "python" / "triton_python_backend_stub"


def _check(target: TritonInstall) -> None:
    """Find missing libraries now, with their names, and not as a model that does not load."""
    code = "import numpy, onnxruntime"
    _run([target.python, "-c", code], "importing onnxruntime", env=target.environment())
    for program in (target.tritonserver, _stub(target)):
        done = subprocess.run(
            [program, "--help"],
            env=target.environment(),
            check=False,  # usage errors and their exit codes differ; only a program that cannot be loaded matters here
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
        )
        if done.returncode == _CANNOT_LOAD:
            raise TritonUnavailable(
                f"{program.name} does not start: {done.stderr.strip()}. The wheel is made for glibc 2.35 and newer "
                f"(here: {' '.join(platform.libc_ver())}); a missing library comes from the distribution's packages."
            )


def _write_marker(target: TritonInstall, interpreter: "_Interpreter") -> None:
    """Declare the installation complete, in one step."""
    facts = {
        TRITON_WHEEL: TRITON_WHEEL_VERSION,
        "onnxruntime": ONNXRUNTIME_VERSION,
        "numpy": NUMPY_VERSION,
        "python": str(interpreter.executable),
        "libpython": str(interpreter.library),
    }
    beside = target.root / f"{_MARKER}.tmp"
    beside.write_text(json.dumps(facts, indent=2) + "\n")
    beside.replace(target.root / _MARKER)


@dataclass(frozen=True)
class _Interpreter:
    """A Python 3.11 that can make virtual environments, and the shared library that goes with it."""

    executable: Path
    library: Path
    owns_library: bool
    """False: the interpreter was built without a shared library, and another installation of 3.11 lends its own."""


def _find_interpreter(chosen: Path | None) -> _Interpreter:
    """The chosen interpreter, or the first suitable one; one with a shared library of its own goes first."""
    suitable: list[_Interpreter] = []
    reasons: list[str] = []
    for executable in [chosen] if chosen else _candidates():
        try:
            suitable.append(_probe(executable))
        except TritonUnavailable as error:
            reasons.append(str(error))
    if suitable:
        return max(suitable, key=lambda one: one.owns_library)  # max() takes the first of equals
    raise TritonUnavailable(
        f"Triton's Python backend needs Python {PYTHON_VERSION} with venv, pip and {LIBPYTHON}. "
        f"Install one (Debian 12: apt-get install python3.11-venv libpython3.11; pyenv: "
        f"PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.11; or uv python install 3.11) and put it on PATH. "
        f"Looked at: {'; '.join(reasons) or 'no python3.11 on PATH'}"
    )


def _candidates() -> list[Path]:
    """Interpreters to try: the running one if its version fits, then every python3.11 on PATH; no file twice."""
    paths = [Path(sys.executable)] if sys.version_info[:2] == tuple(map(int, PYTHON_VERSION.split("."))) else []
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    paths += [Path(folder) / f"python{PYTHON_VERSION}" for folder in folders if folder]
    different: dict[Path, Path] = {}
    for path in paths:
        if os.access(path, os.X_OK):
            different.setdefault(path.resolve(), path)
    return list(different.values())


def _probe(executable: Path) -> _Interpreter:
    """Ask an interpreter what it can do.

    Raises:
        TritonUnavailable: it does not run, is no CPython 3.11, or lacks venv or a shared library; the message says so.
    """
    try:
        done = subprocess.run(
            [executable, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TritonUnavailable(f"{executable} does not run ({error})") from error
    facts = json.loads(done.stdout)
    if (facts["implementation"], facts["version"]) != ("CPython", PYTHON_VERSION):
        raise TritonUnavailable(f"{executable} is {facts['implementation']} {facts['version']}")
    if not facts["has_venv"]:
        raise TritonUnavailable(f"{executable} has no venv or ensurepip (Debian: apt-get install python3.11-venv)")
    own = _first_library(facts["library_folders"])
    library = own or _first_library(_system_library_folders())
    if library is None:
        raise TritonUnavailable(f"{executable} was built without {LIBPYTHON}, and the system has none either")
    # Asked of a virtual environment, it names the interpreter beneath: ours must outlive that environment.
    return _Interpreter(Path(facts["executable"]), library, owns_library=own is not None)


def _first_library(folders: Sequence[str]) -> Path | None:
    """The first libpython in `folders`."""
    found = (Path(folder) / LIBPYTHON for folder in folders)
    return next((path.resolve() for path in found if path.exists()), None)


def _system_library_folders() -> list[str]:
    """Where distributions put libpython, should the interpreter have none of its own."""
    return [f"/usr/lib/{platform.machine()}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]


def _run(command: Sequence[str | Path], doing: str, env: Mapping[str, str] | None = None) -> None:
    """Run a step of the installation.

    Raises:
        TritonUnavailable: it failed; the message ends with the last lines that it printed.
    """
    env = {name: value for name, value in (env or os.environ).items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines()
        raise TritonUnavailable(
            f"{doing} failed. Installing Triton needs a package index within pip's reach, Linux on x86-64 with glibc "
            "2.35 or newer, and 500 MB of disk space. The last lines printed:\n" + "\n".join(lines[-8:])
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TritonUnavailable(f"{doing} failed: {error}") from error


def _joined(*parts: str | Path) -> str:
    """A search path of those parts that are not empty."""
    return os.pathsep.join(str(part) for part in parts if str(part))
