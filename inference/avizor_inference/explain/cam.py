"""Compute class activation maps: where in the last feature map of a classifier the evidence for a class is.

Grad-CAM (R. R. Selvaraju et al., 2017) without its ReLU: the channels of the map `activations`, weighted by the gradient of the
class's logit, which is exact: the weights of the head are in the graph. Each channel's weight is the sum of its gradient over
all places. For a head of an average and one linear layer the map is then the class activation map of B. Zhou et al. (2016): its
mean and the bias of the class are the logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from avizor_inference.arrays import Array, Floats
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.engines.ort_installed import require_onnxruntime
from avizor_inference.error_text import one_line
from avizor_inference.errors import EngineError, NotExplainable, VersionRefused
from avizor_inference.explain.axes import on_axes
from avizor_inference.explain.gradient_rules import Step, gradient
from avizor_inference.explain.head_graph import HeadGraph, attributes_of, read_head, refused
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.explain.target import class_target
from avizor_inference.repository.models import ModelVersion

if TYPE_CHECKING:
    import onnxruntime as ort

Map = NDArray[np.float32]

# What is asked of the engine.
OUTPUTS = ("probabilities", "activations")

# How far the logarithms of the probabilities of the engine and those of the head may be apart: float16 and int8 round.
_TOLERANCE = {"fp32": 2e-3, "fp16": 0.05, "int8": 0.2}
# Smaller probabilities are compared as if they were this.
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class ClassHead:
    """Computes the class scores from the last feature map, and their gradients. Safe to call from several threads.

    It holds the weights of the head once, which are most of VGG's and none to speak of for heads that average. bias: the logits
    of a map that is 0 everywhere, float32[classes].
    """

    graph: HeadGraph
    session: ort.InferenceSession
    labels: tuple[str, ...]
    precision: str
    bias: NDArray[np.float32]

    @classmethod
    def read(cls, version: ModelVersion) -> Self:
        """Read the head of a published classifier from its graph, after its digest was compared.

        Raises NotExplainable saying what the graph lacks, VersionRefused if its file is damaged, SettingsError without
        ONNX Runtime.
        """
        manifest = version.manifest
        if manifest.task != "classify" or manifest.labels is None:
            raise NotExplainable(
                f"{version.name} version {version.version} has no classes, and so no class activation maps; its error map and "
                "`avizor explain occlusion` show where its score comes from"
            )
        require_onnxruntime("a class activation map")
        from avizor_inference.engines.ort_session import open_session  # an extra, which occlusion by a Triton does not need

        version.verify()
        try:
            graph = read_head(onnx.load(version.model_path))
        except (OSError, DecodeError, ValueError) as error:
            raise VersionRefused(f"{version.model_path}: {one_line(error)}; export the model again") from error
        session = open_session(graph.as_model().SerializeToString(), "the head of the network", optimised=False, spinning=False)
        shape = next(output.item_shape for output in manifest.outputs if output.name == "activations")
        if len(shape) not in (2, 3):
            raise refused(
                f"`activations` is {list(shape)} for an item, and not [channels, height, width] or [channels, length]"
            )
        head = cls(graph, session, manifest.labels, manifest.precision, np.zeros(0, np.float32))
        bias = head.logits(np.zeros(shape, np.float32))
        if len(bias) != len(manifest.labels):
            raise refused(f"what the softmax or sigmoid takes has {len(bias)} numbers for {len(manifest.labels)} classes")
        return cls(graph, session, manifest.labels, manifest.precision, bias)

    def logits(self, activations: Array) -> NDArray[np.float32]:
        """Return the logits of one item, float32[classes]. activations: float32[C, h, w], or [C, length]."""
        return self._logits_of(self._run(activations))

    def map(self, activations: Array, class_index: int) -> Map:
        """Return the map of one class for one item: float32[h, w], or float32[length]. It is in units of the logit, signed.

        activations: of the item, float32[C, h, w] or [C, length], as the engine returns them. Raises NotExplainable if they are
        not all finite.
        """
        weights = self._gradient(self._run(activations), class_index)
        channel = weights.ndim - 1 if self.graph.channels_last else 0
        places = tuple(axis for axis in range(weights.ndim) if axis != channel)
        of_channels = weights.sum(axis=places, dtype=np.float64)
        return np.asarray(np.tensordot(of_channels, activations.astype(np.float64), (0, channel)), np.float32)

    def check(self, activations: Array, probabilities: Array) -> NDArray[np.float32]:
        """Return the logits of an item, after its probabilities of the engine were compared: a wrong head has no maps.

        activations: of the item. probabilities: float32[classes]. Raises NotExplainable if they differ by more than rounding.
        """
        logits = self.logits(activations)
        expected = np.log(np.maximum(self._probabilities(logits.astype(np.float64)), _LEAST))
        apart = np.abs(expected - np.log(np.maximum(probabilities.astype(np.float64), _LEAST)))
        if not float(apart.max()) <= _TOLERANCE[self.precision]:
            at = int(apart.argmax())
            raise refused(
                f"the head that was read from the graph gives {self.labels[at]!r} the probability {np.exp(expected[at]):.4g}, "
                f"and the engine {probabilities[at]:.4g}: more than rounding to {self.precision} explains"
            )
        return logits

    def _run(self, activations: Array) -> dict[str, Array]:
        """Return every value of the head for one item, by name."""
        from avizor_inference.engines.ort_session import runtime_reason

        if not np.isfinite(activations).all():
            raise refused("the engine returned activations that are not all finite")
        root = np.ascontiguousarray(activations[None], np.float32)
        names = [output.name for output in self.session.get_outputs()]
        feeds = {**self.graph.constants, self.graph.root: root}
        taken = {each.name for each in self.session.get_inputs()}
        try:
            results = self.session.run(names, {name: value for name, value in feeds.items() if name in taken})
        except Exception as error:  # the runtime's own exceptions have no common base class
            raise EngineError(f"the head of the network failed: {runtime_reason(error)}") from error
        return {**feeds, **dict(zip(names, results, strict=True))}

    def _logits_of(self, values: dict[str, Array]) -> NDArray[np.float32]:
        logits = values[self.graph.logits].astype(np.float32).reshape(-1)
        return np.concatenate([-logits, logits]) if self.graph.is_binary else logits

    def _probabilities(self, logits: Floats) -> Floats:
        if self.graph.activation == "Sigmoid":
            return np.asarray(1 / (1 + np.exp(-np.clip(logits, -700, 700))))
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum())

    def _gradient(self, values: dict[str, Array], class_index: int) -> Array:
        """Return the gradient of a class's logit by the activations, in their shape."""
        graph = self.graph
        seed = np.zeros(values[graph.logits].shape, np.float32)
        seed.flat[0 if graph.is_binary else class_index] = -1 if graph.is_binary and class_index == 0 else 1
        found: dict[str, Array] = {graph.logits: seed}
        for node in reversed(graph.nodes):
            of_outputs = [found.pop(name, None) for name in node.output]
            if all(each is None for each in of_outputs):
                continue
            step = Step(node, attributes_of(node), _floats(values, node.input), _present(values, node.output))
            known = [
                np.zeros(value.shape, np.float32) if each is None else each
                for each, value in zip(of_outputs, step.outputs, strict=True)
            ]
            for place, name in enumerate(node.input):
                if name in graph.with_gradient:
                    added = gradient(step, known, place)
                    found[name] = found[name] + added if name in found else added
        of_root: Array = found.get(graph.root, np.zeros_like(values[graph.root]))[0]
        return of_root


