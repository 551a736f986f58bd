"""Open the source of a job. This is the one place that names every kind."""

from __future__ import annotations

from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import CONTENTS
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sources.folder import FolderSource


def open_source(settings: JobSettings) -> FolderSource:
    """Return what the job reads. Raises SettingsError for a source pattern that is not valid."""
    contents = [CONTENTS[name] for name in settings.contents]
    columns = Columns(settings.path_column, settings.source_column, settings.bytes_column)
    return FolderSource(
        settings.roots,
        contents,
        settings.source_pattern,
        columns,
        settings.limit,
        settings.row_columns,
        settings.channels,
    )
