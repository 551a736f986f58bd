from datetime import UTC, datetime
from typing import Any

import pytest

from avizor_inference.repository.calibration import Calibration


def calibration(**fields: Any) -> Calibration:
    usual = {"model": "m", "version": 1, "model_sha256": "0", "provider": "CPUExecutionProvider", "created": datetime.now(UTC)}
    return Calibration.model_validate(usual | {"sources": {}} | fields)


def test_scores_that_are_not_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="should be a finite number"):
        calibration(sources={"a": ((float("nan"),),)})
    with pytest.raises(ValueError, match="without windows"):
        calibration(sources={"a": ((),)})
    with pytest.raises(ValueError, match="below 0"):
        calibration(short={"a": ((-1.0,),)})
    with pytest.raises(ValueError, match="holds no recordings"):
        calibration()


def test_a_calibration_of_another_kind_is_refused_and_says_why() -> None:
    with pytest.raises(ValueError, match=r"schema_version is 1, and this release reads 2"):
        calibration(schema_version=1, sources={"a": ((1.0,),)})


def test_recordings_are_counted_by_source_with_short_ones() -> None:
    mixed = calibration(sources={"a": ((1.0,), (2.0,))}, short={"a": ((1.0,),), "b": ((1.0,),)})
    assert (mixed.recordings("a"), mixed.recordings("b"), mixed.recordings("c"), mixed.recordings()) == (3, 1, 0, 4)
    assert mixed.source_names == ["a", "b"]


def test_a_flat_folder_tells_no_sources_apart() -> None:
    assert not calibration(sources={"default": ((1.0,),)}).tells_sources_apart
    assert calibration(sources={"pump-1": ((1.0,),)}).tells_sources_apart
