"""Define the tables of results: a row for each window and model, for each item and model, for each file that is no item."""

from __future__ import annotations

import pyarrow as pa

_CLASSES = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))

WINDOWS = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("channel", pa.int16()),
        ("start_sample", pa.int64()),
        ("end_sample", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("model", pa.string()),
        ("model_version", pa.int32()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("top_k", _CLASSES),
        ("labels", _CLASSES),
        ("embedding", pa.list_(pa.float32())),
        ("score", pa.float32()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("judged_by", pa.string()),
        ("calibration_id", pa.string()),
    ]
)

RECORDINGS = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("model", pa.string()),
        ("windows", pa.int32()),
        ("peak", pa.float32()),
        ("clipped", pa.float64()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("labels", _CLASSES),
        ("score", pa.float32()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("judged_by", pa.string()),
        ("calibration_id", pa.string()),
        ("not_judged", pa.string()),
        ("reconstruction", pa.string()),
    ]
)

DEAD_LETTERS = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),
        ("stage", pa.string()),
        ("error_class", pa.string()),
        ("message", pa.string()),
    ]
)

TABLES = {"windows": WINDOWS, "recordings": RECORDINGS, "dead_letters": DEAD_LETTERS}

# Of rounds/: a row for each file that was planned, or for some items of a file that holds many.
ROUND = pa.schema(
    [
        ("uri", pa.string()),
        ("path", pa.string()),
        ("source", pa.string()),
        ("size", pa.int64()),
        ("modified_ns", pa.int64()),
        ("key", pa.uint64()),
        # Of items in a file that holds many; else null.
        ("item", pa.string()),
        ("first", pa.int64()),
        ("items", pa.int64()),
        ("offset", pa.int64()),
    ]
)

# Of derived/q_values.py: a single file that is made when a job has finished.
Q_VALUES = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("model", pa.string()),
        ("p_value", pa.float64()),
        ("q_value", pa.float64()),
    ]
)

