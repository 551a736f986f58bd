"""Show items of a job: from a row of its tables to pictures and sound. Start here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from avizor_inference.errors import AvizorError, MediaError
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import AudioInput, InputSpec
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.repository.models import ModelVersion
from avizor_review.media.draw import view_of
from avizor_review.media.excerpt import Excerpt, read_excerpt
from avizor_review.media.item_files import ItemFiles
from avizor_review.media.job_models import JobModels
from avizor_review.media.plain_spec import plain_spec
from avizor_review.media.recorded import recorded_rate, recorded_sound
from avizor_review.media.view import Cell, Sound, View
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

    def recorded(self, uri: str, model: str, channel: int | None, start_s: float, end_s: float) -> Sound:
        """Return what the file of a recording has between two times, at its own sample rate. Raises MediaError."""
        spec = self._spec(uri, model)
        if not isinstance(spec, AudioInput):
            raise MediaError("it is no sound")
        with self._lock, self._opened(uri, spec) as content:
            if not isinstance(content, FileContent):
                raise MediaError("it has no file of its own")
            mode = self._files.channels_of(uri)
            return recorded_sound(content, channel if spec.channels == 1 else None, mode, start_s, end_s)

    def _number(self, uri: str, model: str) -> int | None:
        """Return the version that judged an item; None for the only one that a job had."""
        return self._results.version_of(uri, model) if self._results.job.kept else None

    def _spec(self, uri: str, model: str) -> InputSpec:
        number = self._number(uri, model)
        version = self.models.version(model, number)
        spec = version.manifest.input if version else plain_spec(self._results, uri, model)
        if spec is None:
            raise MediaError(f"it cannot be shown without its model: {self.models.problem(model, number)}")
        return spec

    @contextmanager
    def _opened(self, uri: str, spec: InputSpec) -> Iterator[Content]:
        """Give an item. Raises MediaError, whatever is wrong with it."""
        try:
            with self._files.opened(uri, spec) as content:
                yield content
        except MediaError:
            raise
        except AvizorError as error:
            raise MediaError(str(error)) from error

    def _view(self, uri: str, model: str, channel: int | None, start_sample: int | None, around_s: float) -> View:
        spec = self._spec(uri, model)
        with self._opened(uri, spec) as content:
            excerpt = read_excerpt(content, spec, channel, start_sample, around_s)
            rate = recorded_rate(content) if isinstance(spec, AudioInput) else None
            others = tuple(Cell(name, value) for name, value in content.others(spec).items())
        return replace(self._view_of(excerpt, uri, model, spec), recorded_rate=rate, others=others)

    def _view_of(self, excerpt: Excerpt, uri: str, model: str, spec: InputSpec) -> View:
        """Return a view with a map, or else with why there is none."""
        number = self._number(uri, model)
        version = self.models.version(model, number)
        if version is None:
            return replace(view_of(excerpt, uri, spec, None), no_map=self.models.problem(model, number))
        try:
            return self._with_map(excerpt, uri, model, version)
        except AvizorError as error:
            return replace(view_of(excerpt, uri, spec, None), no_map=str(error))

    def _with_map(self, excerpt: Excerpt, uri: str, model: str, version: ModelVersion) -> View:
        """Return a view with where an autoencoder is wrong, or where a classifier sees the class of the row."""
        spec = version.manifest.input
        if version.manifest.task == "reconstruct":
            return view_of(excerpt, uri, spec, lambda row: self.models.error_map(model, row, version.version))
        label = self.models.class_map(model, RawRow(uri, 0, excerpt.row.values, excerpt.row.span)).target
        view = view_of(excerpt, uri, spec, lambda row: self.models.class_map(model, row, label))
        return replace(view, map_of=label)
