"""Hold what is kept of one item: the item itself, and what the model and its calibration say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.arrays import Array
from avizor_inference.items.audio import Level
from avizor_inference.items.kinds.base import FileForm, Span
from avizor_inference.judged_rows import Columns, TableRow, score_columns, span_columns, verdict_columns
from avizor_inference.repository.models import ModelVersion


@dataclass(frozen=True, eq=False)
class Flagged:
    """Holds one flagged item, or a recording of the sound around an alarm.

    file: makes the file of the item; it takes time. size: bytes in memory. time_ns: when it was flagged, since 1970. spans: one
    for each window; None for what is no recording. scores: float32[windows]. alpha, confidence: at which the windows, and the
    item, are flagged. is_mixed: whether the model took the mean of the file's channels.
    """

    model: ModelVersion
    calibration_id: str
    judge: Judge
    source: str
    time_ns: int
    file: Callable[[], FileForm]
    size: int
    spans: Sequence[Span | None]
    scores: Array
    verdict: Verdict
    alpha: float
    confidence: float | None = None
    is_mixed: bool = False
    level: Level = field(default_factory=Level)

    def window_columns(self, uri: str) -> Columns:
        """Return the rows of the table `windows`, by column."""
        count = len(self.scores)
        format = self.model.manifest.input.window_format()
        places = [span for span in self.spans if span]
        columns = score_columns(self.scores, self.judge, self.source, self.alpha, is_short=self.verdict.is_short)
        return {
            "uri": [uri] * count,
            "source": [self.source] * count,
            "model": [self.model.name] * count,
            "model_version": [self.model.version] * count,
            **(span_columns(places, format.sample_rate if format else None) if places else {}),
            **columns,
            **({"calibration_id": [self.calibration_id] * count} if "p_value" in columns else {}),
        }

    def recording_row(self, uri: str) -> TableRow:
        """Return the row of the table `recordings`."""
        is_recording = self.model.manifest.input.window_format() is not None
        return {
            "uri": uri,
            "source": self.source,
            "model": self.model.name,
            "windows": len(self.scores),
            **({"peak": self.level.peak, "clipped": self.level.share_beyond} if is_recording else {}),
            **verdict_columns(self.verdict, self.alpha, self.confidence),
            "calibration_id": self.calibration_id,
        }
