"""Write maps and their curves as files, and say in a line what they show."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from avizor_inference.durable_files import make_folder, write_bytes
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_inference.explain.curves import Curves
from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.explain.map_files import about, areas, write_npz
from avizor_inference.items.input_spec import InputSpec

Judged = tuple[HeatMap, Curves | None]

_LONGEST_PART = 60  # characters of a name of files
# Of a map of a score: if hiding makes it rise by so many times what it makes it fall, the fill is what the model finds odd.
_ODD_FILL = 2.0


def name_of_maps(model: str, version: int | None = None, *chosen: str | None) -> str:
    """Return what tells the maps of a command from others in the same folder: the model, and what was chosen for them."""
    parts = [model if version is None else f"{model}-{version}", *filter(None, chosen)]
    return ".".join(re.sub(r"[^\w-]+", "_", part)[:_LONGEST_PART] for part in parts)


class MapOutput:
    """Writes the maps of items into a folder, as ITEM.NAME.KIND.png and .npz; items of the same name get numbers.

    name: see `name_of_maps`. spec: of the model's input; None if the pictures come with the maps.
    """

    def __init__(self, folder: Path, name: str, spec: InputSpec | None, *, as_json: bool) -> None:
        self._folder, self._name, self._spec, self._as_json = folder, name, spec, as_json
        self._used: set[str] = set()
        try:
            make_folder(folder)
        except OSError as error:
            raise SettingsError(f"{folder}: cannot be made ({reason(error)}); name another folder with --out") from error

    def write(self, maps: Sequence[Judged], png: bytes | None = None) -> None:
        """Write the maps of one row: the numbers of each as .npz, and one picture of all side by side; and of their curves.

        png: the picture, if it is drawn already. Print what they show. Raises SettingsError if a file cannot be written, or
        without matplotlib.
        """
        found = maps[0][0]
        stem = self._stem(found)
        name = f"{stem}.{found.kind if len(maps) == 1 else 'compare'}"
        try:
            numbers = [self._numbers(stem, *each) for each in maps]
            pictures = self._pictures(name, maps) if png is None else [self._picture(name, png)]
        except OSError as error:
            raise SettingsError(
                f"{self._folder}: cannot be written ({reason(error)}); free some space, or name another folder"
            ) from error
        for (each, judged), path in zip(maps, numbers, strict=True):
            files = [str(path), *map(str, pictures)]
            click.echo(json.dumps(_summary(each, judged, files)) if self._as_json else _line(each, judged))
            if _is_fill_odd(each):
                why = "hiding parts makes the score rise: what is put there is odd to the model; try another --fill"
                click.echo(f"{each.row.item}: {why}", err=True)
        if not self._as_json:
            click.echo(f"  written: {', '.join(map(str, (*pictures, *numbers)))}")

    def _stem(self, found: HeatMap) -> str:
        stem = Path(found.row.item).stem + (f"-{found.row.index}" if found.row.index else "")
        number, unique = 1, stem
        while unique in self._used:
            number += 1
            unique = f"{stem}.{number}"
        self._used.add(unique)
        return f"{unique}.{self._name}"

    def _numbers(self, stem: str, found: HeatMap, judged: Curves | None) -> Path:
        path = self._folder / f"{stem}.{found.kind}.npz"
        write_npz(path, found, judged, model=self._name)
        return path

    def _picture(self, name: str, png: bytes) -> Path:
        path = self._folder / f"{name}.png"
        write_bytes(path, png)
        return path

    def _pictures(self, name: str, maps: Sequence[Judged]) -> list[Path]:
        from avizor_inference.explain.pictures.curves import draw_curves
        from avizor_inference.explain.pictures.figure import write_png
        from avizor_inference.explain.pictures.maps import draw_maps

        assert self._spec is not None, "pictures do not come with the maps"
        paths = [self._folder / f"{name}.png"]
        write_png(draw_maps([found for found, _ in maps], self._spec), paths[0])
        if with_curves := [(found, judged) for found, judged in maps if judged]:
            paths.append(self._folder / f"{name}.curves.png")
            write_png(draw_curves(with_curves), paths[1])
        return paths


def _summary(found: HeatMap, judged: Curves | None, files: list[str]) -> dict[str, Any]:
    """Return a map as JSON: what it is about, where it is highest, and the areas below its curves."""
    row, column = _highest(found)
    highest = {"value": float(found.values[row, column]), "y": _edges(found.y, row), "x": _edges(found.x, column)}
    curves = {"curves": areas(judged), "curves_fill": judged.fill} if judged else {}
    return {**about(found), "highest": highest, **curves, "files": files}


def _line(found: HeatMap, judged: Curves | None) -> str:
    row, column = _highest(found)
    axes = [("y", found.y, row), ("x", found.x, column)]
    named = found.y.unit == found.x.unit  # or the units tell them apart
    places = [
        f"{name} {_place(axis, index)}" if named and not axis.names else _place(axis, index)
        for name, axis, index in axes
        if len(axis.edges) > 2 or axis.names
    ]
    item = found.row.item + (f", {'window' if found.row.span else 'row'} {found.row.index}" if found.row.index else "")
    settings = ", ".join(f"{name} {text}" for name, text in found.settings.items())
    target = f"{found.target_unit} {found.target_value:.4g}"
    line = f"{item}: {found.kind} of {target if found.target == 'score' else f'{found.target} ({target})'}"
    line += f"; at most {found.values[row, column]:.4g} at {', '.join(places) or 'its only place'}"
    if settings:
        line += f" ({settings})"
    if judged:
        both = (("deletion", judged.deletion, judged.random_deletion), ("insertion", judged.insertion, judged.random_insertion))
        line += "".join(f"\n  area of {name}: {own.auc:.3f}, in random order {chance.auc:.3f}" for name, own, chance in both)
    return line


def _is_fill_odd(found: HeatMap) -> bool:
    """Return whether a map of what hiding does to a score says more about what is put there than about the item."""
    return found.kind == "occlusion" and found.target_unit == "score" and -found.values.min() > _ODD_FILL * found.values.max()


def _highest(found: HeatMap) -> tuple[int, int]:
    row, column = np.unravel_index(int(found.values.argmax()), found.values.shape)
    return int(row), int(column)


def _place(axis: Axis, index: int) -> str:
    if axis.names:
        return axis.names[index]
    begin, end = _edges(axis, index)["from"], _edges(axis, index)["to"]
    return f"{begin:.4g} to {end:.4g} {axis.unit}".strip()


def _edges(axis: Axis, index: int) -> dict[str, Any]:
    if axis.names:
        return {"name": axis.names[index]}
    return {"from": float(axis.edges[index]), "to": float(axis.edges[index + 1]), "unit": axis.unit}
