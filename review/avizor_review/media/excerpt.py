"""Read what of an item is looked at: rows around one window of a recording, or the one row of anything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.decode import stream_rows
from avizor_inference.items.input_spec import InputSpec, has_channels
from avizor_inference.items.join_windows import join_windows
from avizor_inference.items.kinds.base import Content, FileContent, OneRow, Row, Span
from avizor_inference.items.sections import Section
from avizor_inference.items.windows import WindowFormat

# Rows that are read from the beginning of a file that can only be read from there: an hour of half-second windows or more.
_MOST_ROWS = 20_000

# Windows to each side of the one that is looked at which are read from a part of a long file.
_LEAST_SPAN = 64


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Holds some rows of one item, next to each other, of one channel. place: of the row that is looked at, among them."""

    rows: tuple[Row, ...]
    place: int

    @property
    def row(self) -> Row:
        """Return the row that is looked at."""
        return self.rows[self.place]

    @property
    def span(self) -> Span | None:
        """Return which part of the recording the rows cover together; None for what is no recording."""
        first, last = self.rows[0].span, self.rows[-1].span
        if first is None or last is None:
            return None
        return Span(first.channel, first.start_sample, last.end_sample - first.start_sample)

    def samples(self) -> Samples:
        """Return float32[channels, samples], the rows joined."""
        spans = [row.span for row in self.rows if row.span]
        values = np.stack([np.atleast_2d(row.values) for row in self.rows]).astype(np.float32)
        first = spans[0].start_sample
        return join_windows(values, [Span(0, span.start_sample - first, span.length) for span in spans])


def read_excerpt(content: Content, spec: InputSpec, channel: int | None, start_sample: int | None, around_s: float) -> Excerpt:
    """Read the row that begins at a sample of a channel, with those up to `around_s` seconds before and after it.

    channel, start_sample: None for the first row, and for what is no recording. Raises MediaError, InvalidInput.
    """
    format = spec.window_format()
    if format is None or isinstance(content, OneRow):
        row = next(row for _, row in stream_rows(content, [spec]))
        return Excerpt((Row(row.values, Span(0, 0, format.window)) if format else row,), 0)  # a tensor of one window
    start = start_sample or 0
    around = int(around_s * format.sample_rate) if format.sample_rate else 2 * format.window
    lowest, highest = start - around, start + format.window + around
    rows, place = list[Row](), None
    for row in _rows_near(content, spec, format, start, around):
        assert row.span
        if row.span.channel != (channel or 0):
            continue
        if row.span.start_sample >= highest:
            break
        if row.span.start_sample >= lowest:
            place = len(rows) if row.span.start_sample == start else place
            rows.append(row)
    if place is None:
        raise MediaError(f"the recording has no window at sample {start}; it is not what the job has read")
    return Excerpt(tuple(rows), place)


def _rows_near(content: Content, spec: InputSpec, format: WindowFormat, start: int, around: int) -> Iterator[Row]:
    """Yield rows in order, all that begin within `around` samples of `start` among them; of a long file not many others."""
    parts = list(_parts_near(content, spec, format, start, around))
    for count, (_, row) in enumerate(row for part in parts for row in stream_rows(part, [spec])):
        if count > _MOST_ROWS and len(parts) == 1:
            raise MediaError("the place is far within a file that can only be read from its beginning")
        yield row


def _parts_near(content: Content, spec: InputSpec, format: WindowFormat, start: int, around: int) -> Iterator[Content]:
    """Yield the sections of a long file that have the windows near a sample; the whole if it is short or has no sections."""
    of = _sections(content, spec, span := max(_LEAST_SPAN, around // format.hop + 2))
    if of < 4 or not isinstance(content, FileContent):
        yield content
        return
    windows = _windows(content, spec)
    number = min(-(-start // format.hop), windows - 1)
    wanted = range(max(0, number - span), min(windows, number + span + 1))
    for section in range(of):
        first, end = section * windows // of, (section + 1) * windows // of
        if first < wanted.stop and end > wanted.start:
            yield content.of_section(Section(section, of))


def _sections(content: Content, spec: InputSpec, span: int) -> int:
    """Return into how many sections of about `span` windows a file can be cut; 0 if it cannot."""
    if not isinstance(content, FileContent) or not isinstance(content.source, Path):
        return 0
    if content.source.suffix.lower() not in content.suffixes_of_sections:
        return 0
    return _windows(content, spec) // span


def _windows(content: Content, spec: InputSpec) -> int:
    """Return the windows of one channel of a recording; 0 if its header does not tell."""
    if has_channels(spec):
        content = content.taking(0)
    return content.count_rows(spec) or 0
