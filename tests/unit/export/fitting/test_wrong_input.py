"""What no model can be fitted to is refused in a sentence before a training, and what is odd is said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner
from PIL import Image
from support.normal_folders import RATE, write_images, write_rows, write_signals, write_sounds

from avizor_export.fitting.cli import fit
from avizor_export.fitting.folder import NormalItems, Where
from avizor_export.fitting.kinds.base import Wanted
from avizor_export.fitting.plan import Asked, Plan, plan_for
from avizor_export.fitting.sample import features
from avizor_export.fitting.script import script_for
from avizor_inference.errors import AvizorError, DatasetError
from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import ImageInput
from avizor_inference.items.source_rule import SourceRule


def plan(path: Path, asked: Asked | None = None, **where: object) -> Plan:
    return plan_for(Where(path, **where), asked or Asked())  # type: ignore[arg-type]


def refusal(path: Path, **where: object) -> str:
    with pytest.raises(AvizorError) as caught:
        plan(path, **where)  # type: ignore[arg-type]
    return str(caught.value)


def test_one_file(tmp_path: Path) -> None:
    write_sounds(tmp_path, 1)
    assert re.search(r"000\.wav is one file.*give a folder of normal items", refusal(tmp_path / "000.wav"))


def test_too_few_items(tmp_path: Path) -> None:
    write_sounds(tmp_path, 29)
    (tmp_path / "notes.txt").write_text("of May")
    assert re.search(r"has 29 recordings \(left out: 1 \.txt\); at least 30 normal recordings are needed", refusal(tmp_path))


def test_a_table_of_one_row(tmp_path: Path) -> None:
    (tmp_path / "normal.csv").write_text("a,b\n1,2\n")
    assert "normal.csv has 1 row; at least 30 normal rows are needed" in refusal(tmp_path / "normal.csv")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "holds no files of the kinds that are read (images, sound, signals, tables)" in refusal(tmp_path)


def test_pictures_of_a_telephone_are_to_be_converted(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    told = refusal(tmp_path)
    assert "(images, sound, signals, tables) (left out: 30 .heic; to read .heic: convert them to JPEG or PNG, as with" in told


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert "nothing does not exist; name a folder of items, or a file" in refusal(tmp_path / "nothing")


def test_silent_files(tmp_path: Path) -> None:
    write_sounds(tmp_path, 40)
    for number in range(25):
        soundfile.write(tmp_path / f"{number:03d}.wav", np.zeros(RATE // 2), RATE)
    assert re.search(
        r"\d+ of \d+ recordings that were listened to are silent .*000\.wav.*check how they were", refusal(tmp_path)
    )


def test_a_few_silent_files_are_named(tmp_path: Path) -> None:
    write_sounds(tmp_path, 40)
    soundfile.write(tmp_path / "007.wav", np.zeros(RATE // 2), RATE)
    assert any(re.search(r"silent recordings, 1 of 40 .*007\.wav; remove them", each) for each in plan(tmp_path).warnings)


def test_items_of_one_source_only(tmp_path: Path) -> None:
    write_sounds(tmp_path, 30, sources=("pump-1",))
    assert any("one source, 'pump-1'" in each and "the promise is for it alone" in each for each in plan(tmp_path).warnings)


def test_items_of_several_sources_or_of_a_flat_folder_need_no_word(tmp_path: Path) -> None:
    write_sounds(tmp_path / "two", 20, sources=("pump-1", "pump-2"))
    write_sounds(tmp_path / "flat", 30)
    assert plan(tmp_path / "two").warnings == plan(tmp_path / "flat").warnings == ()


def test_what_sub_folders_are_taken_for_is_told(tmp_path: Path) -> None:
    write_sounds(tmp_path / "letters", 15, sources=("A", "B"))
    (told,) = (each for each in plan(tmp_path / "letters").choices if each.name == "sources")
    assert told.value == "2, the sub-folders"
    assert told.reason.endswith("with a promise of its own; if they are classes to tell apart, give --labels")
    write_sounds(tmp_path / "flat", 30)
    assert not any(each.name == "sources" for each in plan(tmp_path / "flat").choices)


def named_images(folder: Path, *names: str) -> Path:
    """Forty pictures, of which every other one has the second name."""
    write_images(folder, 40)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"{names[number % len(names)]}_{path.name}")
    return folder


@pytest.mark.parametrize(
    ("good", "bad"), [("ok", "scratch"), ("good", "bad"), ("normal_id_00", "anomaly_id_00"), ("OK", "not-OK")]
)
def test_files_that_are_named_good_and_bad(good: str, bad: str, tmp_path: Path) -> None:
    message = refusal(named_images(tmp_path, good, bad))
    assert f"has 20 files named like '{good}_000.png', and 20 like '{bad}_001.png', which sounds abnormal" in message
    assert f"give the normal ones alone, as in '{tmp_path}/{good.partition('_')[0]}*'" in message
    assert len(plan(tmp_path, rule=SourceRule("([^/]+)/")).items) == 40


def test_the_pattern_that_the_refusal_names_takes_the_class_from_the_name(tmp_path: Path) -> None:
    (pattern,) = re.findall(r"--labels with --source-pattern '(.*?)'", refusal(named_images(tmp_path, "ok", "scratch")))
    rule = SourceRule(pattern)
    assert [rule.source_of(name) for name in ("ok_000.png", "scratch_001.png", "a/not_ok_12_b.png")] == [
        "ok",
        "scratch",
        "not_ok",
    ]


def test_files_with_a_word_that_sounds_abnormal(tmp_path: Path) -> None:
    (warning,) = plan(named_images(tmp_path, "part", "crack")).warnings
    assert warning.startswith("20 of 40 files have names that sound abnormal, such as 'crack_001.png'")


@pytest.mark.parametrize("names", [("fan", "pump"), ("ok",), ("token", "broker"), ("badge", "scratchpad")])
def test_files_with_other_names_need_no_word(names: tuple[str, ...], tmp_path: Path) -> None:
    assert plan(named_images(tmp_path, *names)).warnings == ()


def test_mixed_rates(tmp_path: Path) -> None:
    write_sounds(tmp_path / "a", 20)
    write_sounds(tmp_path / "b", 15, rate=16000)
    made = plan(tmp_path)
    assert any("several sample rates (20 at 8000 Hz, 15 at 16000 Hz)" in each for each in made.warnings)
    assert made.recipe.input.sample_rate == 8000  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["label", "is_fraud", "Class", "anomaly"])
def test_a_table_with_a_label_column_left_in(tmp_path: Path, name: str) -> None:
    path = write_rows(tmp_path / "rows.csv", 200, more={name: [int(row % 9 == 0) for row in range(200)]})
    assert re.search(rf"column '{name}' looks like a label: it holds 0, 1.*--leave-out {name}", refusal(path))
    without = plan(path, Asked(wanted=Wanted(leave_out=(name,))))
    assert name not in without.recipe.input.column_names()


def test_a_label_column_with_one_value_is_left_out_by_itself(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", 200, more={"label": ["ok"] * 200})
    assert plan(path).recipe.input.column_names() == ("pieces", "amount", "country")


def test_images_of_nearly_the_same_size_need_no_word(tmp_path: Path) -> None:
    for width in range(60, 72):
        write_images(tmp_path / str(width), 3, width=width, height=60)
    assert plan(tmp_path).warnings == ()


def test_images_of_a_hundred_sizes(tmp_path: Path) -> None:
    for number in range(100):
        write_images(tmp_path / "new", 1, width=16 + number).joinpath("000.png").rename(tmp_path / f"{number}.png")
    made = plan(tmp_path)
    assert any(re.search(r"the pictures have \d+ sizes, from \d\d x 16 to \d+ x 16", each) for each in made.warnings)
    assert made.recipe.input.fit == "letterbox"  # type: ignore[union-attr]


def test_pictures_of_several_kinds_are_said(tmp_path: Path) -> None:
    for path in sorted(write_images(tmp_path, 60).iterdir())[40:]:
        grey = np.asarray(Image.open(path))
        deep = Image.fromarray(grey.astype(np.uint16) * 16)
        (deep if path.name < "050" else Image.fromarray(np.stack([grey, 255 - grey, grey], axis=2))).save(path)
    counted = r"40 in grey with 8 bits, such as \S+0\d\d.png; 10 in (grey with 16 bits|colour), such as .*; 10 in "
    (warning,) = plan(tmp_path).warnings
    assert re.match(
        rf"the pictures are of several kinds \({counted}.*\), in which the same thing looks different; fit ", warning
    )


def test_grey_pictures_need_no_word_if_some_are_stored_as_colour(tmp_path: Path) -> None:
    for path in sorted(write_images(tmp_path, 60).iterdir())[40:]:
        Image.open(path).convert("RGB").save(path)
    assert plan(tmp_path).warnings == ()


def test_items_that_are_all_equal(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    for number in range(1, 40):
        (tmp_path / f"{number:03d}.png").write_bytes((tmp_path / "000.png").read_bytes())
    assert re.search(r"the 40 items that were compared are all equal", refusal(tmp_path))


def test_many_copies_are_said(tmp_path: Path) -> None:
    write_images(tmp_path, 40)
    for number in range(1, 30):
        (tmp_path / f"{number:03d}.png").write_bytes((tmp_path / "000.png").read_bytes())
    assert any("30 of 40 items that were compared are equal" in each for each in plan(tmp_path).warnings)


def test_signals_that_never_change(tmp_path: Path) -> None:
    write_signals(tmp_path, 40)
    for number in range(30):
        np.save(tmp_path / f"{number:03d}.npy", np.ones((64, 2), np.float32))
    assert re.search(r"signals that were looked at never change", refusal(tmp_path))


def test_signals_of_other_channels(tmp_path: Path) -> None:
    write_signals(tmp_path, 40)
    np.save(tmp_path / "100.npy", np.random.default_rng(0).normal(size=64).astype(np.float32))
    assert "the signals differ in the number of channels: 40 have 2, 1 have 1" in refusal(tmp_path)


@pytest.mark.parametrize(("good", "bad"), [("good", "broken"), ("ok", "defects"), ("normal", "Anomaly"), ("pass", "not_ok")])
def test_labelled_folders_without_labels(tmp_path: Path, good: str, bad: str) -> None:
    write_images(tmp_path / good, 40)
    write_images(tmp_path / bad, 5)
    message = refusal(tmp_path)
    assert f"{bad!r} sounds abnormal: normal items alone are learnt from" in message
    assert f"give the folder of the normal ones, {tmp_path / good}" in message
    assert "give --labels" in message
    assert set(plan(tmp_path, rule=SourceRule("([^/]+)/")).items.by_source) == {good, bad}
    rows = write_rows(tmp_path / "rows.csv", 40, more={"state": [good, bad] * 20})
    assert f"in its column state, and {bad!r} sounds abnormal" in refusal(rows, columns=Columns(source="state"))


def test_a_folder_of_normal_ones_beside_others(tmp_path: Path) -> None:
    for name in ("normal", "new"):
        write_images(tmp_path / name, 20)
    said = f"sub-folder of several, and all count as normal (new): if its items alone are, give {tmp_path / 'normal'}"
    assert any(said in each for each in plan(tmp_path).warnings)
    assert not any("one sub-folder" in each for each in plan(tmp_path, rule=SourceRule("([^/]+)/")).warnings)


def test_files_of_two_kinds(tmp_path: Path) -> None:
    write_images(tmp_path, 40)
    write_sounds(tmp_path, 30)
    assert re.search(
        r"several kinds, 40 of images and 30 of sound; one model takes one of them: give --kind", refusal(tmp_path)
    )
    assert plan(tmp_path, Asked(kind="image")).items.listed == 40


def test_a_table_of_notes_beside_the_recordings_is_no_second_kind(tmp_path: Path) -> None:
    write_sounds(tmp_path, 30)
    write_rows(tmp_path / "labels.csv", 30)
    assert plan(tmp_path).recipe.input.modality == "audio"


def spoil(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:20])
    return path


WRITERS = {"image": write_images, "audio": write_sounds, "signal": write_signals}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("count", [40, 120])
def test_a_few_files_that_cannot_be_read_are_named_and_left_out(
    tmp_path: Path, kind: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Cross-fitting with 40 items, a split with 120; all is as if they had not been in the folder."""
    clean, damaged = (WRITERS[kind](tmp_path / name, count) for name in ("clean", "damaged"))  # type: ignore[operator]
    for each in sorted(damaged.iterdir())[:: count // 2]:
        spoil(each)
        (clean / each.name).unlink()
    made, without = plan(damaged), plan(clean)
    assert [choice.value for choice in made.choices] == [choice.value for choice in without.choices]
    assert (made.parts, made.folds, made.items.listed) == (without.parts, without.folds, count - 2)
    names = [Path(name).name for name in made.items.without]
    assert len(names) == 2
    assert "2 of the items cannot be read, and are left out: " in caplog.text
    assert all(caplog.text.count(name) == 1 for name in names)
    assert "fix or remove" not in caplog.text
    again = NormalItems(Where(damaged), made.recipe.input, without=made.items.without)
    assert [again.name(number) for number in range(len(again))] == [made.items.name(number) for number in range(count - 2)]
    assert f"without={list(made.items.without)!r}" in script_for(made, "m", Path("models"))


@pytest.mark.parametrize("kind", WRITERS)
def test_many_files_that_cannot_be_read_are_named_together(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, 60)  # type: ignore[operator]
    bad = [spoil(each).name for each in sorted(tmp_path.iterdir())[:40:2]]
    message = refusal(tmp_path)
    assert "20 of 60 items that were looked at cannot be read: " in message
    assert message.endswith("that is no accident: fix or remove them")
    assert all(name in message for name in bad)


def test_a_table_among_others_that_cannot_be_read_is_refused_whatever_its_place(tmp_path: Path) -> None:
    """It stands for all its rows, however many those are."""
    for number in range(5):
        write_rows(tmp_path / f"{number}.csv", 100, seed=number)
    assert len(plan(tmp_path).items) == 500
    (tmp_path / "3.csv").write_text("number,pieces\n1,2\n")
    assert re.search(r"3\.csv: the table has no column 'amount', 'country'.*; fix or remove the file$", refusal(tmp_path))
    (tmp_path / "0.csv").write_bytes(b"\xff\xfe\n1\n")
    assert re.search(r"0\.csv: .*3\.csv: the table has no column .*; fix or remove the files$", refusal(tmp_path))


def test_a_few_rows_that_cannot_be_read_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_rows(tmp_path / "rows.csv", 200)
    path.write_text(path.read_text() + "1,2\n1,2,3,4,5\n")
    assert [name.rsplit("#")[-1] for name in plan(path).items.without] == ["200", "201"]
    assert "the row has 5 values, and the table 4 columns" in caplog.text


def test_rows_that_are_lost_for_one_reason_are_named_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_rows(tmp_path / "rows.csv", 200)
    path.write_text(path.read_text() + "1,2\n" * 4 + "1,2,3,4,5\n")
    assert len(plan(path).items.without) == 5
    named = ", ".join(f"{path}#{number}" for number in range(200, 204))
    assert f"4 items ({named}): the row has 2 values, and the table 4 columns; {path}#204: the row has 5 values" in caplog.text


def test_a_damaged_part_of_a_parquet_file_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, rng = tmp_path / "rows.parquet", np.random.default_rng(0)
    pq.write_table(pa.table({name: rng.normal(size=2000) for name in "ab"}), path, row_group_size=50)
    column = pq.read_metadata(path).row_group(3).column(1)
    data, start = bytearray(path.read_bytes()), column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    assert len(plan(path).items) == 1950
    assert f"50 items ({path}#150-199): not a Parquet file that can be read" in caplog.text
    assert caplog.text.count("rows.parquet#") == 1


def test_tables_without_a_column_of_the_first_one_are_named_together(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.csv").write_text("a,b\n" + "1,2\n" * 50)
    (tmp_path / "0.csv").write_text("a,b,c\n" + "1,2,3\n" * 50)
    named = ", ".join(f"{tmp_path}/{number}.csv" for number in range(1, 4))
    assert refusal(tmp_path) == f"3 files ({named}): the table has no column 'c'; it has a, b; fix or remove the files"


def test_what_was_found_damaged_in_the_training_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, 40)
    spoil(tmp_path / "007.png")
    spec = ImageInput(height=8, width=8, channels=1)
    items = NormalItems(Where(tmp_path), spec)
    assert len(features(items, range(40), spec)) == len(features(items, range(40), spec)) == 39
    assert caplog.text.count("007.png") == 1
    for number in range(3):
        spoil(tmp_path / f"{number:03d}.png")
    with pytest.raises(DatasetError, match=r"4 of 40 items cannot be read"):
        features(items, range(40), spec)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", 100)
    with pytest.raises(DatasetError, match="has no column price; it has number, pieces, amount, country"):
        plan(path, Asked(wanted=Wanted(columns=("price",))))


def test_too_many_folds(tmp_path: Path) -> None:
    write_sounds(tmp_path, 30)
    with pytest.raises(AvizorError, match="--folds 31: give 2 to 30"):
        plan(tmp_path, Asked(folds=31))


def test_each_item_may_be_a_fold(tmp_path: Path) -> None:
    folds = plan(write_rows(tmp_path / "rows.csv", 30), Asked(folds=30)).folds
    assert folds
    assert sorted(folds.folds) == [(number,) for number in range(30)]


def test_a_file_in_a_column_of_bytes_may_be_of_any_kind(tmp_path: Path) -> None:
    assert "say which with --kind" in refusal(write_rows(tmp_path / "x.csv", 40).parent, columns=Columns(bytes="file"))


def test_damaged_files_of_the_calibration_are_found_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, 120)
    bad = [f"{number:03d}.png" for number in plan(tmp_path).parts.calibration[:5]]  # type: ignore[union-attr]
    for name in bad:
        (tmp_path / name).write_bytes(b"no picture")
    assert len(plan(tmp_path).items.without) == 5
    assert all(name in caplog.text for name in bad)


def test_a_recording_of_several_channels_says_what_is_taken(tmp_path: Path) -> None:
    write_sounds(tmp_path, 30)
    soundfile.write(tmp_path / "000.wav", np.random.default_rng(0).uniform(-0.1, 0.1, (RATE // 2, 2)), RATE)
    (choice,) = (each for each in plan(tmp_path).choices if each.name == "channels")
    assert choice.reason == "1 of 30 recordings have several; --channels mix or N takes their mean, or one"


def test_a_name_that_no_model_may_have_is_refused_before_the_work(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--name", "my model"]
    with pytest.raises(AvizorError, match="'my model' is not a valid model name"):
        CliRunner().invoke(fit, arguments, catch_exceptions=False)
