"""Labels of a classifier: a text file of one a line, in the order of its outputs."""

from __future__ import annotations

from pathlib import Path

from avizor_inference.errors import ExportError


def read_labels(path: Path) -> list[str]:
    """One label for each line, without the spaces around it. Raises ExportError, naming a line that is blank.

    Only a line feed ends a line: a label may hold any other character. Blank lines at the end are nothing, and so is the mark
    that some editors write at the beginning of a file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path}: cannot be read ({error}); save it as UTF-8") from error
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror})") from error
    labels = [line.strip() for line in text.split("\n")]
    while labels and not labels[-1]:
        labels.pop()
    if not labels:
        raise ExportError(f"{path} holds no labels; write one a line, in the order of the outputs")
    if "" in labels:
        raise ExportError(f"{path}: line {labels.index('') + 1} is blank; write one label a line, in the order of the outputs")
    return labels
