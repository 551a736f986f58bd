"""Find what a call of Explain asks of a model: how its maps are computed, and what each costs. Checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.base import Engine
from avizor_inference.error_text import named
from avizor_inference.errors import InvalidInput, NotExplainable
from avizor_inference.explain.error_map import error_map
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.hiding.settings import By, HidingSettings, chosen_fill
from avizor_inference.explain.occlusion import occlusion_map, rows_of_map
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import TableInput
from avizor_service.catalogue import OpenVersion

if TYPE_CHECKING:
    from avizor_inference.explain.cam import ClassHead

_BY: dict[int, By | None] = {
    pb.OCCLUSION_BY_UNSPECIFIED: None,
    pb.OCCLUSION_BY_TIME: "time",
    pb.OCCLUSION_BY_FREQUENCY: "frequency",
    pb.OCCLUSION_BY_BOTH: "both",
}


@dataclass(frozen=True)
class MapPlan:
    """Says how one map is computed: `make(engine, row, target)`, which runs so many `rows` of the model.

    target: the place of a class, None for the most probable one of a row, and for an autoencoder.
    """

    method: pb.ExplanationMethod
    rows: int
    make: Callable[[Engine, RawRow, int | None], HeatMap]
    target: int | None


def map_plan(model: OpenVersion, request: pb.ExplainRequest) -> MapPlan:
    """Return how the maps of a request are computed. It may read the graph of the model, so it is for a thread.

    Raises InvalidInput, naming the field, for what is not for the model or the method; NotExplainable, VersionRefused.
    """
    classifies = model.manifest.task == "classify"
    target = _target(model, request.label)
    method = request.method or _suitable(model)
    if request.HasField("occlusion") and method != pb.EXPLANATION_METHOD_OCCLUSION:
        raise InvalidInput(
            f"settings of occlusion are given, and the method is {name_of(method)}; leave them out, or ask for OCCLUSION",
            field="occlusion",
        )
    if method == pb.EXPLANATION_METHOD_OCCLUSION:
        settings, rows = _occlusion(model, request.occlusion)
        return MapPlan(method, rows, partial(_occluded, model, settings), target)
    if method == pb.EXPLANATION_METHOD_CAM:
        if not classifies:
            raise InvalidInput(
                f"model {model.version.name!r} is an autoencoder, and a class activation map is of a classifier; ask for "
                "ERROR_MAP or OCCLUSION",
                field="method",
            )
        return MapPlan(method, 1, partial(_class_map, model, _head(model)), target)
    if classifies:
        raise InvalidInput(
            f"model {model.version.name!r} is a classifier, and an error map is of an autoencoder; ask for CAM or OCCLUSION",
            field="method",
        )
    return MapPlan(method, 1, partial(_error_map, model), target)


def name_of(method: int) -> str:
    """Return the name of a method without that of its type."""
    return pb.ExplanationMethod.Name(method).removeprefix("EXPLANATION_METHOD_")


def _suitable(model: OpenVersion) -> pb.ExplanationMethod:
    if model.manifest.task != "classify":
        return pb.EXPLANATION_METHOD_ERROR_MAP
    try:
        _head(model)
    except NotExplainable:
        return pb.EXPLANATION_METHOD_OCCLUSION
    return pb.EXPLANATION_METHOD_CAM


def _head(model: OpenVersion) -> ClassHead:
    """Return the head of a classifier. Raises NotExplainable."""
    if isinstance(model.manifest.input, TableInput):
        raise NotExplainable(f"model {model.version.name!r} takes rows of a table, which have no places; ask for OCCLUSION")
    return model.class_head()


def _target(model: OpenVersion, label: str) -> int | None:
    """Return the place of a class; None for the most probable one, and for an autoencoder. Raises InvalidInput."""
    if model.manifest.task != "classify":
        if label:
            raise InvalidInput(
                f"model {model.version.name!r} is an autoencoder, which has no classes; leave out the label", field="label"
            )
        return None
    labels = model.manifest.labels or ()
    if not label:
        return None
    if label not in labels:
        raise InvalidInput(
            f"model {model.version.name!r} has no class {label[:100]!r}; it has {named(labels, 20)}", field="label"
        )
    return labels.index(label)


def _occlusion(model: OpenVersion, wanted: pb.OcclusionSettings) -> tuple[HidingSettings, int]:
    """Return the settings, and the rows that one map costs. Raises InvalidInput."""
    if wanted.by not in _BY:
        raise InvalidInput(f"by {wanted.by} is not known; see OcclusionBy", field="occlusion.by")
    settings = HidingSettings(tuple(wanted.size), tuple(wanted.stride), wanted.fill or None, _BY[wanted.by])
    spec = model.manifest.input
    try:
        chosen_fill(spec, settings.fill)
        return settings, rows_of_map(spec, settings)
    except InvalidInput as error:
        raise InvalidInput(str(error), field="occlusion") from error


def _occluded(model: OpenVersion, settings: HidingSettings, engine: Engine, row: RawRow, target: int | None) -> HeatMap:
    return occlusion_map(engine, model.version, row, settings, target)


def _class_map(model: OpenVersion, head: ClassHead, engine: Engine, row: RawRow, target: int | None) -> HeatMap:
    from avizor_inference.explain.cam import class_maps  # loads onnx

    (only,) = class_maps(engine, model.version, [row], target, head)
    return only


def _error_map(model: OpenVersion, engine: Engine, row: RawRow, _target: int | None) -> HeatMap:
    return error_map(engine, model.version, row)
