"""json_messages.py: what a text of JSON says twice is refused, wherever it is, and names of the caller's own are left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service.http.json_messages import filled, message_of


@pytest.mark.parametrize(
    ("kind", "message", "names"),
    [
        (pb.ClassifyRequest, {"topK": 3, "top_k": 4}, "topK and top_k"),
        (pb.ClassifyRequest, {"items": [{}, {"pcm": {"sample_rate": 1, "sampleRate": 2}}]}, "sample_rate and sampleRate"),
        (pb.MonitorRequest, {"start": {"sampleRate": 0, "sample_rate": None}}, "sampleRate and sample_rate"),
    ],
)
def test_a_field_under_both_of_its_names_is_refused(kind: Any, message: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{names} are the same field; send one of them$"):
        message_of(kind, json.dumps(message).encode(), {})


def test_columns_of_a_row_may_differ_in_this_alone() -> None:
    row = {"top_k": 1.0, "topK": 2.0, "nested": {"a_b": 1.0, "aB": 2.0}}
    request = message_of(pb.ClassifyRequest, json.dumps({"items": [{"row": row}], "topK": 1}).encode(), {"model": "m"})
    assert (request.items[0].row["top_k"], request.items[0].row["topK"], request.model) == (1.0, 2.0, "m")
    assert dict(filled(Struct(), row).items()).keys() == row.keys()  # the part `row` of a form
