"""repository/calibration.py: the file of normal scores, what it refuses, and how recordings are counted."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.manifests import manifest

from avizor_inference.digests import digest_of
from avizor_inference.errors import VersionRefused
from avizor_inference.repository.calibration import ID_PATTERN, POOLED, Calibration, EngineKind

USUAL: dict[str, Any] = {
    "model": "m", "version": 1, "model_sha256": "0" * 64, "engine_class": "onnxruntime-cpu", "precision": "fp32",
}  # fmt: skip


def calibration(**fields: Any) -> Calibration:
    return Calibration.model_validate(USUAL | {"created": datetime.now(UTC), "sources": {}} | fields)


def written(folder: Path, **fields: Any) -> Path:
    made = calibration(**{"sources": {"a": ((1.0,),)}} | fields)
    path = folder / f"{made.id}.json"
    path.write_text(made.model_dump_json())
    return path


def test_scores_that_are_not_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="should be a finite number"):
        calibration(sources={"a": ((float("nan"),),)})
    with pytest.raises(ValueError, match=r"source 'a' has no recordings, or one without windows"):
        calibration(sources={"b": ((1.0,),), "a": ((1.0,), ())})
    with pytest.raises(ValueError, match=r"source 'a' has no recordings, or one without windows"):
        calibration(sources={"a": ()})
    with pytest.raises(ValueError, match=r"source 'a' has a score below 0"):
        calibration(short={"a": ((0.0,), (1.0, -0.1))})
    with pytest.raises(ValueError, match="Value error, it holds no recordings"):
        calibration()
    with pytest.raises(ValueError, match="folds\n  Input should be greater than or equal to 0"):
        calibration(sources={"a": ((1.0,),)}, folds=-1)


@pytest.mark.parametrize("field", [*USUAL, "created", "sources"])
def test_what_a_calibration_must_say(field: str) -> None:
    fields = USUAL | {"created": datetime.now(UTC).isoformat(), "sources": {"a": [[1.0]]}}
    del fields[field]
    with pytest.raises(ValueError, match=rf"1 validation error for Calibration\n{field}\n  Field required"):
        Calibration.from_json(json.dumps(fields).encode())


def test_a_score_may_be_0() -> None:
    assert calibration(sources={"a": ((0.0,),)}).recordings() == 1


def test_a_calibration_of_another_kind_is_refused_and_says_why() -> None:
    with pytest.raises(ValueError, match=r"schema_version is 2, and this release reads 3: before, a calibration did not name"):
        calibration(schema_version=2, sources={"a": ((1.0,),)})
    assert calibration(sources={"a": ((1.0,),)}).schema_version == 3


def test_recordings_are_counted_by_source_with_short_ones() -> None:
    mixed = calibration(sources={"a": ((1.0,), (2.0,))}, short={"a": ((1.0,),), "b": ((1.0,),)})
    assert (mixed.recordings("a"), mixed.recordings("b"), mixed.recordings("c"), mixed.recordings()) == (3, 1, 0, 4)
    assert mixed.source_names == ["a", "b"]


def test_recordings_of_each_kind_are_kept_and_counted_apart() -> None:
    mixed = calibration(sources={"a": ((1.0,), (2.0,))}, short={"b": ((3.0,),)})
    assert (mixed.of_kind(False), mixed.of_kind(True)) == ({"a": ((1.0,), (2.0,))}, {"b": ((3.0,),)})
    assert [mixed.count(source, is_short=False) for source in (POOLED, "a", "b")] == [2, 2, 0]
    assert [mixed.count(source, is_short=True) for source in (POOLED, "a", "b")] == [1, 0, 1]
    assert (mixed.count(is_short=False), mixed.count(is_short=True)) == (2, 1)
    assert mixed.most_of_a_kind() == 2
    assert calibration(sources={"a": ((1.0,),)}, short={"b": ((3.0,), (4.0,))}).most_of_a_kind() == 2


def test_a_flat_folder_tells_no_sources_apart() -> None:
    assert not calibration(sources={"default": ((1.0,),)}).tells_sources_apart
    assert not calibration(sources={}, short={"default": ((1.0,),)}).tells_sources_apart
    assert calibration(sources={"pump-1": ((1.0,),)}).tells_sources_apart
    assert calibration(sources={"default": ((1.0,),)}, short={"pump-1": ((1.0,),)}).tells_sources_apart


def test_the_id_is_the_beginning_of_the_digest_and_changes_with_every_score() -> None:
    one = calibration(sources={"a": ((1.0,),)}, created=datetime(2026, 1, 1, tzinfo=UTC))
    other = one.model_copy(update={"sources": {"a": ((1.1,),)}})
    assert re.fullmatch(ID_PATTERN, one.id)
    assert digest_of(one).startswith(one.id)
    assert Calibration.from_json(one.model_dump_json().encode()).id == one.id
    assert Calibration.model_validate(other.model_dump()).id != one.id


@pytest.mark.parametrize("name", ["", "0123456789a", "0123456789abc", "0123456789AB", "0123456789ag", "../../x/y/zz", "active"])
def test_what_is_no_id_is_not_taken_for_one(name: str) -> None:
    assert not re.fullmatch(ID_PATTERN, name)


def test_an_engine_kind_is_written_as_one_text_and_read_again() -> None:
    kind = EngineKind("tensorrt", "fp16")
    assert (kind.key, str(kind), EngineKind.from_key(kind.key)) == ("tensorrt/fp16", "tensorrt in fp16", kind)
    assert calibration(sources={"a": ((1.0,),)}).kind == EngineKind("onnxruntime-cpu", "fp32")
    for text in ("tensorrt", "tensorrt/fp8", "cpu/fp32", "tensorrt/fp16/"):
        with pytest.raises(ValueError, match="is not an engine class and a precision"):
            EngineKind.from_key(text)


def test_each_engine_class_and_precision_keeps_the_name_that_files_have_of_it() -> None:
    for engine_class in ("onnxruntime-cpu", "onnxruntime-cuda", "tensorrt", "openvino"):
        for precision in ("fp32", "bf16", "fp16", "int8"):
            made = calibration(sources={"a": ((1.0,),)}, engine_class=engine_class, precision=precision)
            assert EngineKind.from_key(f"{engine_class}/{precision}") == made.kind


def test_the_name_of_all_sources_together_is_part_of_the_format() -> None:
    assert POOLED == "*"


def test_a_calibration_is_read_beside_the_version_it_was_made_with(tmp_path: Path) -> None:
    read = Calibration.read(written(tmp_path), manifest())
    assert (read.model, read.sources, read.short, read.precision) == ("m", {"a": ((1.0,),)}, {}, "fp32")


def test_a_file_that_is_not_a_calibration_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    for text, begins, why, before in (
        (None, f"{path}: cannot be read (", "no such file or directory", "; restore it, or "),
        ("{}", f"{path} is not a calibration: ", "model: is missing", "; "),
        (json.dumps(USUAL)[:-1] + ', "version": 2}', f"{path} is not a calibration: ", "created: is missing", "; "),
    ):
        if text is not None:
            path.write_text(text)
        with pytest.raises(VersionRefused) as refusal:
            Calibration.read(path, manifest())
        assert str(refusal.value).startswith(begins)
        assert why in str(refusal.value)
        assert str(refusal.value).endswith(f"{before}calibrate the model again with `avizor calibrate`")


def test_a_calibration_of_another_model_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(VersionRefused) as refusal:
        Calibration.read(path, manifest(model_sha256="5" * 64))
    assert str(refusal.value) == (
        f"{path} was made with another model.onnx (sha256 000000000000..., here 555555555555...); "
        "calibrate the model again with `avizor calibrate`"
    )


def test_a_calibration_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("1.0", "1.5"))
    with pytest.raises(VersionRefused, match="was changed: its digest begins with"):
        Calibration.read(path, manifest())


def test_an_engine_may_compute_in_another_precision_than_the_graph(tmp_path: Path) -> None:
    path = written(tmp_path, engine_class="tensorrt", precision="fp16")
    assert Calibration.read(path, manifest()).kind == EngineKind("tensorrt", "fp16")


def test_what_it_says_of_channels_leaves_the_ids_of_older_calibrations_as_they_are(tmp_path: Path) -> None:
    before = calibration(sources={"a": ((1.0,),)})
    assert "channels" not in before.model_dump_json()
    assert (before.channels, before.folds) == ("each", 0)
    for channels in ("mix", 1):
        made = before.model_copy(update={"channels": channels})
        assert made.id != before.id
        assert Calibration.from_json(made.model_dump_json().encode()) == made
