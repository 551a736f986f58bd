"""Say which names models may have."""

from __future__ import annotations

import os
import re
from pathlib import Path

from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import LONGEST_NAME, NAME_PATTERN
from avizor_inference.repository.models import check_on_disk


def check_name(name: str, models: Path) -> None:
    """Raise ExportError for a name that no model may have, or a place where no folder can be; RepositoryError for a URL."""
    check_on_disk(models)
    if not re.fullmatch(NAME_PATTERN, name):
        raise ExportError(
            f"{name!r} is not a valid model name; use letters, digits, '-', '_', '.', {LONGEST_NAME} at most, and begin with a "
            "letter or digit"
        )
    for folder in (*reversed(models.parents), models, models / name):
        if os.path.lexists(folder) and not folder.is_dir():
            raise ExportError(f"{folder} is there and is no folder; move it away, or name another --models or --name")
