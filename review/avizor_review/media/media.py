"""Show items of a job: from a row of its tables to pictures and sound. Start here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from avizor_inference.errors import AvizorError, MediaError
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_review.media.draw import view_of
from avizor_review.media.excerpt import read_excerpt
from avizor_review.media.item_files import ItemFiles
from avizor_review.media.job_models import JobModels
from avizor_review.media.plain_spec import plain_spec
from avizor_review.media.view import View
from avizor_review.results import Results

# Seconds to each side of a window that are shown, and heard.
AROUND_S = 3.0

# Views that are kept for whoever asks again: for the sound after the picture.
_KEPT = 32

_Key = tuple[str, str, int | None, int | None, float]


class Media:
    """Shows the items of one job. Threads may ask; one view is made at a time.

    models: the folder of the job's models; None for the one that the job used.
    """

    def __init__(self, results: Results, models: Path | None = None) -> None:
        self._results = results
        self.models = JobModels(results, models)
        self._files = ItemFiles(results)
        self._views: OrderedDict[_Key, View] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Media:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.models.close()

    def view(
        self,
        uri: str,
        model: str,
        channel: int | None = None,
        start_sample: int | None = None,
        around_s: float = AROUND_S,
    ) -> View:
        """Return what is shown of one row of an item: of a recording, the window that begins there, and what is around it.

        Raises MediaError, with why, if it cannot be shown: its file is gone, or was changed since the job read it.
        """
        key = (uri, model, channel, start_sample, around_s)
        with self._lock:
            if key not in self._views:
                self._views[key] = self._view(*key)
                if len(self._views) > _KEPT:
                    self._views.popitem(last=False)
            self._views.move_to_end(key)
            return self._views[key]

    def _view(self, uri: str, model: str, channel: int | None, start_sample: int | None, around_s: float) -> View:
        version = self.models.version(model)
        spec = version.manifest.input if version else plain_spec(self._results, uri, model)
        if spec is None:
            raise MediaError(f"it cannot be shown without its model: {self.models.problem(model)}")
        try:
            with self._files.opened(uri, spec) as content:
                excerpt = read_excerpt(content, spec, channel, start_sample, around_s)
        except MediaError:
            raise
        except AvizorError as error:
            raise MediaError(str(error)) from error
        if version is None:
            return _without_map(view_of(excerpt, uri, spec, None), self.models.problem(model))
        if version.manifest.task != "reconstruct":
            return _without_map(view_of(excerpt, uri, spec, None), "a classifier has no error")

        def map_of(row: RawRow) -> HeatMap:
            return self.models.error_map(model, row)

        try:
            return view_of(excerpt, uri, spec, map_of)
        except AvizorError as error:
            return _without_map(view_of(excerpt, uri, spec, None), str(error))


def _without_map(view: View, why: str) -> View:
    return replace(view, no_overlay=why)
