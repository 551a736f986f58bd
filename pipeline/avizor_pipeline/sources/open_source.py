"""Open the source of a job. This is the one place that names every kind."""

from __future__ import annotations

from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sources.base import Source
from avizor_pipeline.sources.folder import FolderSource


def open_source(settings: JobSettings) -> Source:
    """Return what the job reads. Raises SettingsError for a source pattern that is not valid."""
    return FolderSource(settings.roots, settings.source_pattern)
