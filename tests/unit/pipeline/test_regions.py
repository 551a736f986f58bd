"""derived/regions.py: flagged windows that overlap or touch are one region, also where a long file was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from avizor_pipeline.derived.regions import write_regions
from avizor_pipeline.sinks.part_files import PartWriter

RATE = 8000


def window(
    uri: str, start_s: float, p_value: float, *, channel: int = 0, model: str = "fan", flagged: bool = True
) -> dict[str, Any]:
    return {
        "uri": uri,
        "source": "hall",
        "model": model,
        "channel": channel,
        "start_sample": round(start_s * RATE),
        "end_sample": round((start_s + 1) * RATE),
        "start_s": start_s,
        "end_s": start_s + 1,
        "score": 1 / p_value,
        "p_value": p_value,
        "is_anomaly": flagged,
    }


def part(out: Path, name: str, *windows: dict[str, Any]) -> None:
    writer = PartWriter(out, name)
    for each in windows:
        writer.add("windows", each)
    writer.finish()
    writer.publish()


def regions(out: Path) -> list[tuple[Any, ...]]:
    write_regions(out)
    rows = pq.read_table(out / "regions.parquet").to_pylist()
    return sorted((row["uri"], row["model"], row["channel"], row["start_s"], row["end_s"], row["windows"]) for row in rows)


def test_windows_that_overlap_or_touch_are_one_region_and_others_part_them(tmp_path: Path) -> None:
    part(
        tmp_path,
        "0" * 16,
        window("a.wav", 0.0, 0.02),
        window("a.wav", 0.5, 0.01),
        window("a.wav", 1.5, 0.04),
        window("a.wav", 2.0, 0.9, flagged=False),
        window("a.wav", 3.0, 0.03),
        window("b.wav", 0.5, 0.03),
    )
    assert regions(tmp_path) == [
        ("a.wav", "fan", 0, 0.0, 2.5, 3),
        ("a.wav", "fan", 0, 3.0, 4.0, 1),
        ("b.wav", "fan", 0, 0.5, 1.5, 1),
    ]
    first = pq.read_table(tmp_path / "regions.parquet").to_pylist()[0]
    assert (first["start_sample"], first["end_sample"]) == (0, 20000)
    assert (first["p_value"], first["score"]) == (0.01, pytest.approx(100))
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_each_model_and_each_channel_has_regions_of_its_own(tmp_path: Path) -> None:
    part(
        tmp_path,
        "0" * 16,
        window("a.wav", 0.0, 0.02),
        window("a.wav", 0.5, 0.02, channel=1),
        window("a.wav", 0.5, 0.02, model="pump"),
        window("a.wav", 1.0, 0.02, channel=1),
    )
    assert regions(tmp_path) == [
        ("a.wav", "fan", 0, 0.0, 1.0, 1),
        ("a.wav", "fan", 1, 0.5, 2.0, 2),
        ("a.wav", "pump", 0, 0.5, 1.5, 1),
    ]


def test_a_region_goes_on_over_the_edges_of_sections(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        part(
            tmp_path,
            f"{'f' * 16}-{number:06d}",
            *(window("day.wav", number * 2 + second, 0.02, channel=channel) for second in (0, 1) for channel in (0, 1)),
        )
    part(tmp_path, "e" * 16, window("other.wav", 0.0, 0.02))
    assert regions(tmp_path) == [
        ("day.wav", "fan", 0, 0.0, 6.0, 6),
        ("day.wav", "fan", 1, 0.0, 6.0, 6),
        ("other.wav", "fan", 0, 0.0, 1.0, 1),
    ]


def test_what_is_no_recording_and_what_is_not_flagged_have_none(tmp_path: Path) -> None:
    picture = window("a.png", 0.0, 0.02) | dict.fromkeys(["channel", "start_sample", "end_sample", "start_s", "end_s"])
    part(tmp_path, "0" * 16, picture, window("a.wav", 0.0, 0.9, flagged=False))
    assert regions(tmp_path) == []
