from support.calibrations import Recordings, calibration

from avizor_inference.repository.calibration import Calibration
from avizor_pipeline.job_outcome import pooled_sources
from avizor_pipeline.sinks.part_files import SourceCount


def counted(whole: dict[str, int], short: dict[str, int]) -> Calibration:
    def recordings(counts: dict[str, int]) -> dict[str, Recordings]:
        return {source: [[1.0]] * count for source, count in counts.items()}

    return calibration(recordings(whole), recordings(short))


def test_whole_and_short_recordings_of_a_source_are_counted_apart() -> None:
    both = counted({"a": 10, "b": 40}, {"a": 10, "b": 40})
    heard = {"a": SourceCount(recordings=5, short=2), "b": SourceCount(recordings=5, short=2), "c": SourceCount(recordings=1)}
    assert pooled_sources(both, heard, 0.05) == {"a": 10, "a, shorter than a window": 10, "c": 0}


def test_only_kinds_that_were_heard_and_can_be_judged_are_named() -> None:
    whole_only = counted({"a": 40, "b": 10}, {})
    heard = {"a": SourceCount(recordings=5, short=5), "b": SourceCount(recordings=1, short=1)}
    assert pooled_sources(whole_only, heard, 0.05) == {}
    assert pooled_sources(whole_only, {"b": SourceCount(recordings=1)}, 0.05) == {"b": 10}


def test_a_flat_calibration_names_none() -> None:
    assert pooled_sources(counted({"default": 40}, {}), {"pump-1": SourceCount(recordings=5)}, 0.05) == {}
