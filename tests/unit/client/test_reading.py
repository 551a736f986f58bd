"""reading.py: what the messages of a gateway become."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_client import reading


def test_the_shape_of_a_tensor_is_of_numbers() -> None:
    message = pb.Model(name="m", version=1, task=pb.TASK_CLASSIFY, tensor=pb.TensorSpec(dtype="float32", shape=[3, 4]))
    model = reading.model(message)
    assert (model.input_kind, model.input) == ("tensor", {"dtype": "float32", "shape": [3, 4]})
