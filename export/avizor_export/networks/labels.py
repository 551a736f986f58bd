"""Read the labels of a classifier from a text file: one label a line, in the order of the classifier's outputs."""

from __future__ import annotations

from pathlib import Path

from avizor_inference.errors import ExportError
from avizor_inference.items.text_encoding import line_not_utf8


def read_labels(path: Path) -> list[str]:
    """Return one label for each line, without the spaces around it.

    Only a line feed ends a line: a label may hold any other character. Blank lines at the end are ignored, and so is the byte
    order mark that some editors write at the beginning of a file. Raises ExportError if the file cannot be read as UTF-8, holds
    no labels, or has a blank line between labels.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = line_not_utf8(content.split(b"\n"), path)
        raise ExportError(f"{path}: {where}") from error
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); write the path of a text file of labels") from error
    labels = [line.strip() for line in text.split("\n")]
    while labels and not labels[-1]:
        labels.pop()
    if not labels:
        raise ExportError(f"{path} holds no labels; write one a line, in the order of the outputs")
    if "" in labels:
        raise ExportError(f"{path}: line {labels.index('') + 1} is blank; write one label a line, in the order of the outputs")
    return labels
