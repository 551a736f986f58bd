"""Define `avizor doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec

import click

from avizor_cli.doctor.engines import ENGINES, openvino_findings, ort_findings, triton_finding
from avizor_cli.doctor.finding import Finding
from avizor_cli.doctor.machine import Machine, look_at_machine
from avizor_cli.doctor.packages import installed, modules_to_load, package_findings
from avizor_cli.doctor.surroundings import look_around
from avizor_cli.doctor.tries import Tried, load_errors
from avizor_inference.engines.triton_address import SCHEME, triton_address
from avizor_inference.error_text import printable_lines

_EXAMPLES = """\b
Examples:
  avizor doctor
  avizor doctor --engine triton://127.0.0.1:8001
  avizor doctor --engine openvino:bf16 --json
"""
_NEXT = "`avizor models check --models FOLDER` verifies the files of a model repository."


@click.command(short_help="Say which engines and extras are here, and why not the others.", epilog=_EXAMPLES)
@click.option(
    "--engine",
    metavar="ENGINE",
    default="",
    help="Fail unless this one works: `ort`, `openvino`, `openvino:bf16`, or triton://HOST:8001, which is asked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def doctor(engine: str, as_json: bool) -> None:
    """Say which engines and extras are here, and why not the others: what is missing, too old, or cannot be loaded.

    Each engine computes a small model, on the CPU and on a GPU. Packages are loaded, except torch, torchvision and ray,
    which take seconds. `absent` is no fault, and `WRONG` is one. Exit code 1 if what is always needed does not work, if ONNX
    Runtime is installed and does not compute, or if --engine does not work.
    """
    address = _address(engine)
    with ExitStack() as stack:
        ort, openvino = (
            stack.enter_context(Tried(name)) if find_spec(module) else None
            for name, module in (("ort", "onnxruntime"), ("openvino", "openvino"))
        )
        triton = stack.enter_context(Tried("triton", address)) if address else None
        machine = look_at_machine()
        errors = load_errors(modules_to_load())
        engines = [
            *ort_findings(ort, engine),
            *openvino_findings(openvino, engine),
            triton_finding(triton, address, installed("tritonclient") or ""),
        ]
        for module, tried in (("onnxruntime", ort), ("openvino", openvino)):
            errors[module] = tried.answer("version").get("error", "") if tried else ""
    groups = {"engines": engines, "packages": list(package_findings(errors)), "surroundings": look_around()}
    failures = [each.name for group in groups.values() for each in group if each.is_failure]
    if as_json:
        _print_json(machine, groups, failures)
    else:
        _print_text(machine, groups, failures)
    if failures:
        sys.exit(1)


def _address(engine: str) -> str:
    """Return host:port of the Triton that is to be asked; "" for an engine here, and for none. Raises SettingsError."""
    if engine.startswith(f"{SCHEME}://"):
        return triton_address(engine)
    if engine and engine not in ENGINES:
        wrong = f"{engine!r} is not known; use {', '.join(map(repr, ENGINES))}, or 'triton://HOST:8001' with Triton's gRPC port"
        raise click.BadParameter(wrong, param_hint="--engine")
    return ""


def _print_json(machine: Machine, groups: Mapping[str, Sequence[Finding]], failures: Sequence[str]) -> None:
    shown = {name: [_fields(each) for each in group] for name, group in groups.items()}
    click.echo(json.dumps({"ok": not failures, "failures": failures, "machine": asdict(machine), **shown}, indent=2))


def _fields(finding: Finding) -> dict[str, object]:
    fields = {"name": finding.name, "state": finding.state, "what": finding.what, "remedy": finding.remedy}
    return fields | {key: value for key, value in finding.details.items() if key != "error"}


def _print_text(machine: Machine, groups: Mapping[str, Sequence[Finding]], failures: Sequence[str]) -> None:
    lines = machine.lines()
    width = max(len(each.name) for group in groups.values() for each in group)
    for name, group in groups.items():
        lines += ["", name.capitalize()]
        lines += [
            f"  {each.name:{width}}  {_STATES.get(each.state, each.state):9}  {each.below or each.text}" for each in group
        ]
    lines += ["", _NEXT]
    if failures:
        lines.append(f"What has to be mended first: {', '.join(failures)}.")
    click.echo(printable_lines("\n".join(lines)))


_STATES = {"wrong": "WRONG"}
