"""The gateway answers bad items and bad calls with the right errors."""

from __future__ import annotations

import io
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from integration.gateway import IMAGE, Gateway, Stub, gateway, normal, png, refused, wav
from PIL import Image
from support.environment import device
from support.sounds import tone

from avizor.v1 import inference_pb2 as pb


def test_one_bad_item_does_not_cost_the_others_their_answer(stub: Stub) -> None:
    bad = [
        (pb.Item(audio=b"no sound"), "not an audio file"),
        (pb.Item(image=png(np.zeros((4, 4), np.uint8))), "the item holds image; the model takes audio"),
        (pb.Item(source="a"), "the item holds nothing"),
        (
            pb.Item(tensor=pb.Tensor(dtype="float32", shape=[3], data=b"")),
            r"the tensor is float32[3]; one item is float32[4096]",
        ),
        (pb.Item(tensor=pb.Tensor(dtype="float32", shape=[4096], data=b"123")), "the tensor holds 3 bytes"),
        (pb.Item(audio=wav(tone(30.0))), "more than 20 windows"),
        (pb.Item(audio=wav(np.full(1, 0.1), rate=48000)), "holds 1 samples at 48000 Hz, less than one at the model's 8000 Hz"),
        (pb.Item(audio=wav(np.zeros(4000), rate=1)), "the header says 1 Hz"),
        (pb.Item(audio=normal()[:-1000]), "the file was cut off"),
    ]
    items = [pb.Item(audio=normal()), *(item for item, _ in bad), pb.Item(audio=normal())]
    answer = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items))
    first, *middle, last = answer.items
    assert first == last
    assert first.p_value > 0
    for number, (verdict, (_, message)) in enumerate(zip(middle, bad, strict=True), start=1):
        assert message in verdict.error.message
        assert verdict.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        violation = BadRequest()
        assert verdict.error.details[0].Unpack(violation)
        assert violation.field_violations[0].field.startswith(f"items[{number}]")
    only_bad = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[bad[0][0]]))
    assert [bool(verdict.error.message) for verdict in only_bad.items] == [True]


def test_an_item_on_which_the_model_does_not_run_does_not_cost_the_others_their_answer(lookup: Path) -> None:
    indices = [pb.Tensor(dtype="int64", shape=[1], data=np.int64(index).tobytes()) for index in (0, 99, 3, -77, 4)]
    with gateway(lookup, "--device", device()) as running, grpc.insecure_channel(running.address) as channel:
        answer = running.stub(channel).Classify(
            pb.ClassifyRequest(model="lookup", items=[pb.Item(tensor=index) for index in indices])
        )
        counted = running.metrics()
    assert [bool(item.error.message) for item in answer.items] == [False, True, False, True, False]
    assert {item.error.code for item in answer.items if item.error.message} == {grpc.StatusCode.INTERNAL.value[0]}
    assert sum(value for series, value in counted.items() if series.startswith('avizor_item_errors_total{model="lookup"')) == 2


def test_images_that_are_not_of_the_contract_are_refused(stub: Stub) -> None:
    red, pages = Image.new("RGB", (16, 16), (255, 0, 0)), io.BytesIO()
    red.save(pages, "TIFF", save_all=True, append_images=[red])
    items = [pb.Item(image=png(np.asarray(red), kind)) for kind in ("EPS", "ICO", "PPM")] + [pb.Item(image=pages.getvalue())]
    errors = [item.error for item in stub.Classify(pb.ClassifyRequest(model="digits", items=items)).items]
    assert {error.code for error in errors} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert [error.message.partition(" (")[0] for error in errors] == [
        *["not an image that can be read"] * 3,
        "the image file holds 2 pictures",
    ]


@pytest.mark.parametrize(
    ("rpc", "request_", "code", "message", "field"),
    [
        ("Classify", pb.ClassifyRequest(model="nothing", items=[IMAGE]), "NOT_FOUND", "no model named 'nothing'", ""),
        ("Classify", pb.ClassifyRequest(model="digits", version=9, items=[IMAGE]), "NOT_FOUND", "no version 9", ""),
        ("Classify", pb.ClassifyRequest(model="digits", version=-1, items=[IMAGE]), "INVALID_ARGUMENT", "below 0", "version"),
        ("Classify", pb.ClassifyRequest(items=[IMAGE]), "INVALID_ARGUMENT", "name a model", "model"),
        ("Classify", pb.ClassifyRequest(model="digits"), "INVALID_ARGUMENT", "holds no items", "items"),
        (
            "Classify",
            pb.ClassifyRequest(model="digits", items=[IMAGE] * 257),
            "INVALID_ARGUMENT",
            "more than 256 items",
            "items",
        ),
        ("Classify", pb.ClassifyRequest(model="digits", items=[IMAGE], top_k=-1), "INVALID_ARGUMENT", "top_k -1", "top_k"),
        ("Classify", pb.ClassifyRequest(model="normal", items=[IMAGE]), "INVALID_ARGUMENT", "call DetectAnomaly", "model"),
        ("DetectAnomaly", pb.DetectAnomalyRequest(model="digits", items=[IMAGE]), "INVALID_ARGUMENT", "call Classify", "model"),
        (
            "DetectAnomaly",
            pb.DetectAnomalyRequest(model="normal", items=[IMAGE], alpha=2),
            "INVALID_ARGUMENT",
            "alpha 2",
            "alpha",
        ),
        (
            "DetectAnomaly",
            pb.DetectAnomalyRequest(model="normal", items=[IMAGE], alpha=0.001),
            "FAILED_PRECONDITION",
            "999",
            "",
        ),
        ("GetModel", pb.GetModelRequest(name="nothing"), "NOT_FOUND", "no model named 'nothing'", ""),
    ],
)
def test_a_bad_call_ends_with_a_code_a_message_and_the_field(
    served: Gateway, stub: Stub, rpc: str, request_: object, code: str, message: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, rpc)(request_)
    assert refused(caught.value)[0] == code
    assert message in refused(caught.value)[1]
    details = dict(caught.value.trailing_metadata())
    status = Status.FromString(details["grpc-status-details-bin"])
    if field:
        violation = BadRequest()
        assert status.details[0].Unpack(violation)
        assert violation.field_violations[0].field == field


def test_a_call_past_its_deadline_is_ended(stub: Stub) -> None:
    items = [pb.Item(audio=wav(tone(10.0)))] * 50
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(pb.ClassifyRequest(model="kinds", items=items), timeout=0.05)
    assert refused(caught.value)[0] == "DEADLINE_EXCEEDED"
