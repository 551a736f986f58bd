"""config.pbtxt of the next version: options over what is there, and every field that a person has set by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.as_exported import with_base
from avizor_export.triton_config.next_config import NextConfig, exported_text, name_to_keep, next_config
from avizor_export.triton_config.settings import ServingOptions, ServingSettings, serving_of, with_options
from avizor_export.tuning.candidates import Candidate
from avizor_export.tuning.save import write_tuned
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import parse_config

DIGESTS = {1: "1a" * 32}
NEXT = {**DIGESTS, 2: "2b" * 32}
KEPT = "config.pbtxt.edited-1"


@pytest.fixture(scope="module")
def first(models: Path) -> Manifest:
    return ModelRepository(models).version("digits").manifest


def following(first: Manifest, before: str | None, **options: object) -> NextConfig:
    second = first.model_copy(update={"version": 2})
    return next_config(before, first, second, ServingOptions(**options), NEXT, KEPT)  # type: ignore[typeddict-item]


def parsed(result: NextConfig) -> ModelConfig:
    return parse_config(result.text, "the next configuration")


def edit(text: str, before: str, after: str) -> str:
    assert before in text, "the test changes nothing"
    return text.replace(before, after, 1)


def test_without_edits_it_is_what_export_writes_and_says_nothing(first: Manifest) -> None:
    serving = ServingSettings(target="cpu", instances=2, preferred_batch_sizes=(4, 8), intra_op_threads=1, call_batch_size=8)
    before = exported_text(first, serving, DIGESTS)
    wanted = exported_text(first, replace(serving, queue_delay_us=7), NEXT)
    assert following(first, before, queue_delay_us=7) == NextConfig(with_base(wanted, wanted))
    assert following(first, with_base(before, before), queue_delay_us=7) == NextConfig(with_base(wanted, wanted))
    fresh = exported_text(first, ServingSettings(queue_delay_us=7), NEXT)
    assert following(first, None, queue_delay_us=7).text == with_base(fresh, fresh)


def as_edited(first: Manifest, *changes: tuple[str, str], **settings: object) -> str:
    """A file that export wrote, and a person changed."""
    exported = text = exported_text(first, ServingSettings(**settings), DIGESTS)  # type: ignore[arg-type]
    for before, after in changes:
        text = edit(text, before, after)
    return with_base(text, exported)


POLICY = "default_queue_policy { default_timeout_microseconds: 500, timeout_action: REJECT }"


@pytest.mark.parametrize("holds_base", [True, False])
@pytest.mark.parametrize(
    ("target", "before", "after", "kept"),
    [
        (
            "auto",
            "max_batch_size: 64",
            "max_batch_size: 64 version_policy { all {} }",
            lambda c: c.version_policy.HasField("all"),
        ),
        (
            "auto",
            "dynamic_batching {",
            "dynamic_batching { priority_levels: 2",
            lambda c: c.dynamic_batching.priority_levels == 2,
        ),
        ("gpu", "count: 1 }", "count: 1, gpus: [ 1 ] }", lambda c: list(c.instance_group[0].gpus) == [1]),
        (
            "gpu",
            "count: 1 }",
            "count: 2 }, { kind: KIND_CPU, count: 1 }",
            lambda c: [g.count for g in c.instance_group] == [2, 1],
        ),
        (
            "auto",
            "dynamic_batching {",
            f"dynamic_batching {{ {POLICY}",
            lambda c: c.dynamic_batching.default_queue_policy.default_timeout_microseconds == 500,
        ),
        (
            "tensorrt",
            '"precision_mode", value: "FP32"',
            '"precision_mode", value: "FP16"',
            lambda c: parameters(c)["precision_mode"] == "FP16",
        ),
        (
            "tensorrt",
            'parameters { key: "trt_engine_cache_enable"',
            'parameters { key: "max_workspace_size_bytes", value: "9" }\n  parameters { key: "trt_engine_cache_enable"',
            lambda c: parameters(c)["max_workspace_size_bytes"] == "9",
        ),
        (
            "auto",
            "model_warmup [ {",
            'model_warmup [ { name: "mine", batch_size: 3 }, {',
            lambda c: c.model_warmup[0].name == "mine",
        ),
        (
            "auto",
            'name: "image",',
            'name: "image", format: FORMAT_NHWC,',
            lambda c: c.input[0].format == c.input[0].FORMAT_NHWC,
        ),
    ],
)
def test_a_field_that_was_set_by_hand_stays_and_the_file_before_is_kept(
    first: Manifest, target: str, before: str, after: str, kept: Callable[[ModelConfig], bool], holds_base: bool
) -> None:
    exported = exported_text(first, ServingSettings(target=target), DIGESTS)  # type: ignore[arg-type]
    edited = edit(exported, before, after)
    edited = with_base(edited, exported) if holds_base else edited
    result = following(first, edited, intra_op_threads=3)
    config = parsed(result)
    assert kept(config), config
    assert serving_of(config).intra_op_threads == 3
    assert config.parameters["avizor_model_sha256_2"].string_value == NEXT[2]
    assert result.keep_before
    assert result.notes == (
        f"config.pbtxt had been edited: its other fields stay, and as it was, with its comments, it is {KEPT}",
    )
    assert f"with its comments, is {KEPT}" in result.text.splitlines()[0]
    # What avizor wrote has no comments to lose: the next time the edited file stays the one that is named.
    again = next_config(result.text, first, first.model_copy(update={"version": 3}), {}, {**NEXT, 3: "3c" * 32}, "other")
    assert kept(parsed(again))
    assert (again.keep_before, again.notes) == (False, ())
    assert again.text.splitlines()[0] == result.text.splitlines()[0]


def parameters(config: ModelConfig) -> dict[str, str]:
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return dict(accelerator.parameters)


def test_a_comment_alone_is_kept_in_the_file_before(first: Manifest) -> None:
    before = exported_text(first, ServingSettings(), DIGESTS)
    result = following(first, "# Ask Ana before changing this.\n" + before)
    wanted = exported_text(first, ServingSettings(), NEXT)
    assert result.text == with_base(wanted, wanted)
    assert result.keep_before


def test_an_option_goes_over_an_edit_and_that_is_said(first: Manifest) -> None:
    serving = ServingSettings(target="gpu")
    edited = edit(exported_text(first, serving, DIGESTS), "count: 1 }", "count: 2 }, { kind: KIND_CPU, count: 1 }")
    result = following(first, edited, instances=4)
    assert [group.count for group in parsed(result).instance_group] == [4]
    assert result.keep_before
    assert "replaced by what the options or the new version ask: instance_group" in result.notes[0]
    # GPUs belong to a target that has them.
    edited = edit(exported_text(first, serving, DIGESTS), "count: 1 }", "count: 1, gpus: [ 1 ] }")
    result = following(first, edited, target="cpu")
    assert list(parsed(result).instance_group[0].gpus) == []
    assert result.notes[0].endswith("instance_group")


def test_warm_ups_follow_a_largest_batch_that_was_set_by_hand(first: Manifest) -> None:
    edited = edit(exported_text(first, ServingSettings(), DIGESTS), "max_batch_size: 64", "max_batch_size: 16")
    config = parsed(following(first, edited))
    assert config.max_batch_size == 16
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 16]


def test_the_precision_of_tensorrt_is_that_of_the_version(first: Manifest) -> None:
    before = exported_text(first, ServingSettings(target="tensorrt"), DIGESTS)
    half = first.model_copy(update={"version": 2, "precision": "fp16"})
    assert parameters(parsed(next_config(before, first, half, {}, NEXT, KEPT)))["precision_mode"] == "FP16"


def test_preferred_sizes_give_way_to_a_smaller_largest_batch(first: Manifest) -> None:
    before = exported_text(first, ServingSettings(preferred_batch_sizes=(4, 8)), DIGESTS)
    result = following(first, before, max_batch_size=6)
    assert list(parsed(result).dynamic_batching.preferred_batch_size) == [4]
    assert result.notes == ("preferred batch sizes over the new max_batch_size 6 were dropped: 8",)
    assert not result.keep_before
    assert list(parsed(following(first, before, preferred_batch_sizes=(0,))).dynamic_batching.preferred_batch_size) == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_base_is_what_the_file_was_written_as_and_not_what_is_left_on_disk(first: Manifest, precision: str) -> None:
    """The version that the file was written for may be gone: deleted, or never shown since its export was killed."""
    gone = first.model_copy(update={"version": 2, "precision": "int8"})
    before = next_config(None, None, gone, {"target": "tensorrt"}, NEXT, KEPT).text
    assert parameters(parse_config(before, "before"))["precision_mode"] == "INT8"
    second = first.model_copy(update={"version": 2, "precision": precision})
    result = next_config(before, first, second, {}, {**DIGESTS, 2: "3c" * 32}, KEPT)
    assert parameters(parsed(result))["precision_mode"] == precision.upper()
    assert (result.keep_before, result.notes) == (False, ())


def test_a_file_of_a_release_that_wrote_other_text_is_not_taken_for_edited(first: Manifest) -> None:
    older = exported_text(first, ServingSettings(instances=2), DIGESTS)
    older = edit(older, "# Requests that arrive", "# Said otherwise: what arrives")
    older = edit(older, "dynamic_batching {", "dynamic_batching {\n  preserve_ordering: true")  # a default that was given up
    result = following(first, with_base(older, older))
    wanted = exported_text(first, ServingSettings(instances=2), NEXT)
    assert result == NextConfig(with_base(wanted, wanted))


COUNT = ("count: 1 }", "count: 2 }")
GROUPS = ("count: 1 }", "count: 1 }, { kind: KIND_CPU, count: 1 }")
NO_BATCHING = ("dynamic_batching {\n  max_queue_delay_microseconds: 500\n}", "")
SEQUENCES = (NO_BATCHING[0], "sequence_batching { max_sequence_idle_microseconds: 9 }")
TIMEOUT = ("default_timeout_microseconds: 5000", "default_timeout_microseconds: 4500")
THREADS = 'parameters [ { key: "intra_op_thread_count", value: { string_value: "3" } } ]'


@pytest.mark.parametrize(
    ("exported", "change", "option", "field"),
    [
        ({}, COUNT, {"instances": 1}, "instance_group[0].count"),
        ({"target": "gpu"}, GROUPS, {"instances": 2}, "instance_group"),
        ({}, ("KIND_AUTO, ", "KIND_MODEL, "), {"target": "auto"}, "instance_group"),
        ({"target": "gpu", "instances": 2}, ("count: 2 }", "count: 1 }, {}"), {"target": "gpu"}, "instance_group"),
        ({"queue_timeout_ms": 5}, TIMEOUT, {"queue_timeout_ms": 5}, "default_timeout_microseconds"),
        ({"queue_timeout_ms": 5}, TIMEOUT, {"queue_timeout_ms": 0}, "default_timeout_microseconds"),
        ({"queue_timeout_ms": 5}, ("override: true", "override: false"), {"allow_timeout_override": True}, "timeout_override"),
        ({}, ("microseconds: 500", "microseconds: 7"), {"queue_delay_us": 500}, "max_queue_delay_microseconds"),
        ({}, NO_BATCHING, {"queue_delay_us": 500}, "dynamic_batching"),
        ({}, SEQUENCES, {"max_queue_size": 4}, "sequence_batching"),
        ({}, ("max_batch_size: 64", "max_batch_size: 16"), {"max_batch_size": 64}, "max_batch_size"),
        ({}, ("backend:", "response_cache { enable: true } backend:"), {"response_cache": False}, "response_cache"),
        ({}, ("backend:", f"{THREADS} backend:"), {"intra_op_threads": 0}, "parameters[intra_op_thread_count]"),
        (
            {"preferred_batch_sizes": (4,)},
            ("preferred_batch_size: [ 4 ]", "preferred_batch_size: [ 8, 4 ]"),
            {"preferred_batch_sizes": (4,)},
            "preferred_batch_size",
        ),
    ],
)
def test_an_option_that_was_given_wins_also_where_it_asks_for_what_was_there_before_the_edit(
    first: Manifest, exported: dict[str, object], change: tuple[str, str], option: dict[str, object], field: str
) -> None:
    result = following(first, as_edited(first, change, **exported), **option)
    wanted = exported_text(first, with_options(ServingSettings(**exported), ServingOptions(**option)), NEXT)  # type: ignore[arg-type,typeddict-item]
    assert parsed(result) == parse_config(wanted, "wanted")
    assert result.text == with_base(wanted, wanted)
    assert result.keep_before
    assert field in result.notes[0]
    assert "replaced by what the options" in result.notes[0]


@pytest.mark.parametrize("change", [COUNT, GROUPS, NO_BATCHING, SEQUENCES, ("500\n}", f"500\n{POLICY}\n}}")])
def test_without_an_option_a_setting_stays_to_the_letter(first: Manifest, change: tuple[str, str]) -> None:
    before = as_edited(first, change)
    for options in ({}, {"intra_op_threads": 3}):
        result = following(first, before, **options)
        config = parsed(result)
        edited = parse_config(before, "before")
        assert config.dynamic_batching == edited.dynamic_batching
        assert config.WhichOneof("scheduling_choice") == edited.WhichOneof("scheduling_choice")
        assert config.sequence_batching == edited.sequence_batching
        assert list(config.instance_group) == list(edited.instance_group)
        assert not any("replaced" in note for note in result.notes)


@pytest.mark.parametrize("holds_base", [True, False])
@pytest.mark.parametrize("options", [{}, {"max_batch_size": 16}])
def test_warm_ups_that_a_person_deleted_stay_away(first: Manifest, options: dict[str, object], holds_base: bool) -> None:
    exported = exported_text(first, ServingSettings(), DIGESTS)
    edited = "\n".join(line for line in exported.splitlines() if not line.startswith("model_warmup"))
    assert edited != exported
    result = following(first, with_base(edited, exported) if holds_base else edited, **options)
    assert list(parsed(result).model_warmup) == []


def test_a_version_policy_that_leaves_the_new_version_out_is_said(first: Manifest) -> None:
    pinned = ("backend:", "version_policy { specific { versions: [ 1 ] } } backend:")
    result = following(first, as_edited(first, pinned))
    assert list(parsed(result).version_policy.specific.versions) == [1]
    assert "version_policy does not serve version 2" in result.notes[-1]
    both = ("backend:", "version_policy { specific { versions: [ 1, 2 ] } } backend:")
    assert not any("version_policy" in note for note in following(first, as_edited(first, both)).notes)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        (("max_batch_size: 8", "max_batch_size: 0"), "max_batch_size", 8),
        (("preferred_batch_size: [ 4 ]", "preferred_batch_size: [ 9 ]"), "preferred_batch_sizes", (4,)),
        (('"2"', '"two"'), "intra_op_threads", 2),
        (("count: 3", "count: -1"), "instances", 3),
    ],
)
def test_a_value_that_makes_no_sense_gives_way_alone(
    first: Manifest, change: tuple[str, str], field: str, value: object
) -> None:
    settings = {"max_batch_size": 8, "preferred_batch_sizes": (4,), "intra_op_threads": 2, "instances": 3, "target": "cpu"}
    more = ("backend:", "version_policy { all {} } backend:")
    result = following(first, as_edited(first, change, more, **settings))
    assert getattr(serving_of(parsed(result)), field) == value
    assert serving_of(parsed(result)) == ServingSettings(**settings)  # type: ignore[arg-type]
    assert parsed(result).version_policy.HasField("all")
    assert result.keep_before
    assert field in result.notes[0]
    assert f"the file is kept as {KEPT}" in result.notes[0]


def test_text_that_cannot_be_read_gives_way_to_what_was_exported_or_else_to_the_defaults(first: Manifest) -> None:
    broken = as_edited(first, ("dynamic_batching {", "dynamic_batching {{"), instances=2, target="cpu")
    result = following(first, broken, queue_delay_us=7)
    wanted = exported_text(first, ServingSettings(instances=2, target="cpu", queue_delay_us=7), NEXT)
    assert result.text == with_base(wanted, wanted)
    assert result.keep_before
    assert "line 20, column 19: " in result.notes[0]
    assert f"what was last exported or tuned is taken, and the file is kept as {KEPT}" in result.notes[0]
    result = following(first, "nonsense {", instances=2)
    wanted = exported_text(first, ServingSettings(instances=2), NEXT)
    assert result.text == with_base(wanted, wanted)
    assert f"the default settings are taken, and the file is kept as {KEPT}" in result.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ServingOptions(preferred_batch_sizes=(65,)), "preferred batch size 65 is over the largest, max_batch_size 64"),
        (ServingOptions(queue_timeout_action="delay"), "^--queue-timeout-action says nothing .*: give --queue-timeout-ms too"),
        (ServingOptions(allow_timeout_override=False), "^--no-timeout-override says nothing"),
        (ServingOptions(allow_timeout_override=True), "^--timeout-override says nothing"),
        (ServingOptions(queue_timeout_action="delay", queue_timeout_ms=0), "give --queue-timeout-ms too"),
    ],
)
def test_options_that_do_not_fit(options: ServingOptions, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        with_options(ServingSettings(), options)
    usual = ServingSettings(queue_timeout_ms=3)
    assert with_options(usual, ServingOptions(queue_timeout_action="delay")).queue_timeout_action == "delay"


def test_a_file_that_was_kept_is_never_replaced(tmp_path: Path) -> None:
    assert name_to_keep(tmp_path) == KEPT
    (tmp_path / KEPT).touch()
    assert name_to_keep(tmp_path) == "config.pbtxt.edited-2"


def test_what_was_tuned_is_no_edit_and_an_edit_stays_one_after_tuning(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "digits", tmp_path / "digits")
    version, path = ModelRepository(tmp_path).version("digits"), tmp_path / "digits/config.pbtxt"
    edited = edit(path.read_text(), "backend:", "version_policy { all {} } backend:")
    assert write_tuned(tmp_path, version, Candidate(1, 2, 8, clients=1)).kept is None
    tuned = serving_of(parse_config(path.read_text(), "tuned"))
    second = version.manifest.model_copy(update={"version": 2})
    result = next_config(path.read_text(), None, second, {}, NEXT, KEPT)
    wanted = exported_text(second, tuned, NEXT)
    assert result == NextConfig(with_base(wanted, wanted))
    path.write_text(edited)
    assert write_tuned(tmp_path, version, Candidate(1, 2, 8, clients=1)).kept == path.with_name(KEPT)
    result = next_config(path.read_text(), None, second, {}, NEXT, "other")
    assert serving_of(parsed(result)) == tuned
    assert parsed(result).version_policy.HasField("all")
    assert (result.keep_before, result.notes) == (False, ())
