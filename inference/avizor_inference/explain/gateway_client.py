"""Ask a gateway for maps of a user's files: Explain of avizor.v1. Needs the extra `client` for google.rpc."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_inference.arrays import Array, Items
from avizor_inference.error_text import counted, reason
from avizor_inference.errors import InvalidInput, MediaError, SettingsError
from avizor_inference.explain.heat_map import Axis, HeatMap, Kind
from avizor_inference.explain.hiding.settings import By, HidingSettings
from avizor_inference.explain.raw_rows import RawRow, read_rows
from avizor_inference.gateway_connection import GatewayAddress, GatewayConnection
from avizor_inference.items.data.arrays import open_array
from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.kinds.base import Span
from avizor_inference.no_connection import NO_GATEWAY

_METHODS: dict[Kind, pb.ExplanationMethod] = {
    "cam": pb.EXPLANATION_METHOD_CAM,
    "occlusion": pb.EXPLANATION_METHOD_OCCLUSION,
    "error_map": pb.EXPLANATION_METHOD_ERROR_MAP,
}
_BY: dict[By | None, pb.OcclusionBy] = {
    None: pb.OCCLUSION_BY_UNSPECIFIED,
    "time": pb.OCCLUSION_BY_TIME,
    "frequency": pb.OCCLUSION_BY_FREQUENCY,
    "both": pb.OCCLUSION_BY_BOTH,
}
# Inputs of which a file is an item. The fields of Model and of Item have the same names.
_FILES = ("image", "audio", "signal")
# How a gateway says that it draws no picture, and what the command can do then.
_NOT_DRAWN = "pictures need matplotlib", "the picture is not drawn"
_DRAWN_HERE = "with --models in place of --gateway it is drawn here"


@dataclass(frozen=True)
class Wanted:
    """Says what a map is asked for: which kind, of which version of a model; None for its newest.

    label: of a class; None for the most probable one, and of an autoencoder. hiding: of `occlusion`.
    """

    kind: Kind
    model: str
    version: int | None = None
    label: str | None = None
    hiding: HidingSettings = field(default_factory=HidingSettings)

    def request(self) -> pb.ExplainRequest:
        """Return the request, without items."""
        request = pb.ExplainRequest(
            model=self.model,
            version=self.version or 0,
            method=_METHODS[self.kind],
            label=self.label or "",
            format=pb.EXPLANATION_FORMAT_BOTH,
        )
        if self.kind == "occlusion":
            hiding = self.hiding
            fill = "" if hiding.fill is None else str(hiding.fill)
            request.occlusion.CopyFrom(
                pb.OcclusionSettings(size=hiding.size, stride=hiding.stride, fill=fill, by=_BY[hiding.by])
            )
        return request


class GatewayClient(GatewayConnection):
    """Asks one gateway. Close it, or use it as a context manager. Raises SettingsError for files that cannot be read."""

    def __init__(self, gateway: GatewayAddress) -> None:
        super().__init__(gateway)
        self._models: dict[tuple[str, int], pb.Model] = {}

    def map(self, wanted: Wanted, path: Path, number: int | None) -> tuple[HeatMap, bytes]:
        """Return the map of one window, or one row, of a file, and its picture as PNG.

        number: of the window or row, from 0; None for the window in which the class is the most probable, or the score the
        highest, and for the only row of a file of rows. The row of the map has no values: they stay at the gateway. Raises
        SettingsError if the call fails, InvalidInput for the item, MediaError for its file, and what read_rows raises.
        """
        model = self._model(wanted)
        request = wanted.request()
        is_file = path.suffix.lower() != ".npy" and model.WhichOneof("input") in _FILES
        request.items.append(_file(path, model) if is_file else _row(path, number, model))
        if is_file and number is not None:
            request.window = number
        try:
            answer = self.call(self.stub.Explain, request)
        except SettingsError as error:
            raise SettingsError(_with_advice(str(error))) from error
        try:
            (found,) = answer.items
            if found.HasField("error"):
                raise InvalidInput(f"{path}: {_with_advice(found.error.message)}")
            return _heat_map(found, wanted.kind, path, found.window if is_file else number or 0, model), found.png
        except (TypeError, ValueError) as error:
            raise self._not_understood(str(error)) from error

    def _model(self, wanted: Wanted) -> pb.Model:
        key = wanted.model, wanted.version or 0
        if key not in self._models:
            model = self.call(self.stub.GetModel, pb.GetModelRequest(name=key[0], version=key[1]))
            if model.WhichOneof("input") is None:
                raise self._not_understood("it does not say what the model takes")
            self._models[key] = model
        return self._models[key]

    def _not_understood(self, why: str) -> SettingsError:
        return SettingsError(f"the answer of {self.address} cannot be understood: {why}; {NO_GATEWAY}")


def _with_advice(said: str) -> str:
    return f"{said}; {_DRAWN_HERE}" if any(each in said for each in _NOT_DRAWN) else said


def _file(path: Path, model: pb.Model) -> pb.Item:
    item = pb.Item(source=path.name)
    try:
        setattr(item, str(model.WhichOneof("input")), path.read_bytes())
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({reason(error)}); name another file") from error
    return item


def _row(path: Path, number: int | None, model: pb.Model) -> pb.Item:
    """Return one row of a table, or of a .npy file, as a tensor; number None: its only one."""
    kind = model.WhichOneof("input")
    if path.suffix.lower() == ".npy":
        values = _at(open_array(path), number, path)
    elif kind == "table":
        values = _at([row.values for row in read_rows(path, _table(model.table))], number, path)
    else:
        raise InvalidInput(f"{path}: a file is not one item of a model that takes {kind}; give a .npy file of its raw items")
    source = path.name + (f", row {number}" if kind == "table" and number else "")
    tensor = pb.Tensor(dtype=values.dtype.name, shape=values.shape, data=np.ascontiguousarray(values).tobytes())
    return pb.Item(source=source, tensor=tensor)


def _at(rows: Any, number: int | None, path: Path) -> Items:
    if number is None and len(rows) > 1:
        raise InvalidInput(f"{path} has {len(rows)} rows, and a gateway explains one; name it with --row N, from 0")
    if (number or 0) >= len(rows):
        raise InvalidInput(f"{path} has {counted(len(rows), 'row')}, numbered from 0; there is no {number or 0}")
    values: Items = np.asarray(rows[number or 0])
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def _table(table: pb.TableInput) -> TableInput:
    """Return a description of the columns that is enough to read rows: what is done to them after that is in the graph."""
    columns = tuple(
        CategoryColumn(name=each.name, categories=tuple(each.categories)) if each.categories else NumberColumn(name=each.name)
        for each in table.columns
    )
    return TableInput(front_end=TableFrontEnd(columns=columns))


def _heat_map(found: pb.Explanation, kind: Kind, path: Path, number: int, model: pb.Model) -> HeatMap:
    span = Span(found.span.channel, found.span.start_sample, found.span.end_sample - found.span.start_sample)
    arrays = {name: _array(each) for name, each in found.class_numbers.items()}
    return HeatMap(
        kind=kind,
        row=RawRow(str(path), number, np.empty(0), span if span.length else None),
        target=found.label or "score",
        target_value=found.value,
        target_unit=found.value_unit,  # type: ignore[arg-type]  # one of the three, as the contract says
        values=_array(found.map).astype(np.float32, copy=False),
        y=_axis(found.y),
        x=_axis(found.x),
        settings=dict(sorted(found.settings.items())),
        arrays=({"labels": np.array(model.labels)} if arrays else {}) | arrays,
    )


def _array(tensor: pb.Tensor) -> Array:
    values: Array = np.frombuffer(tensor.data, np.dtype(tensor.dtype).newbyteorder("<"))
    return values.reshape(tuple(tensor.shape))


def _axis(axis: pb.MapAxis) -> Axis:
    return Axis(np.array(axis.edges), axis.unit, tuple(axis.names))  # type: ignore[arg-type]
