"""Run models that begin with the same front end as one graph, on ONNX Runtime on the CPU: the front end is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing

import numpy as np
import onnxruntime as ort

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_request
from avizor_inference.engines.joint_graph import join_graphs, joint_output
from avizor_inference.engines.ort_session import open_session, runtime_reason
from avizor_inference.engines.shared_graph import Optimised, SharedGraph
from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import EngineError, EngineUnavailable
from avizor_inference.repository.models import ModelVersion
from avizor_inference.unused_memory import give_back

# Probe items of each model. More would cost time and memory when a worker starts, and tell nothing else.
_COMPARED = 4

# Of the models together. Several copies of the graphs are in memory while they are joined.
_MOST_BYTES = 256 * 2**20


def have_one_front_end(versions: Sequence[ModelVersion]) -> bool:
    """Return whether the models take the same items through the same front end, and are small enough to be joined."""
    first, *others = (version.manifest for version in versions)
    return (
        first.front_end_digest is not None
        and all((each.input, each.front_end_digest) == (first.input, first.front_end_digest) for each in others)
        and sum(version.manifest.model_bytes for version in versions) <= _MOST_BYTES
    )


class JointEngine(Engine):
    """Serves several versions as one model, named by their names with "+" between them. See `joint_output` for its outputs.

    Use `open_joint`, which checks that it answers as the models do one by one.
    """

    def __init__(self, session: ort.InferenceSession, weights: Array, spec: ModelSpec) -> None:
        self._session: ort.InferenceSession | None = session
        self._weights = weights  # the session uses them
        self._spec = spec

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec. There is one model only."""
        return self._spec

    def infer(self, request: InferRequest) -> dict[str, Array]:
        """See Engine.infer. Deadlines are not kept: it is for batch jobs."""
        check_request(self._spec, request)
        if self._session is None:
            raise EngineUnavailable("the joint engine is closed")
        return _run(self._session, self._spec.name, request.inputs, request.outputs)

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit. The batch runs before this returns."""
        future: Future[dict[str, Array]] = Future()
        future.set_result(self.infer(request))
        return future

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready."""
        return self._session is not None

    def close(self) -> None:
        """See Engine.close."""
        self._session = None


def open_joint(versions: Sequence[ModelVersion], shared: SharedGraph | None = None, threads: int = 1) -> JointEngine | None:
    """Open the versions as one model; None if they cannot be joined, or if the joint model answers otherwise than they do.

    versions: two or more with one front end. shared: of all processes that open these versions: the first one joins and
    compares them for all. Without it the joint model is of this process alone. threads: for one run. Every output of every
    model is compared, bit for bit, over some of its probe items. Raises EngineError if there is too little memory,
    VersionRefused if one is damaged.
    """
    if shared:
        return _open(shared, versions, threads)
    own = SharedGraph.create()
    if own is None:
        return None
    with closing(own):
        return _open(own, versions, threads)


def _open(shared: SharedGraph, versions: Sequence[ModelVersion], threads: int) -> JointEngine | None:
    name = "+".join(version.name for version in versions)
    with shared.alone():
        if not shared.is_decided:
            shared.decide(_make(shared, name, versions, threads))
    graph = shared.graph
    return JointEngine(*shared.open(graph, _what(name), threads), _spec(name, versions)) if graph else None


def _make(shared: SharedGraph, name: str, versions: Sequence[ModelVersion], threads: int) -> Optimised | None:
    """Join the versions; None if that cannot be done, or if they then answer otherwise.

    Memory is given back between the steps, which need several times the weights.
    """
    for version in versions:
        version.verify()
    model = _joined(versions)
    give_back()
    if model is None:
        return None
    try:
        graph = shared.optimise(model, _what(name))
        del model
        give_back()
        session, _weights = shared.open(graph, _what(name), threads)
    except EngineError as error:
        if lacks_memory(error):
            raise
        return None
    return graph if all(_agrees(session, version, threads) for version in versions) else None


def _joined(versions: Sequence[ModelVersion]) -> bytes | None:
    joint = join_graphs({version.name: version.model_path for version in versions})
    return joint.SerializeToString() if joint else None


def _agrees(session: ort.InferenceSession, version: ModelVersion, threads: int) -> bool:
    """Return whether a model answers the same alone. Its session is closed again, so that only one is in memory."""
    probe = version.probe()
    if probe is None:
        return False
    items = probe.items[:_COMPARED]
    alone = open_session(version.model_path, f"model {version.name!r}", threads=threads)
    (node,) = session.get_inputs()
    names = [output.name for output in version.manifest.outputs]
    expected = alone.run(names, {alone.get_inputs()[0].name: items})
    answers = session.run([joint_output(version.name, name) for name in names], {node.name: items})
    return all(np.array_equal(answer, each, equal_nan=True) for answer, each in zip(answers, expected, strict=True))


def _what(name: str) -> str:
    return f"the joint model {name!r}"


def _spec(name: str, versions: Sequence[ModelVersion]) -> ModelSpec:
    tensor = versions[0].manifest.input.tensor()
    outputs = {
        joint_output(version.name, each.name): each.model_copy(update={"name": joint_output(version.name, each.name)})
        for version in versions
        for each in version.manifest.outputs
    }
    most = min(version.config.max_batch_size for version in versions)
    return ModelSpec(name, versions[0].version, {tensor.name: tensor}, outputs, most, "", "onnxruntime-cpu")


def _run(session: ort.InferenceSession, name: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
    try:
        results = session.run(list(outputs), dict(inputs))
    except Exception as error:  # the runtime's own exceptions have no common base class
        raise EngineError(f"ONNX Runtime failed at the joint model {name!r}: {runtime_reason(error)}") from error
    return dict(zip(outputs, results, strict=True))
