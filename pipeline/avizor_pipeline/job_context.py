"""Open, once in each worker, what it uses for every shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.open_engine import runs_here
from avizor_inference.engines.shared_graph import SharedGraph
from avizor_inference.items.dataset import Entry
from avizor_inference.items.kinds.base import Span
from avizor_inference.unused_memory import give_back
from avizor_pipeline.batching import Batcher
from avizor_pipeline.engine_wait import EngineWait
from avizor_pipeline.model_groups import ModelGroup, group_models
from avizor_pipeline.models import JobModel, judges_of, open_job_engine, open_models
from avizor_pipeline.settings import JobSettings, PinnedCalibration
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.row_groups import rows_in_group
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
    for each model that has a calibration. rows_in_group: rows of a table that are in memory before they are written.
    """

    settings: JobSettings
    out: OutputPath
    source: Source
    models: Sequence[JobModel]
    groups: Sequence[ModelGroup]
    batchers: Mapping[str, Batcher[RowKey]]
    judges: Mapping[str, Judge]
    rows_in_group: int

    def judged_by(self, pins: Sequence[PinnedCalibration]) -> JobContext:
        """Return the context in which these calibrations judge; the same if there are none.

        Raises VersionRefused if one is gone.
        """
        if not pins:
            return self
        models = [model.judged_by(pins) for model in self.models]
        named = {model.name: model for model in models}
        groups = [replace(group, models=tuple(named[model.name] for model in group.models)) for group in self.groups]
        return replace(self, models=models, groups=groups, judges=judges_of(models))


def batches_in_flight(settings: JobSettings) -> int:
    """Return how many batches of a model run at once for one worker."""
    return 1 if runs_here(settings.engine) else REMOTE_BATCHES_IN_FLIGHT


def open_context(
    settings: JobSettings, out: OutputPath, wait: EngineWait | None = None, shared: Sequence[SharedGraph] = ()
) -> JobContext:
    """Open the engine and the models of a job in this process. wait: for an engine that is away. shared: see group_models.

    Raises AvizorError if one cannot be used.
    """
    engine, models = open_job_engine(settings), open_models(settings)
    groups = group_models(settings, engine, models, shared)
    in_flight = batches_in_flight(settings)
    wait = None if runs_here(settings.engine) else wait
    batchers: dict[str, Batcher[RowKey]] = {group.name: Batcher(group, in_flight, wait) for group in groups}
    give_back()  # what opening the models needed
    return JobContext(
        settings,
        out,
        open_source(settings),
        models,
        groups,
        batchers,
        judges=judges_of(models),
        rows_in_group=min(rows_in_group(model.classes_shown(settings.top_k), model.embedding_numbers) for model in models),
    )
