"""Say which packages are here of those that Avizor always needs, and of each extra: with their versions, or why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from avizor_cli.doctor.finding import Finding
from avizor_cli.summaries import WITHOUT_ENGINE, to_install
from avizor_inference.error_text import named

ALWAYS = "always needed"

# What each extra is for. Those that are left out are for development, or are parts of these.
EXTRAS = {
    "inference": "the engine ort",
    "openvino": "the engine openvino",
    "export": "avizor export, fit, describe",
    "pipeline": "avizor batch, watch, verify, retry",
    "service": "avizor serve, health",
    "review": "avizor report, review",
    "client": "avizor call, and clients in Python",
    "projection": "avizor project",
    "pictures": "avizor tune, pictures of avizor explain",
    "keep": "avizor serve --keep-flagged",
    "tracing": "avizor serve --otlp-endpoint",
    "av": "sound of MP4, WebM and the like",
    "object-stores": "data and results on S3, Google Cloud or Azure",
    "ray": "batch jobs on many machines",
}

# ONNX Runtime with CUDA or without: either will do, and not both, since their files have the same names.
RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
INSTALL_RUNTIME = "pip install 'avizor[inference-cpu]', or 'avizor[inference]' on a machine with a GPU"

# The module that shows whether a package can be loaded, where it is not named after it.
MODULES = {
    "googleapis-common-protos": "google.rpc.status_pb2",
    "grpcio": "grpc",
    "grpcio-health-checking": "grpc_health.v1.health",
    "grpcio-reflection": "grpc_reflection.v1alpha.reflection",
    "onnxruntime-gpu": "onnxruntime",
    "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "opentelemetry-sdk": "opentelemetry.sdk.trace",
    "opentsne": "openTSNE",
    "pillow": "PIL",
    "protobuf": "google.protobuf.message",
    "scikit-learn": "sklearn",
    "tritonclient": "tritonclient.grpc",
    "vl-convert-python": "vl_convert",
}

# How an error begins that came from another package than the one that was loaded (`doctor/steps.py`).
_CAUSE = re.compile(r"\w+ in (\w+)(?:: |$)")

# Loading these takes seconds. They are looked for, and not loaded.
NOT_LOADED = frozenset(["torch", "torchvision", "ray"])


def module_of(package: str) -> str:
    """Return the module that shows whether a package can be loaded."""
    return MODULES.get(package, package.replace("-", "_"))


@cache
def installed(package: str) -> str | None:
    """Return the version of a package, "" if it does not say which it is; None if it is not installed."""
    try:
        return version(package) or ""
    except PackageNotFoundError:
        module = module_of(package)
    except (KeyError, TypeError):  # some of its files were removed
        return ""
    return "" if "." not in module and find_spec(module) else None


def installed_runtimes() -> list[str]:
    """Return which packages of ONNX Runtime are installed."""
    return [name for name in RUNTIMES if installed(name)]


def runtime_again() -> str:
    """Return how to install ONNX Runtime anew. Of two builds none is kept: each has written over files of the other."""
    found = installed_runtimes()
    if len(found) == 1:
        return again(found[0])
    return f"pip uninstall {' '.join(found)}, then {INSTALL_RUNTIME}" if found else INSTALL_RUNTIME


def again(package: str) -> str:
    """Return how to install a package anew, as the finding of the extra says it that needs it."""
    return f"install it again: pip install --force-reinstall {_in_range(package)}"


def _in_range(package: str) -> str:
    needed = (each for extra in ("", *EXTRAS) for each in needed_of(_parts(extra)) if each.name == package)
    return _quoted([next(needed, Requirement(package))])


def cause_of(error: str) -> str:
    """Return the installed package from whose module the error of another one came; "" where it is its own, or not known."""
    module = found[1] if (found := _CAUSE.match(error)) else ""
    packages = [module.replace("_", "-"), *(package for package, shown_by in MODULES.items() if shown_by == module)]
    return next((each for each in packages if module and installed(each)), "")


def needed_of(extra: str) -> list[Requirement]:
    """Return what an extra needs on this machine, of any ONNX Runtime the one that is here; of "" what is always needed."""
    found = []
    for each in map(Requirement, requires("avizor") or []):
        is_always = each.marker is None or each.marker.evaluate({"extra": ""})
        if is_always if not extra else not is_always and each.marker and each.marker.evaluate({"extra": extra}):
            runtimes = installed_runtimes() if each.name in RUNTIMES else []
            each.name = runtimes[0] if runtimes else each.name
            found.append(each)
    return found


def modules_to_load() -> list[str]:
    """Return the module of each installed package, but of the engines, and of those that are not loaded."""
    needed = [each.name for extra in ("", *EXTRAS) for each in needed_of(_parts(extra))]
    apart = {*NOT_LOADED, *RUNTIMES, "openvino"}
    return list(dict.fromkeys(module_of(name) for name in needed if name not in apart and installed(name) is not None))


def package_findings(errors: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding for what is always needed, and for each extra. errors: why a module cannot be loaded."""
    told: dict[str, str] = {}
    yield _finding(ALWAYS, needed_of(""), "", "", errors, told)
    for extra, purpose in EXTRAS.items():
        install = INSTALL_RUNTIME if extra == "inference" else f"pip install 'avizor[{to_install(extra)}]'"
        yield _finding(extra, needed_of(_parts(extra)), purpose, install, errors, told)
    if len(both := installed_runtimes()) > 1:
        what = f"{' and '.join(both)} are both installed, and their files have the same names"
        yield Finding("onnxruntime", "wrong", what, runtime_again())


