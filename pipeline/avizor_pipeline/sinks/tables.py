"""The tables that a job writes: a row for each window and model, for each item and model, for each file it could not read."""

from __future__ import annotations

import pyarrow as pa

_TOP_K = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))

WINDOWS = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("channel", pa.int16()),
        ("start_sample", pa.int64()),  # at the model's sample rate
        ("end_sample", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("model", pa.string()),
        ("model_version", pa.int32()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("top_k", _TOP_K),
        ("score", pa.float32()),  # mean squared reconstruction error, >= 0
        ("p_value", pa.float64()),  # null if the window was not judged
        ("is_anomaly", pa.bool_()),
        ("judged_by", pa.string()),  # the source whose calibration items gave the p-value; `*`: those of all sources
        ("calibration_id", pa.string()),
    ]
)

RECORDINGS = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("model", pa.string()),
        ("windows", pa.int32()),
        ("peak", pa.float32()),  # largest magnitude of the file's samples; full scale is 1
        ("clipped", pa.float64()),  # share of its samples beyond full scale, 0 to 1
        ("label", pa.string()),
        ("probability", pa.float32()),  # mean over the windows
        ("score", pa.float32()),  # power mean of order 8 over the windows of all channels
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("judged_by", pa.string()),
        ("not_judged", pa.string()),  # why there is no p-value although there is a calibration
    ]
)

DEAD_LETTERS = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),  # first frame that could not be read
        ("stage", pa.string()),
        ("error_class", pa.string()),
        ("message", pa.string()),
    ]
)

TABLES = {"windows": WINDOWS, "recordings": RECORDINGS, "dead_letters": DEAD_LETTERS}
