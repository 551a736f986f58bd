"""Hold the probe items of a version, `probe.npz`: a few items, and the outputs of the published graph for them at export.

An engine on other hardware is compared with them before its scores are trusted (anomaly/engine_calibration.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avizor_inference.arrays import Array, Items
from avizor_inference.digests import sha256_of_file
from avizor_inference.error_text import one_line, reason, remedy
from avizor_inference.errors import VersionRefused
from avizor_inference.numpy_headers import with_headers

PROBE_FILE = "probe.npz"
MOST_ITEMS = 16
# Of items and outputs together, so that a model of large pictures does not triple the size of its version.
PROBE_BYTES = 16 * 2**20

_ITEMS, _OUTPUT = "items", "output."


@dataclass(frozen=True, eq=False)
class Probe:
    """Holds raw items, [n, *item_shape] with n from 1 to 16, and each output of the graph for them, [n, *shape], by name."""

    items: Items
    outputs: Mapping[str, Array]

    def write(self, path: Path) -> str:
        """Write the file, and return its sha256. Raises OSError."""
        arrays = {_ITEMS: self.items} | {_OUTPUT + name: values for name, values in self.outputs.items()}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        return sha256_of_file(path)

    @classmethod
    def read(cls, path: Path, sha256: str) -> Probe:
        """Read the file. Raises VersionRefused if it is missing, or not the file with this sha256."""
        try:
            if sha256_of_file(path) != sha256:
                raise VersionRefused(f"{path} is not the file of its manifest; restore it, or export the model again")
            return with_headers(lambda: cls._arrays(path))
        except OSError as error:
            what_to_do = remedy(error, "restore it, or export the model again")
            raise VersionRefused(f"{path}: cannot be read ({reason(error)}); {what_to_do}") from error
        except VersionRefused:
            raise
        except Exception as error:  # a damaged archive, and a hostile header in it, can raise nearly anything
            raise VersionRefused(f"{path} holds no probe items ({one_line(error)}); export the model again") from error

    @classmethod
    def _arrays(cls, path: Path) -> Probe:
        with np.load(path, allow_pickle=False) as archive:
            outputs = {name.removeprefix(_OUTPUT): archive[name] for name in archive.files if name.startswith(_OUTPUT)}
            return cls(archive[_ITEMS], outputs)
