"""Answer Explain with where in each item a model looks: a map, a picture of it, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.base import Engine
from avizor_inference.errors import AnswerTooLarge, InvalidInput, MediaError, NotExplainable, RequestError
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.explain.telling_row import telling_row
from avizor_inference.items.decode import Item
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.catalogue import OpenVersion
from avizor_service.drawing.drawer import Drawer, require_matplotlib
from avizor_service.engine_turns import EngineTurns
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem
from avizor_service.map_plans import MapPlan, map_plan
from avizor_service.newest import by_newest
from avizor_service.status import item_status

_PICTURES = (pb.EXPLANATION_FORMAT_PNG, pb.EXPLANATION_FORMAT_BOTH)

# Pictures of one call. Each takes a fraction of a second, in which nothing else is drawn.
_MOST_PICTURES = 64

# Characters of a source that are written over a picture.
_LONGEST_NAME = 60


@by_newest
async def explain(gateway: Gateway, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:
    """Return a map of one window of each item. An item that cannot be explained has an error instead.

    Raises InvalidInput, before anything runs, for what the model cannot be asked, or what would cost too much; GatewayFull if
    as many explanations are computed as may be; SettingsError for pictures without matplotlib; NotExplainable.
    """
    _check(request)
    model = await gateway.open_model(call, request, None)
    with gateway.explanations.place(), gateway.inference.memory_of_call() as memory:
        engine = EngineTurns(gateway.inference, model, gateway.explanations.threads, call.time_remaining_s)
        if request.format in _PICTURES:
            require_matplotlib()
        plan = await engine.in_thread(map_plan, model, request)
        decoded = await gateway.inference.decode(memory, model, request.items, call.time_remaining_s)
        _check_cost(gateway, call, plan, decoded, chooses=not request.HasField("window"))
        answer, size = pb.ExplainResponse(model=call.model, version=model.version.version), 0
        for number, item in enumerate(decoded):
            try:
                message = await _explained(engine, gateway.explanations.drawer, plan, model, item, request, number)
            except (RequestError, MediaError, NotExplainable) as error:
                message = pb.Explanation(error=item_status(error, number))
            memory.take_answer(message.ByteSize())
            size += message.ByteSize()
            _check_answer(size, gateway.settings.max_answer_mib)
            answer.items.append(message)
        answer.rows = engine.rows
        return answer


def _check(request: pb.ExplainRequest) -> None:
    """Raise InvalidInput for what no model can be asked."""
    for field, kind in (("method", pb.ExplanationMethod), ("format", pb.ExplanationFormat)):
        if (number := getattr(request, field)) not in kind.values():
            raise InvalidInput(f"{field} {number} is not known; see {kind.DESCRIPTOR.name}", field=field)
    if request.window < 0:
        raise InvalidInput(f"window {request.window} is below 0; the first one is 0", field="window")
    if request.format in _PICTURES and len(request.items) > _MOST_PICTURES:
        raise InvalidInput(
            f"pictures of {len(request.items)} items are asked for; ask for at most {_MOST_PICTURES} in one call, or for "
            "numbers alone",
            field="items",
        )


def _check_cost(gateway: Gateway, call: Call, plan: MapPlan, decoded: Sequence[Item | BadItem], *, chooses: bool) -> None:
    """Raise InvalidInput if too many rows would be run, DeadlineExceeded if they would take too long.

    chooses: whether all windows of an item are run to choose one.
    """
    windows = [len(item.rows) for item in decoded if isinstance(item, Item)]
    maps, to_choose = len(windows), sum(count for count in windows if count > 1) if chooses else 0
    rows, most = to_choose + maps * plan.rows, gateway.settings.max_explain_rows
    if rows > most:
        parts = [f"{plan.rows} for each of {maps} maps"] + ([f"{to_choose} windows to choose from"] if to_choose else [])
        remedies = ["a larger stride"] * (plan.rows > 1) + ["one window"] * (to_choose > 0) + ["fewer items"] * (maps > 1)
        raise InvalidInput(
            f"the request would run {rows} rows of the model ({', and '.join(parts)}), and this gateway runs at most {most} "
            f"for a call (--max-explain-rows); ask for {' or '.join(remedies)}",
            field="occlusion" if plan.rows > 1 else "items",
        )
    gateway.inference.loads.check_time(call.model, rows, call.time_remaining_s())


async def _explained(
    engine: EngineTurns,
    drawer: Drawer,
    plan: MapPlan,
    model: OpenVersion,
    item: Item | BadItem,
    request: pb.ExplainRequest,
    number: int,
) -> pb.Explanation:
    """Return the message on one item. Raises what its decoder, or the computation of its map, has raised."""
    if isinstance(item, BadItem):
        return pb.Explanation(error=item_status(item.error, number))
    heat_map, message = await engine.in_thread(_map, engine, plan, model, item, request)
    if request.format in _PICTURES:
        named = replace(heat_map, row=replace(heat_map.row, item=name_over_picture(request.items[number], number)))
        message.png = await engine.in_thread(drawer.draw, named, model.manifest.input, engine.is_left)
    return message


def _map(
    engine: Engine, plan: MapPlan, model: OpenVersion, item: Item, request: pb.ExplainRequest
) -> tuple[HeatMap, pb.Explanation]:
    """Return the map of one window of an item, and the message on it. Run in a thread."""
    row, target = _row(engine, plan, model, item, request)
    heat_map = plan.make(engine, row, target)
    if plan.method == pb.EXPLANATION_METHOD_CAM and len(item.rows) > 1 and not request.HasField("window"):
        which = f"{row.index} of 0 to {len(item.rows) - 1}, where {heat_map.target} is the most probable"
        heat_map = replace(heat_map, settings={**heat_map.settings, "row": which})
    with_numbers = request.format != pb.EXPLANATION_FORMAT_PNG
    message = wire.explanation_message(heat_map, model.manifest.input, with_numbers=with_numbers)
    message.method = plan.method
    return heat_map, message


def _row(
    engine: Engine, plan: MapPlan, model: OpenVersion, item: Item, request: pb.ExplainRequest
) -> tuple[RawRow, int | None]:
    """Return the window of an item that is explained, and the class, None for the most probable one of it.

    All windows may have to be run for that. Raises InvalidInput.
    """
    rows = [RawRow("", place, *row) for place, row in enumerate(zip(item.rows, item.spans, strict=True))]
    if request.window >= len(rows):
        raise InvalidInput(f"window {request.window} is asked for, and the item has {len(rows)}, from 0 on")
    if request.HasField("window") or len(rows) == 1:
        return rows[request.window], plan.target
    row, target = telling_row(engine, model.version, rows, plan.target)
    return row, target if model.manifest.task == "classify" else None


def name_over_picture(item: pb.Item, number: int) -> str:
    """Return what is written over the picture of an item: the beginning of its source, where it has one."""
    printable = "".join(each for each in item.source[:_LONGEST_NAME] if each.isprintable())
    return printable.strip() or f"item {number}"


def _check_answer(size: int, most: int) -> None:
    """Raise AnswerTooLarge if the maps of an answer, of `size` bytes, have more than so many MiB."""
    if size > most << 20:
        raise AnswerTooLarge(
            f"the maps have more than the {most} MiB that this gateway computes for a call (--max-answer-mib); send fewer "
            "items",
            field="items",
        )
