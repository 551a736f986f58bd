"""sharding.py: the same files and settings give the same shards."""

from __future__ import annotations

from pathlib import Path

from unit.pipeline.jobs import entry, settings

from avizor_pipeline.settings import SHARD_FILES, SHARD_FILES_BEFORE, SHARD_MIB, JobSettings
from avizor_pipeline.sharding import LEAST_SHARD_FILES, SMALL_SHARD_FILES, SMALL_SHARDS, shards

# That `settings()` had before shards could grow.
DIGEST_BEFORE = "6144a097ad7d5a2b9dc32c93a0e85a9eaaf94f36ea152aa4b9f7e92f193da8f4"


def test_shards_are_the_same_each_time_and_hold_every_entry_once_in_order() -> None:
    entries = [entry(f"{number}.wav") for number in range(2 * SMALL_SHARD_FILES + 3)]
    first, second = list(shards(settings(), entries)), list(shards(settings(), iter(entries)))
    assert first == second
    assert [len(shard.entries) for shard in first] == [SMALL_SHARD_FILES, SMALL_SHARD_FILES, 3]
    assert [each for shard in first for each in shard.entries] == entries
    assert len({shard.id for shard in first}) == 3


def test_large_files_fill_a_shard_early() -> None:
    entries = [entry(f"{number}.wav", size=SHARD_MIB * 2**19) for number in range(4)]
    assert [len(shard.entries) for shard in shards(settings(), entries)] == [2, 2]


def test_a_file_that_changes_changes_the_id_of_its_shard_alone() -> None:
    entries = [entry(f"{number}.wav") for number in range(2 * SMALL_SHARD_FILES)]
    before = [shard.id for shard in shards(settings(), entries)]
    for change in ({"size": 1001}, {"modified_ns": 2}):
        after = [shard.id for shard in shards(settings(), [entry("0.wav", **change), *entries[1:]])]  # type: ignore[arg-type]
        assert after[0] != before[0]
        assert after[1] == before[1]


def test_other_settings_give_other_ids() -> None:
    entries = [entry("1.wav")]
    ids = {shard.id for alpha in (0.01, 0.05) for shard in shards(settings(alpha=alpha), entries)}
    ids |= {shard.id for shard in shards(settings(Path("data")), entries)}
    assert len(ids) == 3


def test_no_entries_are_no_shards() -> None:
    assert list(shards(settings(), [])) == []


def sizes_of(files: int, **settings_of_job: int) -> list[int]:
    entries = (entry(f"{number}.wav", size=1) for number in range(files))
    return [len(shard.entries) for shard in shards(settings(**settings_of_job), entries)]


def test_shards_after_the_first_ones_have_more_files() -> None:
    small = SMALL_SHARDS * SMALL_SHARD_FILES
    assert sizes_of(small + LEAST_SHARD_FILES + 1) == [SMALL_SHARD_FILES] * SMALL_SHARDS + [LEAST_SHARD_FILES, 1]


def test_a_shard_has_at_most_a_sixty_fourth_of_the_files_before_it_and_no_more_than_the_job_says() -> None:
    sizes = sizes_of(100_000, shard_files=SHARD_FILES)
    before = 0
    for size in sizes:
        assert size <= max(LEAST_SHARD_FILES, before / 64)
        before += size
    assert max(sizes) == SHARD_FILES
    assert len(sizes) < 250  # 403 of 256 files


def test_a_job_that_began_before_shards_could_grow_goes_on_with_the_shards_that_it_has() -> None:
    text = settings().model_dump(mode="json")
    del text["shard_files"]
    begun = JobSettings.model_validate(text)
    assert begun.shard_files == SHARD_FILES_BEFORE
    assert begun.digest == DIGEST_BEFORE
    assert set(sizes_of(30_000)[SMALL_SHARDS:-1]) == {SHARD_FILES_BEFORE}
    assert settings(shard_files=SHARD_FILES).digest != DIGEST_BEFORE


def test_a_long_file_of_sound_is_a_shard_by_itself_of_sections_that_follow_from_its_size() -> None:
    size = SHARD_MIB * 2**20
    entries = [entry("a.wav"), entry("long.WAV", size=3 * size + 1), entry("b.wav"), entry("just.flac", size=size)]
    long, rest = shards(settings(), entries)
    assert ([each.uri for each in long.entries], long.sections) == (["long.WAV"], 4)
    assert ([each.uri for each in rest.entries], rest.sections) == (["a.wav", "b.wav", "just.flac"], 1)
    tasks = list(long.tasks())
    assert [task.id for task in tasks] == [f"{long.id}-{number:06d}" for number in range(4)]
    assert [task.section for task in tasks] == [(number, 4) for number in range(4)]
    assert {task.whole_id for task in tasks} == {long.id}
    assert all(task.is_section for task in tasks)
    assert list(rest.tasks()) == [rest]


def test_what_cannot_be_cut_stays_in_one_shard() -> None:
    size = 3 * SHARD_MIB * 2**20
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({}, ["a.mp3", "a.ogg", "a.png", "a"]),
        ({"contents": ("audio", "signal")}, ["a.wav"]),
        ({"contents": ("signal",)}, ["a.wav", "a.csv"]),
        ({"reconstructions": "there"}, ["a.wav"]),
        ({"shard_mib": 3 * SHARD_MIB}, ["a.wav"]),
    ]
    for changes, names in cases:
        found = [shard for name in names for shard in shards(settings(**changes), [entry(name, size=size)])]
        assert [shard.sections for shard in found] == [1] * len(names)
