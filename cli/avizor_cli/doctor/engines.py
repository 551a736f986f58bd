"""Say which engines compute here, and why the others do not: each is tried with a small model."""

from __future__ import annotations

import os
import re
from typing import Any

from avizor_cli.doctor.finding import Finding, State
from avizor_cli.doctor.packages import INSTALL_RUNTIME, RUNTIMES, again, cause_of, installed_runtimes, runtime_again
from avizor_cli.doctor.tries import Tried
from avizor_inference.error_text import counted

# What a gateway says as its name (avizor_service/open_inference/describe.py).
_GATEWAY = "avizor"

ENGINES = ("ort", "openvino", "openvino:bf16")

_WITHOUT_GPU = "choose the CPU by name (--device cpu)"

# What ONNX Runtime's log says of a library that CUDA needs: `... with error: libcudnn.so.9: cannot open shared object file`.
_LIBRARY = re.compile(r" with error: (?:\S*/)?(\S+: [^\n\x1b]+)")


def ort_findings(tried: Tried | None, asked: str) -> list[Finding]:
    """Return what was found of ONNX Runtime on the CPU, and on a GPU. tried: its steps; None if it is not installed.

    asked: the engine that has to work.
    """
    if tried is None:
        return [Finding("ort", "absent", "ONNX Runtime is not installed", INSTALL_RUNTIME, is_needed=asked == "ort")]
    answers = {step: tried.answer(step) for step in ("version", "cpu", "gpus", "cuda")}
    about = {key: value for each in answers.values() for key, value in each.items() if key != "error"}
    runtime = f"ONNX Runtime {about.get('version', '')}".strip()
    if error := answers["version"].get("error") or answers["cpu"].get("error"):
        mend = _other_again(error, "onnxruntime") or runtime_again()
        return [Finding("ort", "wrong", f"{runtime} does not run: {error}", mend, is_needed=True, details=about)]
    here = Finding("ort", "ok", f"{runtime} computes on the CPU", is_needed=True, details=about)
    return [here, _cuda(answers["gpus"], answers["cuda"].get("error", ""), tried.log)]


def _cuda(seen: dict[str, Any], error: str, log: str) -> Finding:
    """Return what was found of the GPU. seen: providers of ONNX Runtime, and how many GPUs the driver shows."""
    name = "ort on a GPU"
    if failed := seen.get("error"):
        return Finding(name, "wrong", f"whether there is a GPU cannot be told: {failed}", _WITHOUT_GPU, is_needed=True)
    gpus = seen["gpus"]
    if gpus is None:
        return Finding(name, "absent", "there is no NVIDIA driver here")
    if not gpus:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES is {hidden!r})"
        return Finding(name, "absent", f"the NVIDIA driver shows no GPU to this process{why}")
    if "CUDAExecutionProvider" not in seen["providers"]:
        other = f"pip uninstall {' '.join(found)}, then " if (found := installed_runtimes()) else ""
        install = f"{other}pip install 'avizor[inference]'"
        return Finding(name, "absent", f"the driver shows {counted(gpus, 'GPU')}, and this ONNX Runtime has no CUDA", install)
    if error:
        library = _LIBRARY.search(log)
        remedy = f"pip install 'onnxruntime-gpu[cuda,cudnn]', or {_WITHOUT_GPU}"
        return Finding(name, "wrong", f"CUDA does not run: {library[1].strip() if library else error}", remedy, is_needed=True)
    return Finding(name, "ok", f"CUDA computes on the first of {counted(gpus, 'GPU')}", is_needed=True)


def openvino_findings(tried: Tried | None, asked: str) -> list[Finding]:
    """Return what was found of OpenVINO in each precision. tried, asked: see ort_findings."""
    if tried is None:
        what, install = "OpenVINO is not installed", "pip install 'avizor[openvino]'"
        return [Finding(name, "absent", what, install, is_needed=asked == name) for name in ENGINES[1:]]
    loaded, fp32, bf16 = (tried.answer(step) for step in ("version", "fp32", "bf16"))
    runtime = f"OpenVINO {str(loaded.get('version', '')).partition('-')[0]}".strip()
    found = []
    for name, answer in zip(ENGINES[1:], (fp32, bf16), strict=True):
        state: State = "ok"
        what, remedy = f"{runtime} computes on the CPU{' in bf16' if answer is bf16 else ''}", ""
        if error := loaded.get("error") or answer.get("error"):
            state, what, remedy = (
                "wrong",
                f"{runtime} does not run: {error}",
                _other_again(error, "openvino") or again("openvino"),
            )
        elif answer.get("lacks_bf16"):
            state, what = "absent", "this processor has no instructions for bf16"
        found.append(Finding(name, state, what, remedy, is_needed=asked == name, details=loaded))
    return found


def _other_again(error: str, engine: str) -> str:
    """Return how to install the package anew that an engine cannot be loaded without; "" where the error is its own."""
    cause = cause_of(error)
    return again(cause) if cause not in ("", engine, *RUNTIMES) else ""


def triton_finding(tried: Tried | None, address: str, client: str) -> Finding:
    """Return what a Triton says of itself. tried: its steps; None if no server is asked. client: version of tritonclient."""
    if tried is None:
        how = "avizor doctor --engine triton://HOST:8001 asks a server"
        return Finding("triton", "not asked", f"tritonclient {client} is installed", how)
    server, models = tried.answer("server"), tried.answer("models")
    details = server | models
    if error := server.get("error"):
        remedy = "start it, or see whether gRPC reaches it at that port (8001 unless it was told another)"
        return Finding("triton", "wrong", f"no Triton answers at {address}: {error}", remedy, is_needed=True, details=details)
    is_gateway = server["server"] == _GATEWAY
    who = f"{'no Triton, but the gateway of Avizor' if is_gateway else server['server']} {server['version']} at {address}"
    if not (server["live"] and server["ready"]):
        is_live = "is live, and not ready" if server["live"] else "says that it is not live"
        return Finding("triton", "wrong", f"{who} {is_live}", "see its log", is_needed=True, details=details)
    return Finding("triton", "ok", f"{who} is ready; {_served(models)}", is_needed=True, details=details)


def _served(answer: dict[str, Any]) -> str:
    """Return in words which models a server has loaded, and which it could not load."""
    if error := answer.get("error"):
        return f"it does not say which models it has ({error})"
    ready = [f"{each['name']} {each['version']}" for each in answer["models"] if each["state"] == "READY"]
    failed = [
        f"{each['name']} {each['version']} is not loaded ({each['reason']})"
        for each in answer["models"]
        if each["state"] != "READY" and each["reason"] not in ("", "unloaded")
    ]
    return "; ".join([f"it serves {', '.join(ready)}" if ready else "it serves no model", *failed])
