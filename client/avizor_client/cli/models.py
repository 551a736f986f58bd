"""Define `avizor call models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from avizor_client.answers import Model
from avizor_client.cli.connection_options import connection_options
from avizor_client.cli.output import counted, print_json, print_line, width


@click.command(short_help="The models of a gateway.")
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each model, one a line, with all of it.")
@connection_options
def models(names: tuple[str, ...], as_json: bool, connect: Callable[[], Any]) -> None:
    """Print what a gateway serves: all models, or those called NAMES; and what else it has, and why it does not serve that."""
    with connect() as client:
        found = [client.model(name) for name in names] if names else client.models()
        refused = [each for each in client.refused() if not names or each.name in names]
    if as_json:
        for each in (*found, *refused):
            print_json(vars(each))
        return
    rows = [[model.name, str(model.version), model.task, model.input_kind, _input(model), _answers(model)] for model in found]
    header = ["name", "version", "task", "input", "of", "answers"]
    widths = [width(column) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print_line(row, widths)
    for each in refused:
        state = "served, but not all that is new" if each.is_served else "not served"
        version = f" version {each.version}" if each.version else ""
        print_line([f"{state}: {each.name}{version}: {each.reason}"])


def _input(model: Model) -> str:
    """Return the size of an item, in the terms of its kind."""
    given = model.input
    if model.input_kind == "image":
        return f"{given['height']} x {given['width']} x {given['channels']}"
    if model.input_kind == "table":
        return counted(len(given["columns"]), "column")
    if model.input_kind == "tensor":
        return f"{given['dtype']}[{', '.join(map(str, given.get('shape', ())))}]"
    rate = given.get("sample_rate")
    return f"{given['window_samples']} samples" + (f" at {rate:g} Hz" if rate else "")


def _answers(model: Model) -> str:
    if model.labels:
        return f"{len(model.labels)} classes"
    if model.calibrations:
        normal = sum(model.calibrations[0].recordings.values())
        return f"verdicts, from {counted(normal, 'normal item')}"
    return "no calibration"
