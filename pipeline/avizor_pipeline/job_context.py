"""Open, once in each worker, what it uses for every shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.open_engine import EMBEDDED
from avizor_inference.items.dataset import Entry
from avizor_inference.items.kinds.base import Span
from avizor_pipeline.batching import Batcher
from avizor_pipeline.engine_wait import EngineWait
from avizor_pipeline.model_groups import ModelGroup, group_models
from avizor_pipeline.models import JobModel, open_job_engine, open_models
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sources.base import Source
from avizor_pipeline.sources.open_source import open_source

# With a server, so many batches run while this worker decodes.
REMOTE_BATCHES_IN_FLIGHT = 4


class RowKey(NamedTuple):
    """Says which part of which item a row of a model's tensor is. span: None for what is no recording."""

    entry: Entry
    span: Span | None


@dataclass(frozen=True)
class JobContext:
    """Holds a job as one worker sees it.

    groups: the models that run together. batchers: one for each group, by its name; they are empty between shards. judges: one
    for each model that has a calibration.
    """

    settings: JobSettings
    out: Path
    source: Source
    models: Sequence[JobModel]
    groups: Sequence[ModelGroup]
    batchers: Mapping[str, Batcher[RowKey]]
    judges: Mapping[str, Judge]


def open_context(settings: JobSettings, out: Path, wait: EngineWait | None = None) -> JobContext:
    """Open the engine and the models of a job in this process. wait: for an engine that is away.

    Raises AvizorError if one cannot be used.
    """
    engine, models = open_job_engine(settings), open_models(settings)
    groups = group_models(settings, engine, models)
    in_flight = 1 if settings.engine == EMBEDDED else REMOTE_BATCHES_IN_FLIGHT
    wait = None if settings.engine == EMBEDDED else wait
    return JobContext(
        settings,
        out,
        open_source(settings),
        models,
        groups,
        batchers={group.name: Batcher(group, in_flight, wait) for group in groups},
        judges={model.name: Judge(*model.comparable) for model in models if model.comparable},
    )
