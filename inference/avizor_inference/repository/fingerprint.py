"""Notice that files of a model have changed, without reading them."""

from __future__ import annotations

import os
from pathlib import Path

from avizor_inference.file_stamps import stamp
from avizor_inference.repository.calibration_store import ACTIVE_FILE, CALIBRATIONS_FOLDER
from avizor_inference.repository.manifest import MANIFEST_FILE, MODEL_FILE
from avizor_inference.repository.probe import PROBE_FILE
from avizor_inference.repository.triton_config import CONFIG_FILE

# What is looked at in each version. Stored calibrations are written once, so their folder's time tells of a restored one.
_OF_VERSION = (MANIFEST_FILE, MODEL_FILE, PROBE_FILE, CALIBRATIONS_FOLDER, f"{CALIBRATIONS_FOLDER}/{ACTIVE_FILE}")

Fingerprint = tuple[object, ...]


def fingerprint(folder: Path) -> Fingerprint:
    """Return what changes whenever a model's files do: times, sizes and numbers of files. Never raises. folder: of the model.

    It costs some system calls for each version, and reads nothing.
    """
    try:
        with os.scandir(folder) as entries:
            versions = sorted(entry.name for entry in entries if entry.name.isdecimal())
    except OSError as error:
        return (error.errno,)
    paths = [CONFIG_FILE, *(f"{version}/{name}" for version in versions for name in _OF_VERSION)]
    return tuple((path, stamp(folder / path)) for path in paths)