def _floats(values: dict[str, Array], names: Sequence[str]) -> list[Array | None]:
    return [values[name] if name else None for name in names]


def _present(values: dict[str, Array], names: Sequence[str]) -> list[Array]:
    return [values[name] for name in names if name]


def class_maps(
    engine: Engine,
    version: ModelVersion,
    rows: Sequence[RawRow],
    target: str | int | None = None,
    head: ClassHead | None = None,
    timeout_s: float | None = None,
) -> list[HeatMap]:
    """Return the class activation map of each row, as an engine computes its activations, in batches of the model.

    target: the label of a class, or its place among the labels; None takes the most probable class of each row. head: of the
    version, if it was read already. timeout_s: for each batch. A map's `arrays` has labels, logits, probabilities and
    bias of all classes.
    Raises NotExplainable, InvalidInput for an unknown class, and what Engine.infer raises.
    """
    head = ClassHead.read(version) if head is None else head
    chosen = None if target is None else class_target(version.manifest, target).index
    spec = version.manifest.input
    batch = engine.spec(version.name, version.version).max_batch_size
    maps = []
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        inputs = {spec.tensor().name: np.stack([row.values for row in some])}
        request = InferRequest(version.name, inputs, OUTPUTS, version.version, timeout_s)
        results = infer_rows(engine, request)
        for row, probabilities, activations in zip(some, results["probabilities"], results["activations"], strict=True):
            logits = head.check(activations, probabilities)
            index = int(probabilities.argmax()) if chosen is None else chosen
            values, y, x = on_axes(spec, head.map(activations, index), row.span)
            maps.append(
                HeatMap(
                    kind="cam",
                    row=row,
                    target=head.labels[index],
                    target_value=float(logits[index]),
                    target_unit="logit",
                    values=values,
                    y=y,
                    x=x,
                    settings={"probability": f"{probabilities[index]:.4g}"},
                    arrays={
                        "labels": np.array(head.labels),
                        "logits": logits,
                        "probabilities": probabilities,
                        "bias": head.bias,
                    },
                )
            )
    return maps
