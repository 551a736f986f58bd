"""Keep beside a version which items it was trained with, so that none of them calibrates it: `trained_items.npy`.

Of items that a model was trained with the scores are too low. A calibration with some of them promises too much.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import read_array

from avizor_inference.error_text import one_line
from avizor_inference.errors import CalibrationError, VersionRefused
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.regular_files import read_regular

TRAINED_FILE = "trained_items.npy"


def trained_file(digests: Collection[int]) -> bytes:
    """Return the content of the file. digests: of the items, see `NormalRecording.digest`."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(sorted(digests), np.uint64))
    return buffer.getvalue()


def read_trained(folder: Path) -> frozenset[int] | None:
    """Return the digests that are kept in a version's folder; None if it does not say. Raises VersionRefused."""
    path = folder / TRAINED_FILE
    try:
        digests = read_array(io.BytesIO(read_regular(path)), allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, MemoryError) as error:
        raise _damaged(path, one_line(error)) from error
    if digests.dtype != np.uint64 or digests.ndim != 1:
        raise _damaged(path, "it does not hold digests")
    return frozenset(digests.tolist())


def _damaged(path: Path, problem: str) -> VersionRefused:
    return VersionRefused(
        f"{path}, which says what the model was trained with, cannot be read ({problem}); restore it, or fit the model again"
    )


class Untrained:
    """Leaves out items that a model was trained with, and counts them.

    trained: digests of those items. left_out, left: how many were left out so far, and how many were not.
    """

    def __init__(self, trained: Collection[int]) -> None:
        self._trained = trained
        self.left_out = self.left = 0

    def of(self, recordings: Iterable[NormalRecording]) -> Iterator[NormalRecording]:
        """Yield the other items. Raises CalibrationError at the end if there are none."""
        for recording in recordings:
            if recording.digest in self._trained:
                self.left_out += 1
            else:
                self.left += 1
                yield recording
        if self.left_out and not self.left:
            raise CalibrationError(
                f"the model was trained with all {self.left_out} items, so their scores are too low to compare new ones with; "
                "give normal items that it was not trained with"
            )