def _parts(extra: str) -> str:
    """Return the extra that has the same packages without an engine, which has a line of its own."""
    return WITHOUT_ENGINE.get(extra, extra)


def _finding(
    name: str,
    needed: Sequence[Requirement],
    purpose: str,
    install: str,
    errors: Mapping[str, str],
    told: dict[str, str],
) -> Finding:
    """Return what was found of an extra. told: package -> the finding that has told its fault; those of this one join it."""
    needed = sorted(needed, key=lambda each: each.name not in NOT_LOADED)  # torch is what people look for
    versions = {each.name: installed(each.name) for each in needed}
    is_needed, details = name == ALWAYS, {"packages": versions}
    faults = {each: fault for each in needed if (fault := _fault(each, errors))}
    if faults:
        what = ": ".join(filter(None, [purpose, ", ".join(faults.values())]))
        below = _below(purpose, faults, errors, told)
        told |= {each.name: name for each in faults if each.name not in told}
        return Finding(name, "wrong", what, f"pip install --force-reinstall {_quoted(faults)}", is_needed, details, below)
    missing = [package for package, number in versions.items() if number is None]
    if missing:
        lacks = f"lacks {named(missing)}" if is_needed or len(missing) < len(versions) else ""
        what = ": ".join(filter(None, [purpose, lacks]))
        install = install or f"pip install {_quoted(each for each in needed if each.name in missing)}"
        return Finding(name, "wrong" if is_needed else "absent", what, install, is_needed, details)
    here = named([f"{package} {number}".strip() for package, number in versions.items()])
    unproven = [package for package in versions if package in NOT_LOADED]
    seen = f" (not loaded: {', '.join(unproven)})" if unproven else ""
    return Finding(name, "ok", ": ".join(filter(None, [purpose, here])) + seen, "", is_needed, details)


def _below(purpose: str, faults: Mapping[Requirement, str], errors: Mapping[str, str], told: Mapping[str, str]) -> str:
    """Return the faults of an extra in words, each once: not again what was told, nor what another package is the cause of."""
    words, anew = [], dict[str, None]()
    names = [each.name for each in faults]
    for each, fault in faults.items():
        cause = cause_of(errors.get(module_of(each.name), ""))
        if each.name in told:
            words.append(f"{each.name} (see `{told[each.name]}` above)")
        elif cause not in ("", each.name) and errors.get(module_of(cause)) and "cannot be loaded" in fault:
            words.append(f"{each.name} cannot be loaded without {cause}")
            if cause not in told and cause not in names:
                anew[_in_range(cause)] = None
        else:
            words.append(fault)
            anew[_quoted([each])] = None
    remedy = f"pip install --force-reinstall {' '.join(anew)}" if anew else ""
    return "; ".join(filter(None, [": ".join(filter(None, [purpose, ", ".join(words)])), remedy]))


def _quoted(needed: Iterable[Requirement]) -> str:
    """Return packages with their ranges, as `pip install` takes them."""
    inner = {each: f"[{','.join(sorted(each.extras))}]" if each.extras else "" for each in needed}
    return " ".join(f"'{each.name}{extras}{each.specifier}'" for each, extras in inner.items())


def _fault(needed: Requirement, errors: Mapping[str, str]) -> str:
    """Return what is wrong with an installed package; "" for nothing, and for one that is not installed."""
    number = installed(needed.name)
    if number is None:
        return ""
    with suppress(InvalidVersion):  # one that tells no version is taken for the right one
        if number and not needed.specifier.contains(Version(number), prereleases=True):
            return f"{needed.name} {number} is installed, and avizor needs {needed.specifier}"
    error = errors.get(module_of(needed.name))
    return f"{f'{needed.name} {number}'.strip()} cannot be loaded ({error})" if error else ""
