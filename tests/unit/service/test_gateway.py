"""gateway.py: which requests reach a model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from unit.service.gateways import call, open_gateway

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput, ModelNotFound
from avizor_service.calls import NO_MODEL
from avizor_service.gateway import Gateway

ITEM = pb.Item(image=b"never read")


def test_the_model_of_a_request_is_opened_and_the_call_is_counted_under_it(models: Path) -> None:
    with open_gateway(models) as gateway:
        running = call("Classify")
        request = pb.ClassifyRequest(model="digits", items=[ITEM])
        model = asyncio.run(gateway.open_model(running, request, "classify"))
    assert (model.version.name, model.version.version, running.model) == ("digits", 1, "digits")


@pytest.mark.parametrize(
    ("request_", "field", "message"),
    [
        (pb.ClassifyRequest(items=[ITEM]), "model", "name a model"),
        (pb.ClassifyRequest(model="digits", version=-1, items=[ITEM]), "version", "version -1 is below 0; 0 is the newest"),
        (pb.ClassifyRequest(model="normal", items=[ITEM]), "model", "'normal' is made to reconstruct; call DetectAnomaly"),
        (pb.ClassifyRequest(model="digits"), "items", "holds no items; send at least one"),
        (pb.ClassifyRequest(model="digits", items=[ITEM] * 3), "items", "holds more than 2 items; send at most 2 at once"),
    ],
    ids=["no model", "version", "task", "no items", "too many items"],
)
def test_a_request_that_is_not_in_order_names_the_field(
    models: Path, request_: pb.ClassifyRequest, field: str, message: str
) -> None:
    with open_gateway(models, max_items=2) as gateway, pytest.raises(InvalidInput, match=message) as caught:
        asyncio.run(gateway.open_model(call("Classify"), request_, "classify"))
    assert caught.value.field == field


def test_a_model_that_is_not_found_is_not_written_to_the_call(models: Path) -> None:
    async def ask(gateway: Gateway) -> str:
        running = call("DetectAnomaly")
        with pytest.raises(ModelNotFound):
            await gateway.open_model(running, pb.DetectAnomalyRequest(model="made-up", items=[ITEM]), "reconstruct")
        return running.model

    with open_gateway(models) as gateway:
        assert asyncio.run(ask(gateway)) == NO_MODEL
