"""Group the models of a job that run together: those with one front end are one graph on the embedded engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine
from avizor_inference.engines.joint_graph import joint_output
from avizor_inference.engines.open_engine import EMBEDDED
from avizor_inference.engines.shared_graph import SharedGraph
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content
from avizor_inference.repository.models import ModelVersion
from avizor_pipeline.models import JobModel, runs_on_gpu
from avizor_pipeline.settings import JobSettings


@dataclass(frozen=True)
class ModelGroup:
    """Holds models that get the same rows in the same runs: one, or several as a joint model.

    engine: what serves it, under `name`. version: of a single model.
    """

    engine: Engine
    models: tuple[JobModel, ...]

    @property
    def name(self) -> str:
        """Return the name under which the engine serves the group."""
        return "+".join(model.name for model in self.models)

    @property
    def version(self) -> int:
        """Return the version that the engine serves. A joint model has that of its first one."""
        return self.models[0].choice.version

    @property
    def spec(self) -> InputSpec:
        """Return the input that all models of the group have."""
        return self.models[0].spec

    @property
    def batch_size(self) -> int:
        """Return the rows of one run, which are the same for all of its models."""
        return self.models[0].choice.batch_size

    @property
    def outputs(self) -> list[str]:
        """Return the outputs that the job needs, model by model. See JobModel.outputs."""
        if len(self.models) == 1:
            return self.models[0].outputs
        return [joint_output(model.name, output) for model in self.models for output in model.outputs]

    def in_batches_of(self, rows: int) -> ModelGroup:
        """Return the group with at most so many rows in a run."""
        size = min(rows, self.batch_size)
        return replace(
            self,
            models=tuple(replace(each, choice=each.choice.model_copy(update={"batch_size": size})) for each in self.models),
        )

    def takes(self, content: Content) -> bool:
        """Return whether an item of the dataset is of the kind that the models take."""
        return self.models[0].takes(content)

    def each(self, outputs: Sequence[Array]) -> Iterator[tuple[JobModel, Sequence[Array]]]:
        """Yield each model with its part of the outputs of a run."""
        start = 0
        for model in self.models:
            count = len(model.outputs)
            yield model, outputs[start : start + count]
            start += count


def shared_graphs(settings: JobSettings) -> tuple[SharedGraph, ...]:
    """Return what the processes of a job share: a graph for each group of two or more models that may be."""
    graphs = (SharedGraph.create() for _ in range(len(settings.models) // 2))
    return tuple(graph for graph in graphs if graph)


def group_models(
    settings: JobSettings, engine: Engine, models: Sequence[JobModel], shared: Sequence[SharedGraph] = ()
) -> list[ModelGroup]:
    """Return the models in groups, in the order of the first model of each.

    shared: what all processes of the job share, see shared_graphs. Models are joined that run on the CPU of this process in
    batches of one size, have one front end, and answer alike, bit for bit, when they run as one. Raises EngineError.
    """
    groups: list[ModelGroup] = []
    left, graphs = list(models), iter(shared)
    while left:
        first = left.pop(0)
        alike = [model for model in left if _may_join(settings, first, model)]
        joint = _joint([model.version for model in (first, *alike)], graphs) if alike else None
        groups.append(ModelGroup(joint or engine, (first, *alike) if joint else (first,)))
        if joint:
            left = [model for model in left if model not in alike]
    return groups


def _may_join(settings: JobSettings, first: JobModel, other: JobModel) -> bool:
    if first.choice.batch_size != other.choice.batch_size:
        return False  # in batches of another size a model may give other last bits
    both = first, other
    embedded = all(settings.engine_of(model.choice) == EMBEDDED for model in both)
    if not embedded or any(runs_on_gpu(settings, model) for model in both):
        return False
    from avizor_inference.engines.joint import have_one_front_end  # it needs ONNX Runtime, which a job on a Triton does without

    return have_one_front_end([model.version for model in both])


def _joint(versions: Sequence[ModelVersion], graphs: Iterator[SharedGraph]) -> Engine | None:
    from avizor_inference.engines.joint import have_one_front_end, open_joint

    return open_joint(versions, next(graphs, None)) if have_one_front_end(versions) else None