# Of derived/regions.py: likewise.
REGIONS = pa.schema(
    [
        ("uri", pa.string()),
        ("source", pa.string()),
        ("model", pa.string()),
        ("channel", pa.int16()),
        ("start_sample", pa.int64()),
        ("end_sample", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("windows", pa.int32()),
        ("score", pa.float32()),
        ("p_value", pa.float64()),
    ]
)

# Of projection/: a file for each model and method, that is made from the embeddings of a finished job.
PROJECTION = pa.schema(
    [
        ("uri", pa.string()),
        ("channel", pa.int16()),
        ("start_sample", pa.int64()),
        ("model", pa.string()),
        ("method", pa.string()),
        ("true_label", pa.string()),
        ("x", pa.float32()),
        ("y", pa.float32()),
    ]
)

# Meaning of a column by table and name, units included. Kept apart from the schemas, whose metadata would go into every file.
# docs/reference/parquet-tables.md shows it.
_URI = (
    "Path of the file as it was given; for an item in a file of many, `#` and its name or number follow. Not UTF-8: `bytes:` "
    "and its percent-encoded bytes."
)
_SOURCE = "Where the recording comes from: the key of calibration and metrics."
_MODEL = "Name of the model."
_IS_ANOMALY = "Whether `p_value` is at most the job's alpha; null where `p_value` is."
_IS_ANOMALY_OF_ITEM = "Whether `p_value` is at most the job's alpha (with a confidence: at most l / (n + 1)); null without."
_JUDGED_BY = "The source whose calibration recordings gave `p_value`; `*`: all sources together."
_CALIBRATION_ID = "Identifier of the calibration that `p_value` was computed from."

MEANINGS: dict[str, dict[str, str]] = {
    "windows": {
        "uri": _URI,
        "source": _SOURCE,
        "channel": "Channel of the file, from 0; 0 for a model that takes all channels together. Null, "
        "as the next four columns, for an item that is no recording.",
        "start_sample": "First sample of the window, at the model's sample rate.",
        "end_sample": "Sample after the last of the window, at the model's sample rate.",
        "start_s": "`start_sample` in seconds; null if the model has no sample rate.",
        "end_s": "`end_sample` in seconds; null if the model has no sample rate.",
        "model": _MODEL,
        "model_version": "Version of the model.",
        "label": "Classifier: the most probable class; of a multi-label one it may be under its threshold.",
        "probability": "Classifier: probability of `label`, 0 to 1.",
        "top_k": "Classifier: the most probable classes, at most `--top-k` (three), most probable first.",
        "labels": "Multi-label classifier: all classes at or over their thresholds, most probable first; may be empty. Null "
        "for any other model.",
        "embedding": "With `--embeddings`: the model's output `embedding`; null for a model without one.",
        "score": "Autoencoder: its output `score`, at least 0: mean squared reconstruction error, or what its manifest says.",
        "p_value": "Share of the calibration's windows that look at least as unusual, above 0; each recording weighs as one.",
        "is_anomaly": _IS_ANOMALY,
        "judged_by": _JUDGED_BY,
        "calibration_id": _CALIBRATION_ID,
    },
    "recordings": {
        "uri": _URI,
        "source": _SOURCE,
        "model": _MODEL,
        "windows": "Number of windows, over all channels; 1 for an item that is no recording.",
        "peak": "Largest magnitude of the file's samples; full scale of sound is 1. Null for an item that is no recording.",
        "clipped": "Share of the file's samples that are beyond full scale, 0 to 1; 0 for a signal, null as `peak` is.",
        "label": "Classifier: the class with the largest mean probability; of a multi-label one it may be under its threshold.",
        "probability": "Classifier: mean probability of `label` over the windows, 0 to 1.",
        "labels": "Multi-label classifier: all classes whose mean probability is at or over their threshold, most probable "
        "first; may be empty. Null for any other model.",
        "score": "Autoencoder: power mean of order 8 of the scores of all windows and channels, at least 0.",
        "p_value": "Share of calibration recordings that look at least as unusual, above 0 and at most 1.",
        "is_anomaly": _IS_ANOMALY_OF_ITEM,
        "judged_by": _JUDGED_BY,
        "calibration_id": _CALIBRATION_ID,
        "not_judged": "Why there is no `p_value` although the model has a calibration.",
        "reconstruction": "With `--reconstructions`: path of the PNG or WAV below that folder; null if there is none.",
    },
    "dead_letters": {
        "uri": _URI,
        "source": _SOURCE,
        "offset": "First sample that could not be read, from 0.",
        "stage": "What failed: `decode`, or `run` if a model does not run on the item.",
        "error_class": "Class of the error; see [errors.md](errors.md).",
        "message": "What is wrong with the file.",
    },
    "projection": {
        "uri": _URI,
        "channel": "As in `windows/`.",
        "start_sample": "As in `windows/`.",
        "model": _MODEL,
        "method": "How the map was made: `tsne`, `pca` or `umap`.",
        "true_label": "The label from `--label FILE` or `--label-pattern`; null without.",
        "x": "Place of the window's embedding in the map.",
        "y": "Place of the window's embedding in the map.",
    },
    "regions": {
        "uri": _URI,
        "source": _SOURCE,
        "model": _MODEL,
        "channel": "Channel of the file, as in `windows/`.",
        "start_sample": "First sample of the first window, at the model's sample rate.",
        "end_sample": "Sample after the last of the last window, at the model's sample rate.",
        "start_s": "`start_sample` in seconds; null if the model has no sample rate.",
        "end_s": "`end_sample` in seconds; null if the model has no sample rate.",
        "windows": "Number of flagged windows in it, at least 1.",
        "score": "Largest score of these windows.",
        "p_value": "Smallest p-value of these windows.",
    },
    "q_values": {
        "uri": _URI,
        "source": _SOURCE,
        "model": _MODEL,
        "p_value": "As in `recordings/`.",
        "q_value": "Least rate of false discoveries at which the recording is flagged (Benjamini and Hochberg, over all "
        "p-values of the model in the job), above 0 and at most 1.",
    },
}
