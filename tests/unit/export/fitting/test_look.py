"""What is chosen for a folder fits what is in it, and what is given is taken."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from support.normal_folders import write_images, write_rows, write_signals, write_sounds

from avizor_export.fitting import folder
from avizor_export.fitting.classifier.plan import AskedClassifier, plan_classifier
from avizor_export.fitting.folder import NormalItems, Where, modality_of
from avizor_export.fitting.kinds.base import Wanted
from avizor_export.fitting.plan import Asked, Plan, plan_for, with_latent, with_width
from avizor_inference.errors import DatasetError, ExportError
from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import KINDS, AudioInput, ImageInput, SignalInput, TableInput


def plan(path: Path, asked: Asked | None = None, **where: object) -> Plan:
    return plan_for(Where(path, **where), asked or Asked())  # type: ignore[arg-type]


def value(made: Plan, name: str) -> str:
    return next(choice.value for choice in made.choices if choice.name == name)


def test_every_choice_has_a_reason(tmp_path: Path) -> None:
    made = plan(write_sounds(tmp_path, 30))
    names = ["items", "sample rate", "front end", "window", "hop", "network", "steps", "held out", "alpha"]
    assert [choice.name for choice in made.choices] == names
    assert all(len(choice.reason) > 10 for choice in made.choices)


def test_the_window_of_short_sounds_is_no_longer_than_they_are(tmp_path: Path) -> None:
    sound = plan(write_sounds(tmp_path, 30, seconds=0.3)).recipe.input
    assert isinstance(sound, AudioInput)
    assert 0.15 * 8000 < sound.window_samples <= 0.3 * 8000
    assert sound.front_end.frames(sound.window_samples) % 8 == 0  # type: ignore[union-attr]


def test_long_sounds_have_windows_of_two_seconds(tmp_path: Path) -> None:
    sound = plan(write_sounds(tmp_path, 30, seconds=3)).recipe.input
    assert isinstance(sound, AudioInput)
    assert sound.window_samples / sound.sample_rate == pytest.approx(2.08)


def test_a_high_sample_rate_is_kept_where_there_is_sound_up_there(tmp_path: Path) -> None:
    write_sounds(tmp_path / "low", 30, rate=44100, seconds=0.2)
    assert value(plan(tmp_path / "low"), "sample rate") == "16000 Hz"
    (tmp_path / "high").mkdir()
    for number in range(30):
        times = np.arange(8820) / 44100
        noise = 0.01 * np.random.default_rng(number).normal(size=len(times))
        soundfile.write(tmp_path / "high" / f"{number}.wav", 0.3 * np.sin(2 * np.pi * 12_000 * times) + noise, 44100)
    assert value(plan(tmp_path / "high"), "sample rate") == "44100 Hz"


def test_what_is_given_is_taken(tmp_path: Path) -> None:
    write_sounds(tmp_path, 40, seconds=2)
    asked = Asked(
        wanted=Wanted(sample_rate=4000, window_s=1, hop_s=0.5), spec="conv8s2bn latent4", steps=77, calibration=0.5, alpha=0.2
    )
    made = plan(tmp_path, asked)
    sound = made.recipe.input
    assert isinstance(sound, AudioInput)
    assert (sound.sample_rate, sound.hop_samples) == (4000, 2000)
    assert 0.7 < sound.window_samples / 4000 <= 1
    assert (made.recipe.spec, made.recipe.most_steps) == ("conv8s2bn latent4", 77)
    assert made.parts is not None
    assert len(made.parts.calibration) == 20
    given = {choice.name for choice in made.choices if choice.is_given}
    assert given == {"sample rate", "window", "hop", "network", "steps", "held out", "alpha"}


def test_a_whole_input_can_be_given(tmp_path: Path) -> None:
    described = "audio:sample_rate=8000,window_samples=800,hop_samples=800,n_fft=256,hop_length=80,n_mels=8"
    made = plan(write_sounds(tmp_path, 30), Asked(input=described, spec="conv8s2bn latent4"))
    assert made.recipe.input.window_format().window == 800  # type: ignore[union-attr]
    with pytest.raises(ExportError, match=r"--input describes image, and .* holds audio"):
        plan(tmp_path, Asked(input="image:height=8,width=8,channels=1"))


def test_pictures_keep_a_size_that_is_trained_in_minutes(tmp_path: Path) -> None:
    small = plan(write_images(tmp_path / "small", 40, width=24, height=16)).recipe.input
    assert isinstance(small, ImageInput)
    assert (small.width, small.height, small.channels, small.fit) == (24, 16, 1, "stretch")
    large = plan(write_images(tmp_path / "large", 40, width=640, height=480)).recipe.input
    assert isinstance(large, ImageInput)
    assert (large.width, large.height) == (96, 72)
    asked = Asked(wanted=Wanted(size=(32, 64)))
    assert plan(tmp_path / "large", asked).recipe.input.tensor().item_shape == (32, 64, 1)


def test_colour_takes_three_channels(tmp_path: Path) -> None:
    write_images(tmp_path, 40)
    Image.new("RGB", (16, 16), (200, 30, 30)).save(tmp_path / "red.png")
    assert plan(tmp_path).recipe.input.tensor().item_shape == (16, 16, 3)


def test_signals_of_one_length_are_seen_as_a_whole(tmp_path: Path) -> None:
    signal = plan(write_signals(tmp_path, 40, steps=100)).recipe.input
    assert isinstance(signal, SignalInput)
    assert (signal.channels, signal.window_samples, signal.sample_rate) == (2, 96, None)


def test_signals_of_other_lengths_are_cut(tmp_path: Path) -> None:
    write_signals(tmp_path, 40, steps=3000)
    assert plan(tmp_path).recipe.input.window_format().window == 256  # type: ignore[union-attr]


def test_a_folder_of_many_csv_files_holds_signals_and_of_few_a_table(tmp_path: Path) -> None:
    for number in range(30):
        write_rows(tmp_path / "many" / f"{number}.csv", 20, seed=number)
    assert modality_of(Where(tmp_path / "many")) == "signal"
    for number in range(4):
        write_rows(tmp_path / "few" / f"{number}.csv", 50, seed=number)
    assert modality_of(Where(tmp_path / "few")) == "table"
    assert len(plan(tmp_path / "few").items) == 200


def test_columns_of_a_table_are_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    more: dict[str, list[object]] = {
        "price": [f"{value:.2f}" for value in np.exp(2 * rng.normal(size=300))],
        "seen": [f"2026-05-{1 + row % 28:02d} {row}" for row in range(300)],
        "unit": ["kg"] * 300,
        "gap": ["" if row % 3 else "1.5" if row % 2 else "2" for row in range(300)],
        "nothing": [""] * 300,
    }
    made = plan(write_rows(tmp_path / "rows.csv", 300, more=more))
    table = made.recipe.input
    assert isinstance(table, TableInput)
    kinds = {column.name: column.kind for column in table.front_end.columns}
    assert kinds == {"pieces": "number", "amount": "number", "country": "category", "price": "number", "gap": "number"}
    assert {column.name for _, column in table.front_end.numbers if column.scale == "log1p"} == {"price"}
    (without,) = (choice.reason for choice in made.choices if choice.name == "without")
    assert re.search(r"number \(it grows from row to row.*seen \(\d+ different texts.*unit \(it never changes\)", without)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([f"{1 + row % 28}.05.2026" for row in range(300)], "it holds dates, which are no numbers; add a column"),
        ([f"05/{1 + row % 28:02d}/26" for row in range(300)], "it holds dates"),
        ([f"2026-05-{1 + row % 28:02d}T08:00:00Z" if row else "" for row in range(300)], "it holds dates"),
        ([f"2026-{1 + row % 3:02d}" for row in range(300)], "it holds dates"),
        ([f"2026-W{1 + row % 9:02d}" for row in range(300)], "it holds dates"),
        ([f"2026W{1 + row % 9:02d}{1 + row % 7}" for row in range(300)], "it holds dates"),
        ([f"2026-Q{1 + row % 4}" for row in range(300)], "it holds dates"),
        ([f"{1 + row % 28} May 2026" for row in range(300)], "it holds dates"),
        ([f"{1 + row % 28:02d}-Jan-26 08:00" for row in range(300)], "it holds dates"),
        ([f"September {1 + row % 28}, 2026" for row in range(300)], "it holds dates"),
        ([20260101 + row % 28 for row in range(300)], "it holds dates"),
        ([20260101 + row // 100 for row in range(300)], "it holds dates"),
        ([f"{20260101 + row % 28}.0" if row % 50 else "99999999" for row in range(300)], "it holds dates"),
        ([f"202601{1 + row % 28:02d}{row % 24:02d}{row % 60:02d}" for row in range(300)], "it holds dates"),
        ([f"202601{1 + row % 28:02d}{row % 24:02d}{row % 60:02d}59" for row in range(300)], "it holds dates"),
        ([f"{row % 24}:{row % 60:02d}" for row in range(300)], "it holds times, .* add a column of the hour"),
    ],
)
def test_days_are_no_categories_since_all_later_ones_would_be_unknown(
    tmp_path: Path, column: list[object], reason: str
) -> None:
    made = plan(write_rows(tmp_path / "rows.csv", 300, more={"when": column}))
    assert isinstance(made.recipe.input, TableInput)
    assert "when" not in {each.name for each in made.recipe.input.front_end.columns}
    assert re.search(rf"when \({reason}", next(choice.reason for choice in made.choices if choice.name == "without"))


def test_texts_that_resemble_times_and_come_again_are_categories(tmp_path: Path) -> None:
    more: dict[str, list[object]] = {
        "shift": [("06:00", "14:00", "22:00")[row % 3] for row in range(300)],
        "release": [f"1.2.{row % 3}" for row in range(300)],
        "quarter": [f"Q{1 + row % 4}" for row in range(300)],
        "month": ["Jan", "Mar", "Dec"] * 100,
        "model": ["2024 Wagon", "2025 Qashqai", "Maybach 2020"] * 100,
    }
    made = plan(write_rows(tmp_path / "rows.csv", 300, more=more))
    assert isinstance(made.recipe.input, TableInput)
    assert set(more) <= {each.name for each in made.recipe.input.front_end.columns}


def test_numbers_of_eight_digits_that_are_no_days_are_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    more: dict[str, list[object]] = {
        "cents": [int(value) for value in rng.integers(19_000_000, 21_000_000, 300)],
        "article": [(20011234, 20015555, 20010101)[row % 3] for row in range(300)],
        "plant": [(20010101, 20020202)[row % 2] for row in range(300)],
        "grams": [f"{value:.2f}" for value in rng.normal(20260115, 5, 300)],
    }
    made = plan(write_rows(tmp_path / "rows.csv", 300, more=more))
    assert isinstance(made.recipe.input, TableInput)
    assert set(more) <= {each.name for each in made.recipe.input.front_end.columns if each.kind == "number"}


def test_numbers_that_only_tell_rows_apart_are_left_out_in_any_order(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(300)
    more: dict[str, list[object]] = {
        "account_id": [str(1000 + 977 * row) for row in order],
        "place": [str(row) for row in order],  # each number once
        "steps": [str(977 * row) for row in order],  # each number once as well, but with gaps, and not named like an id
        "klass": [str(row % 3) for row in order],
    }
    made = plan(write_rows(tmp_path / "rows.csv", 300, more=more))
    assert isinstance(made.recipe.input, TableInput)
    assert {"steps", "klass"} < set(made.recipe.input.column_names())
    reasons = {choice.name: choice.reason for choice in made.choices}
    assert re.search(r"account_id \(.*named like the number of a row.*place \(each number is there once", reasons["without"])
    assert "if they are a label" in reasons["column klass"]


def test_a_few_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    more: dict[str, list[object]] = {"width": [str(0.5 + row) if row % 50 else "?" for row in range(300)]}
    with pytest.raises(DatasetError, match=r"column 'width' holds numbers, but for 4 of 210 .*: \?; .*--leave-out width"):
        plan(write_rows(tmp_path / "rows.csv", 300, more=more))


def test_a_small_source_does_not_decide_over_alpha(tmp_path: Path) -> None:
    more: dict[str, list[object]] = {"machine": ["b" if row < 6 else "a" for row in range(400)]}
    made = plan(write_rows(tmp_path / "rows.csv", 400, more=more), columns=Columns(source="machine"))
    (alpha,) = (choice for choice in made.choices if choice.name == "alpha")
    assert alpha.value == "0.01"
    assert alpha.reason.endswith("; 1 smaller source is judged by all together")


def test_no_alpha_is_chosen_that_no_source_supports(tmp_path: Path) -> None:
    more: dict[str, list[object]] = {"machine": [f"m{row % 30}" for row in range(900)]}
    made = plan(write_rows(tmp_path / "rows.csv", 900, more=more), columns=Columns(source="machine"))
    assert value(made, "held out").endswith(" / 360")  # 12 of each source, too few for 0.05
    assert value(made, "alpha") == "0.1"


def converted(message: str, folder: Path) -> None:
    """Run the command of a message as a user does."""
    (command,) = re.findall(r"python -c .*?[.]csv'? > \S*(?: \S*')?(?=`|$)", message)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command, shell=True, check=True, cwd=folder, env=os.environ | {"PATH": path})


def test_numbers_with_a_decimal_comma_are_not_left_out_as_texts(tmp_path: Path) -> None:
    more: dict[str, list[object]] = {"force": [f"{row},{row % 7}5" for row in range(60)]}
    rows = write_rows(tmp_path / "TABLE.csv", 60, more=more)
    with pytest.raises(
        DatasetError, match="column 'force' holds numbers with a decimal comma, such as 0,05; give --leave-out"
    ) as caught:
        plan(rows)
    assert "force" in value(plan(rows, Asked(wanted=Wanted(leave_out=("force",)))), "left out")
    converted(str(caught.value), tmp_path)
    assert value(plan(tmp_path / "TABLE-commas.csv"), "column force") == "number"


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), (";", "cp1252"), ("\t", "utf-8")])
def test_a_table_as_excel_writes_it_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, separator: str, encoding: str
) -> None:
    """Columns are separated by another mark, decimals have a comma, and texts may not be in UTF-8."""
    more: dict[str, list[object]] = {"account": [f"00{row % 5}" for row in range(100)]}
    text = (
        write_rows(tmp_path / "plain.csv", 100, more=more).read_text().replace("number,", "größe,").replace("ES", "Österreich")
    )
    (tmp_path / "plain.csv").write_text(text.replace("1001,", "1234567.25,"), encoding="utf-8")
    foreign = tmp_path / "of may.csv"
    marked = text.replace(",", separator).replace(".", ",").replace(f"1001{separator}", f"1.234.567,25{separator}")
    foreign.write_text(marked, encoding=encoding)
    with pytest.raises(DatasetError, match=r"of may\.csv: its columns are separated by '(;|\\t)', and tables") as caught:
        plan(foreign)
    converted(str(caught.value), tmp_path)
    made, expected = (
        list(csv.reader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        for name in ("of may-commas.csv", "plain.csv")
    )
    assert made == expected
    assert "account" in plan(tmp_path / "of may-commas.csv").recipe.input.column_names()


def test_one_recording_of_a_low_rate_does_not_decide_over_the_rate(tmp_path: Path) -> None:
    write_sounds(tmp_path / "sounds", 60)
    (before,) = (choice for choice in plan(tmp_path / "sounds").choices if choice.name == "sample rate")
    first = min((tmp_path / "sounds").rglob("*.wav"))
    samples, rate = soundfile.read(first)
    soundfile.write(first, samples[::2], rate // 2)
    made = plan(tmp_path / "sounds")
    assert value(made, "sample rate") == before.value
    assert any("several sample rates" in warning for warning in made.warnings)


def test_a_table_may_name_its_sources(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", 300)
    made = plan(path, columns=Columns(source="country"))
    assert set(made.items.by_source) == {"ES", "PT", "FR"}
    assert "country" in made.recipe.input.column_names()


def test_a_tar_a_list_and_a_pattern_are_listed_too(tmp_path: Path) -> None:
    write_images(tmp_path / "pictures", 40)
    with tarfile.open(tmp_path / "pictures.tar", "w") as tar:
        tar.add(tmp_path / "pictures", "pictures")
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/pictures/{number:03d}.png\n" for number in range(35)))
    assert len(plan(tmp_path / "pictures.tar").items) == 40
    assert len(plan(tmp_path / "list.txt").items) == 35
    assert modality_of(Where(tmp_path / "pictures" / "*.png")) == "image"


def test_more_items_than_memory_holds_are_chosen_by_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST_ITEMS", 40)
    path = write_rows(tmp_path / "rows.csv", 500)
    items = NormalItems(Where(path), KINDS["table"], ("pieces",))
    assert (items.listed, len(items)) == (500, 40)
    numbers = [int(items.name(number).partition("#")[2]) for number in range(40)]
    assert numbers == sorted(set(numbers))
    assert 100 < np.mean(numbers) < 400
    again = NormalItems(Where(path), KINDS["table"], ("pieces",))
    assert [again.name(number) for number in range(40)] == [items.name(number) for number in range(40)]


def test_a_width_and_a_latent_space_change_a_spec() -> None:
    assert with_latent("conv16s2bn latent24", 8) == "conv16s2bn latent8"
    assert with_width("conv16s2bn conv32s2bn fc128bn latent24", 8) == "conv8s2bn conv16s2bn fc64bn latent24"
    assert with_width("fc64 latent3", None) == "fc64 latent3"


def test_each_of_several_tables_is_said_with_its_rows_and_so_are_columns_that_not_all_have(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    for number, rows in enumerate((60, 40, 50)):
        write_rows(tables / f"{number}.csv", rows, seed=number)
    made = plan(tables)
    (files,) = (choice for choice in made.choices if choice.name == "files")
    assert (files.value, files.reason) == ("3 files", "0.csv gave 60 rows, 1.csv 40, 2.csv 50")
    assert not any("column" in warning for warning in made.warnings)
    write_rows(tables / "1.csv", 40, more={"extra": list(range(40)), "other": list(range(40))})
    numbers = {name: [1.5] * 30 for name in ("number", "pieces", "amount", "extra")}
    pq.write_table(pa.table(numbers | {"country": ["ES"] * 30}), tables / "sub.parquet")
    (warning,) = (each for each in plan(tables).warnings if "column" in each)
    assert warning == (
        "2 tables have columns that the first one does not have, and which are left out: "
        "1.csv (extra, other), sub.parquet (extra)"
    )
    asked = AskedClassifier(kind="table")
    assert plan_classifier(Where(tables, columns=Columns(source="country")), asked).warnings == (warning,)
    for number in range(3, 9):
        write_rows(tables / f"{number}.csv", 100 + number)
    (files,) = (choice for choice in plan(tables).choices if choice.name == "files")
    assert files.reason == "each gave 30 (sub.parquet) to 108 rows (8.csv)"
    assert not any(choice.name == "files" for choice in plan(tables / "1.csv").choices)


def test_columns_are_those_of_the_first_table_also_if_none_of_its_rows_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_ITEMS", 60)
    write_rows(tmp_path / "0.csv", 1)
    for number in (1, 2):
        write_rows(tmp_path / f"{number}.csv", 200, seed=number, more={"extra": list(range(200))})
    made = plan(tmp_path)
    assert "0.csv" not in made.items.files()
    (warning,) = (each for each in made.warnings if "column" in each)
    assert (
        warning
        == "2 tables have columns that the first one does not have, and which are left out: 1.csv (extra), 2.csv (extra)"
    )
