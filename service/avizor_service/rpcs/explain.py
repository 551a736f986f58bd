"""Answer Explain with where in each item a model looks: a map, a picture of it, or both."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import AnswerTooLarge, InvalidInput, MediaError, NotExplainable, RequestError
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.pictures.figure import new_figure, png_of
from avizor_inference.explain.pictures.maps import draw_maps
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.decode import Item
from avizor_inference.items.input_spec import InputSpec
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.catalogue import OpenVersion
from avizor_service.decoded_memory import CallMemory
from avizor_service.engine_turns import EngineTurns
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem, ItemResult
from avizor_service.map_plans import MapPlan, map_plan
from avizor_service.status import item_status

_PICTURES = (pb.EXPLANATION_FORMAT_PNG, pb.EXPLANATION_FORMAT_BOTH)

# Pictures of one call. Each takes a fraction of a second, in which nothing else is drawn.
_MOST_PICTURES = 64

# Characters of a source that are written over a picture.
_LONGEST_NAME = 60

# matplotlib does not promise that two threads may draw at once.
_drawing = threading.Lock()


async def explain(gateway: Gateway, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:
    """Return a map of one window of each item. An item that cannot be explained has an error instead.

    Raises InvalidInput, before anything runs, for what the model cannot be asked, or what would cost too much; GatewayFull if as
    many explanations are computed as may be; SettingsError for pictures without matplotlib.
    """
    _check(request)
    model = await gateway.open_model(call, request, None)
    with gateway.explanations.place(), gateway.inference.memory_of_call() as memory:
        engine = EngineTurns(gateway.inference, model, gateway.explanations.threads, call.time_remaining_s)
        if request.format in _PICTURES:
            await engine.in_thread(new_figure, 1, 1)
        plan = await engine.in_thread(map_plan, model, request)
        windows, chosen_of = await _windows(gateway, request, call, model, plan, memory)
        answer = pb.ExplainResponse(model=call.model, version=model.version.version, rows=chosen_of)
        for number, window in enumerate(windows):
            if isinstance(window, BadItem):
                answer.items.append(pb.Explanation(error=item_status(window.error, number)))
                continue
            try:
                message = await _explained(engine, plan, model, replace(window, item=name_over_picture(request.items[number], number)), request.format)
            except (RequestError, MediaError, NotExplainable) as error:
                answer.items.append(pb.Explanation(error=item_status(error, number)))
                continue
            memory.take_answer(message.ByteSize())
            answer.items.append(message)
            _check_answer(answer, gateway.settings.max_answer_mib)
        answer.rows += engine.rows
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
            f"pictures of {len(request.items)} items are asked for; ask for at most {_MOST_PICTURES} in one call, or for NUMBERS",
            field="items",
        )


async def _windows(
    gateway: Gateway, request: pb.ExplainRequest, call: Call, model: OpenVersion, plan: MapPlan, memory: CallMemory
) -> tuple[list[RawRow | BadItem], int]:
    """Return the window of each item that is explained, and how many rows were run to choose them."""
    decoded = await gateway.inference.decode(memory, model, request.items, call.time_remaining_s)
    if request.HasField("window"):
        return [_window(item, request.window) for item in decoded], _check_cost(gateway, call, plan, decoded, 0)
    several = [item for item in decoded if isinstance(item, Item) and len(item.rows) > 1]
    rows = sum(len(item.rows) for item in several)
    _check_cost(gateway, call, plan, decoded, rows)
    chosen = iter(())
    if several:
        results = await gateway.inference.run_decoded(memory, model, several, [plan.output], call.time_remaining_s)
        chosen = iter([_best(result, plan) for result in results if isinstance(result, ItemResult)])
    places = [next(chosen) if isinstance(item, Item) and len(item.rows) > 1 else 0 for item in decoded]
    return [_window(item, place) for item, place in zip(decoded, places, strict=True)], rows


def _check_cost(gateway: Gateway, call: Call, plan: MapPlan, decoded: Sequence[Item | BadItem], to_choose: int) -> int:
    """Return `to_choose`, the rows that are run to choose windows. Raises InvalidInput, DeadlineExceeded."""
    items = sum(isinstance(item, Item) for item in decoded)
    rows, most = to_choose + items * plan.rows, gateway.settings.max_explain_rows
    if rows > most:
        parts = [f"{items} maps of {plan.rows} rows each"] + ([f"{to_choose} windows to choose from"] if to_choose else [])
        remedies = ["a larger stride and size"] * (plan.rows > 1) + ["a window"] * (to_choose > 0) + ["fewer items"] * (items > 1)
        raise InvalidInput(
            f"the request would run {rows} rows of the model ({', and '.join(parts)}), and this gateway runs at most {most} for a "
            f"call (--max-explain-rows); ask for {' or '.join(remedies)}",
            field="occlusion" if plan.rows > 1 else "items",
        )
    gateway.inference.loads.check_time(call.model, rows, call.time_remaining_s())
    return to_choose


def _best(result: ItemResult, plan: MapPlan) -> int:
    """Return the place of the window with the highest value of the target."""
    values = result.outputs[plan.output]
    return int(np.argmax(values.max(axis=1) if plan.column is None else values[:, plan.column]))


def _window(item: Item | BadItem, place: int) -> RawRow | BadItem:
    if isinstance(item, BadItem):
        return item
    if place >= len(item.rows):
        return BadItem(InvalidInput(f"window {place} is asked for, and the item has {len(item.rows)}, from 0 on"))
    return RawRow("", place, item.rows[place], item.spans[place])


def name_over_picture(item: pb.Item, number: int) -> str:
    """Return what is written over the picture of an item: the beginning of its source, where it has one."""
    printable = "".join(each for each in item.source[:_LONGEST_NAME] if each.isprintable())
    return printable.strip() or f"item {number}"


async def _explained(
    engine: EngineTurns, plan: MapPlan, model: OpenVersion, row: RawRow, format: pb.ExplanationFormat
) -> pb.Explanation:
    heat_map = await engine.in_thread(plan.make, engine, row)
    message = wire.explanation_message(heat_map, model.manifest.input, with_numbers=format != pb.EXPLANATION_FORMAT_PNG)
    message.method = plan.method
    if format in _PICTURES:
        message.png = await engine.in_thread(_picture, heat_map, model.manifest.input)
    return message


def _picture(heat_map: HeatMap, spec: InputSpec) -> bytes:
    with _drawing:
        return png_of(draw_maps([heat_map], spec))


def _check_answer(answer: pb.ExplainResponse, most: int) -> None:
    """Raise AnswerTooLarge if what is there of an answer has more than so many MiB."""
    if answer.ByteSize() > most << 20:
        raise AnswerTooLarge(
            f"the maps have more than the {most} MiB that this gateway computes for a call; send fewer items, or ask for NUMBERS",
            field="items",
        )
