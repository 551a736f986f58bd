"""wire.py: messages of avizor.v1 to values, and values to messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.signals import SIGNAL
from support.sounds import SOUND
from support.tables import TRANSFER

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.errors import InvalidInput
from avizor_inference.items.kinds.audio import PcmSound, SoundFile
from avizor_inference.items.kinds.base import Content, Span, TensorBytes
from avizor_inference.items.kinds.image import ImageFile
from avizor_inference.items.kinds.signal import SignalFile
from avizor_inference.items.kinds.table import TableRow
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_service import wire


def row(**values: Any) -> pb.Item:
    item = pb.Item()
    item.row.SetInParent()
    item.row.update(values)
    return item


@pytest.mark.parametrize(
    ("item", "content"),
    [
        (pb.Item(image=b"picture"), ImageFile(b"picture")),
        (pb.Item(image=b""), ImageFile(b"")),
        (pb.Item(audio=b"sound"), SoundFile(b"sound")),
        (pb.Item(signal=b"1,2"), SignalFile(b"1,2")),
        (pb.Item(tensor=pb.Tensor(dtype="uint8", shape=[2, 1], data=b"ab")), TensorBytes("uint8", (2, 1), b"ab")),
        (
            pb.Item(pcm=pb.Pcm(format=pb.PCM_FORMAT_F32LE, sample_rate=8000, channels=2, data=b"ab")),
            PcmSound("f32le", 8000, 2, b"ab"),
        ),
        (pb.Item(pcm=pb.Pcm(sample_rate=8000)), PcmSound("", 8000, 0, b"")),
        (pb.Item(pcm=pb.Pcm(format=9)), PcmSound("9", 0, 0, b"")),  # type: ignore[arg-type]
        (pb.Item(pcm=pb.Pcm(), channel_mode=pb.CHANNEL_MODE_MIX), PcmSound("", 0, 0, b"", channel_mode="mix")),
        (pb.Item(audio=b"sound", channel_mode=pb.CHANNEL_MODE_MIX), SoundFile(b"sound", channel_mode="mix")),
        (pb.Item(audio=b"sound", channel_mode=pb.CHANNEL_MODE_EACH), SoundFile(b"sound")),
        (pb.Item(image=b"picture", channel_mode=pb.CHANNEL_MODE_MIX), ImageFile(b"picture")),
        (row(), TableRow({})),
        (
            row(amount=1.5, country="ES", known=True, hour=None),
            TableRow({"amount": 1.5, "country": "ES", "known": True, "hour": None}),
        ),
    ],
)
def test_an_item_is_translated_to_its_content(item: pb.Item, content: Content) -> None:
    assert wire.content(item) == content


@pytest.mark.parametrize(
    ("item", "field", "message"),
    [
        (pb.Item(source="a"), "content", "the item holds nothing; send"),
        (pb.Item(audio=b"", channel_mode=5), "channel_mode", "channel_mode 5 is not known"),  # type: ignore[arg-type]
        (row(amount=[1, 2]), "row.amount", "column 'amount' holds a list or an object"),
        (row(amount={"a": 1}), "row.amount", "column 'amount' holds a list or an object"),
    ],
)
def test_an_item_without_content_is_refused_and_the_field_named(item: pb.Item, field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        wire.content(item)
    assert caught.value.field == field


def test_spans_are_in_samples_and_seconds_and_zero_for_what_is_not_a_recording() -> None:
    (sound,) = wire.span_messages([Span(channel=1, start_sample=4000, length=2000)], SOUND)
    assert (sound.channel, sound.start_s, sound.end_s, sound.start_sample, sound.end_sample) == (1, 0.5, 0.75, 4000, 6000)
    (steps,) = wire.span_messages([Span(channel=0, start_sample=4000, length=2000)], SIGNAL)  # it has no rate
    assert steps == pb.Span(start_sample=4000, end_sample=6000)
    assert wire.span_messages([None], SOUND) == wire.span_messages([None], TRANSFER) == [pb.Span()]


def test_a_model_message_says_what_the_manifest_and_the_calibration_say(models: Path) -> None:
    version = ModelRepository(models).version("normal")
    (calibration,) = version.calibrations()
    message = wire.model_message(version, [1, 4], calibration)
    assert (message.name, message.version, list(message.versions), message.task) == ("normal", 1, [1, 4], pb.TASK_RECONSTRUCT)
    assert (message.sha256, message.max_batch_size) == (version.manifest.model_sha256, 16)
    assert message.audio == pb.AudioInput(sample_rate=8000, window_samples=4096, hop_samples=4096, channels=1)
    assert [output.name for output in message.outputs] == [output.name for output in version.manifest.outputs]
    assert message.calibration.id == calibration.id
    assert message.calibration.created.ToDatetime(calibration.created.tzinfo) == calibration.created
    assert dict(message.calibration.recordings) == {"a": 30, "b": 30}
    assert not wire.model_message(version, [1], None).HasField("calibration")
    assert message.activation == pb.ACTIVATION_UNSPECIFIED


def test_a_model_message_says_how_probabilities_are_made(models: Path) -> None:
    version = ModelRepository(models).version("kinds")
    assert wire.model_message(version, [1], None).activation == pb.ACTIVATION_SOFTMAX
    changed = version.manifest.model_copy(update={"activation": "sigmoid", "thresholds": (0.5, 0.25, 0.75)})
    sigmoid = ModelVersion(version.name, version.version, version.folder)
    vars(sigmoid)["manifest"] = changed
    message = wire.model_message(sigmoid, [1], None)
    assert (message.activation, list(message.thresholds)) == (pb.ACTIVATION_SIGMOID, [0.5, 0.25, 0.75])


def test_a_classification_names_the_best_classes_of_the_mean_and_of_each_window() -> None:
    probabilities = np.array([[0.6, 0.4, 0.0], [0.0, 0.4, 0.6]], np.float32)
    spans = [pb.Span(start_s=0), pb.Span(start_s=1)]
    message = wire.classification_message(probabilities, spans, ["low", "mid", "high"], 2)
    assert [each.label for each in message.classes] == ["mid", "low"]
    assert [each.probability for each in message.classes] == pytest.approx([0.4, 0.3])
    assert [[each.label for each in window.classes] for window in message.windows] == [["low", "mid"], ["high", "mid"]]
    assert [window.span for window in message.windows] == spans


TAGS = np.array([[0.875, 0.5, 0.125], [0.375, 0.75, 0.125]], np.float32)  # their mean is 0.625, 0.625, 0.125


@pytest.mark.parametrize(
    ("k", "item", "windows"),
    [
        (0, ["rain", "wind"], [["rain"], ["wind"]]),
        (1, ["rain"], [["rain"], ["wind"]]),
        (3, ["rain", "wind", "hail"], [["rain", "wind", "hail"], ["wind", "rain", "hail"]]),
    ],
)
def test_a_multi_label_model_answers_all_classes_over_their_thresholds_or_as_many_as_asked_for(
    k: int, item: list[str], windows: list[list[str]]
) -> None:
    message = wire.classification_message(TAGS, [pb.Span(), pb.Span()], ["rain", "wind", "hail"], k, [0.5, 0.6, 0.5])
    assert [each.label for each in message.classes] == item
    assert [[each.label for each in window.classes] for window in message.windows] == windows
    assert {each.label for each in message.classes if each.is_over_threshold} == {"rain", "wind"} & set(item)


def test_a_multi_label_model_may_answer_no_class() -> None:
    message = wire.classification_message(TAGS, [pb.Span(), pb.Span()], ["rain", "wind", "hail"], 0, [1, 1, 1])
    assert not message.classes
    assert [len(window.classes) for window in message.windows] == [0, 0]


@pytest.mark.parametrize(("alpha", "flagged"), [(0.05, True), (0.01, False)])
def test_a_verdict_message_holds_the_item_and_its_windows(alpha: float, flagged: bool) -> None:
    verdict = Verdict(score=2.5, p_value=0.02, judged_by="a", is_short=False, compared_with=200)
    spans = [pb.Span(start_s=0), pb.Span(start_s=1)]
    message = wire.verdict_message(verdict, alpha, spans, np.array([1.0, 3.0]), np.array([0.5, 0.02]))
    assert (message.score, message.p_value, message.judged_by, message.is_anomaly) == (2.5, 0.02, "a", flagged)
    assert [(window.span, window.score, window.p_value) for window in message.windows] == [
        (spans[0], 1.0, 0.5),
        (spans[1], 3.0, 0.02),
    ]


@pytest.mark.parametrize(
    ("made_with", "mode", "channels", "problem"),
    [
        ("each", pb.CHANNEL_MODE_MIX, 2, ""),
        ("mix", pb.CHANNEL_MODE_MIX, 2, ""),
        ("mix", pb.CHANNEL_MODE_EACH, 1, ""),
        ("mix", pb.CHANNEL_MODE_EACH, 2, "with --channels mix, and the sound has 2 channels: send CHANNEL_MODE_MIX"),
        (1, pb.CHANNEL_MODE_MIX, 2, "with --channels 1, and the sound has 2 channels: send that channel alone"),
    ],
)
def test_a_calibration_of_chosen_channels_judges_no_others(
    models: Path, made_with: ChannelMode, mode: int, channels: int, problem: str
) -> None:
    (calibration,) = ModelRepository(models).version("normal").calibrations()
    chosen = calibration.model_copy(update={"channels": made_with})
    assert wire.channel_problem(mode, channels, chosen, SOUND).endswith(problem)
    assert bool(wire.channel_problem(mode, channels, chosen, SOUND)) == bool(problem)
    assert not wire.channel_problem(mode, channels, chosen, SIGNAL)
