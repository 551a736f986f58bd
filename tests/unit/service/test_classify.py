"""rpcs/classify.py with a real engine and no server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc.code_pb2 import Code
from unit.service.gateways import call, open_gateway, sound

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service.gateway import Gateway
from avizor_service.rpcs.classify import classify


@pytest.fixture(scope="module")
def gateway(models: Path) -> Iterator[Gateway]:
    with open_gateway(models) as gateway:
        yield gateway


def ask(gateway: Gateway, *items: pb.Item, top_k: int = 0) -> pb.ClassifyResponse:
    request = pb.ClassifyRequest(model="kinds", items=items, top_k=top_k)
    return asyncio.run(classify(gateway, request, call("Classify")))


def test_each_item_and_each_of_its_windows_has_its_best_classes(gateway: Gateway) -> None:
    answer = ask(gateway, sound(1.5), sound(0.512, seed=1), top_k=2)
    assert (answer.model, answer.version) == ("kinds", 1)
    assert [len(item.windows) for item in answer.items] == [3, 1]
    for item in answer.items:
        for classes in (item.classes, *(window.classes for window in item.windows)):
            assert len(classes) == 2
            assert classes[0].probability >= classes[1].probability
    assert [(window.span.start_s, window.span.end_s) for window in answer.items[0].windows] == [
        (0.0, 0.512),
        (0.512, 1.024),
        (0.988, 1.5),
    ]
    (window,) = answer.items[1].windows
    assert window.classes == answer.items[1].classes  # the mean of one window is that window


@pytest.mark.parametrize(("top_k", "classes"), [(0, 1), (1, 1), (3, 3), (100, 3)])
def test_as_many_classes_as_asked_for_but_not_more_than_there_are(gateway: Gateway, top_k: int, classes: int) -> None:
    (item,) = ask(gateway, sound(1.0), top_k=top_k).items
    assert len(item.classes) == classes
    if classes == 3:
        assert sum(each.probability for each in item.classes) == pytest.approx(1, abs=1e-5)


def test_a_negative_number_of_classes_is_refused(gateway: Gateway) -> None:
    with pytest.raises(InvalidInput, match="top_k -1 is below 0") as caught:
        ask(gateway, sound(1.0), top_k=-1)
    assert caught.value.field == "top_k"


def test_an_item_that_cannot_be_read_has_an_error_at_its_place(gateway: Gateway) -> None:
    good, bad, empty = ask(gateway, sound(1.0), pb.Item(audio=b"no sound"), pb.Item()).items
    assert (good.HasField("error"), len(good.windows)) == (False, 2)
    for item in (bad, empty):
        assert (item.error.code, len(item.classes)) == (Code.INVALID_ARGUMENT, 0)
    assert b"items[1]" in bad.error.details[0].value
    assert b"items[2].content" in empty.error.details[0].value
