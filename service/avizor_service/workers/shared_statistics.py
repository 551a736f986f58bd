"""Count what the engines of all workers run in files that they have in memory together."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from avizor_inference.engines.run_statistics import Count, StatisticsOfVersions, merged, statistics_message

_FILE = "statistics-{}.db"


class SharedStatistics(StatisticsOfVersions):
    """Counts in a file of one worker, and shows those of all. What a worker counted stays when it is killed, and goes on.

    folder: of the files. worker: its number.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        super().__init__()
        self._folder = folder
        self._file, self._making = MmapedDict(str(folder / _FILE.format(worker))), threading.Lock()

    def count(self, model: str, version: int, name: str) -> Count:
        """See StatisticsOfVersions.count."""
        with self._making:  # versions are counted by several threads
            return _KeptCount(self._file, json.dumps([model, version, name]))

    def messages(self, model: str = "", version: int | None = None) -> list[Any]:
        """See StatisticsOfVersions.messages."""
        several: dict[tuple[str, int], dict[str, list[Count]]] = {}
        for file in self._folder.glob(_FILE.format("*")):
            if not file.stat().st_size:  # it is just being made
                continue
            for key, count, seconds, _ in MmapedDict.read_all_values_from_file(str(file)):
                *version_of_model, name = json.loads(key)
                of_version = several.setdefault(tuple(version_of_model), {})
                of_version.setdefault(name, []).append(_counted(count, seconds))
        return [
            statistics_message(*key, {name: merged(counts, name) for name, counts in several[key].items()})
            for key in sorted(several)
            if model in ("", key[0]) and version in (None, key[1])
        ]


class _KeptCount(Count):
    """Goes on counting where the file says."""

    def __init__(self, file: MmapedDict, key: str) -> None:
        super().__init__()
        self._file, self._key = file, key
        count, self.seconds = file.read_value(key)
        self.count = int(count)

    def add(self, seconds: float, count: int) -> None:
        super().add(seconds, count)
        self._file.write_value(self._key, self.count, self.seconds)

    def set(self, seconds: float) -> None:
        super().set(seconds)
        self._file.write_value(self._key, self.count, self.seconds)


def _counted(count: float, seconds: float) -> Count:
    read = Count()
    read.add(seconds, int(count))
    return read
