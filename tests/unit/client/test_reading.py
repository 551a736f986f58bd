"""reading.py: what the messages of a gateway become."""

from __future__ import annotations

import math

import pytest

from avizor.v1 import inference_pb2 as pb
from avizor_client import BadAnswer, reading
from avizor_client.cli.output import judges


def test_the_shape_of_a_tensor_is_of_numbers() -> None:
    message = pb.Model(name="m", version=1, task=pb.TASK_CLASSIFY, tensor=pb.TensorSpec(dtype="float32", shape=[3, 4]))
    model = reading.model(message)
    assert (model.input_kind, model.input) == ("tensor", {"dtype": "float32", "shape": [3, 4]})


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        (pb.Model(image=pb.ImageInput(width=1, channels=1)), "the image that the model takes has no height"),
        (pb.Model(audio=pb.AudioInput(sample_rate=8000)), "the audio that the model takes has no window_samples"),
        (pb.Model(signal=pb.SignalInput(window_samples=8)), "the signal that the model takes has no channels"),
        (
            pb.Model(signal=pb.SignalInput(window_samples=8, channels=1, sample_rate=math.nan)),
            "the signal that the model takes has no sample_rate",
        ),
        (pb.Model(tensor=pb.TensorSpec(shape=[1])), "the tensor that the model takes has no dtype"),
        (
            pb.Model(table=pb.TableInput(columns=[pb.Column(categories=["a"])])),
            "the table that the model takes has no name of a column",
        ),
    ],
)
def test_a_model_that_lacks_what_its_input_is_made_of_is_no_answer(model: pb.Model, missing: str) -> None:
    model.task = pb.TASK_CLASSIFY
    with pytest.raises(BadAnswer, match=missing):
        reading.model(model)


def test_a_source_that_judged_is_printed_without_what_a_terminal_would_obey() -> None:
    assert judges("\x1b[31m") == "compared with source \\x1b[31m"
