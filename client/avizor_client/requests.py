"""Hold what a call asks for, without any network: its requests one after another, and the answer from their responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from avizor.v1 import inference_pb2 as pb
from avizor_client import reading
from avizor_client.answers import (
    Answer,
    Classification,
    Embedding,
    Explanation,
    InputKind,
    Method,
    Model,
    Reconstruction,
    Refused,
    Verdict,
)
from avizor_client.errors import ItemFailed, bad_answer, item_failed
from avizor_client.items import Content, Item, messages

# What one request holds at most; one item may be larger. A gateway takes 64 MiB and 256 items by default, and 60 s to receive
# them, in which a slow line brings this much (docs/decisions/0100-a-request-of-a-client-has-2-mib.md).
REQUEST_BYTES = 2 << 20
REQUEST_ITEMS = 64

Format = Literal["tensor", "png", "wav"]
By = Literal["time", "frequency", "both"]
MapFormat = Literal["numbers", "png", "both"]

T = TypeVar("T")
Items = Iterable[Item | Content]

_FORMATS: dict[Format, pb.ReconstructionFormat] = {
    "tensor": pb.RECONSTRUCTION_FORMAT_TENSOR,
    "png": pb.RECONSTRUCTION_FORMAT_PNG,
    "wav": pb.RECONSTRUCTION_FORMAT_WAV,
}
_METHODS: dict[Method | None, pb.ExplanationMethod] = {
    None: pb.EXPLANATION_METHOD_UNSPECIFIED,
    "cam": pb.EXPLANATION_METHOD_CAM,
    "occlusion": pb.EXPLANATION_METHOD_OCCLUSION,
    "error_map": pb.EXPLANATION_METHOD_ERROR_MAP,
}
_MAP_FORMATS: dict[MapFormat, pb.ExplanationFormat] = {
    "numbers": pb.EXPLANATION_FORMAT_NUMBERS,
    "png": pb.EXPLANATION_FORMAT_PNG,
    "both": pb.EXPLANATION_FORMAT_BOTH,
}
_BY: dict[By | None, pb.OcclusionBy] = {
    None: pb.OCCLUSION_BY_UNSPECIFIED,
    "time": pb.OCCLUSION_BY_TIME,
    "frequency": pb.OCCLUSION_BY_FREQUENCY,
    "both": pb.OCCLUSION_BY_BOTH,
}


@dataclass(frozen=True)
class Occlusion:
    """How parts are hidden, as in OcclusionSettings of inference.proto; what is empty is what suits the model."""

    size: Sequence[float] = ()
    stride: Sequence[float] = ()
    fill: str = ""
    by: By | None = None


class ItemsCall(Generic[T]):
    """A call about items: as many requests as their sizes ask for, of one version, and one answer."""

    def __init__(self, rpc: str, request: Any, read: Callable[[Any, Any], T], most_items: int = REQUEST_ITEMS) -> None:
        """rpc: its name. request: without items. read: makes a result of an item of the response, and of the response."""
        self.rpc = rpc
        self._request, self._read, self._most_items = request, read, most_items
        self._version = request.version
        self._results: list[T | ItemFailed] = []
        self._request_ids: list[str] = []
        self._asked = 0  # items that were asked about

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self._request.model)

    @property
    def version(self) -> int:
        """The version that was asked for; 0 for the one that is served."""
        return int(self._request.version)

    def requests(self, items: Items, kind: InputKind, source: str) -> Iterator[Any]:
        """Yield the requests; `add` has to have the response to one before the next is asked for. Raises InputError."""
        for group in _groups(messages(items, kind, source), self._most_items):
            request = type(self._request)()
            request.CopyFrom(self._request)
            request.version = self._version
            request.items.extend(group)
            self._asked += len(group)
            yield request

    @reading.understood()
    def add(self, response: Any, request_id: str) -> None:
        """Take the response to a request. The version that answered it answers the next ones. Raises BadAnswer."""
        self._version = response.version
        self._request_ids.append(request_id)
        for item in response.items:
            self._results.append(item_failed(item.error) if item.HasField("error") else self._read(item, response))
        if len(self._results) != self._asked:
            raise bad_answer(f"it has results for {len(self._results)} of {self._asked} items")

    def answer(self) -> Answer[T]:
        """Return the answer to all requests."""
        return Answer(self.model, self._version, tuple(self._results), tuple(self._request_ids))


def classify(model: str, version: int, top_k: int, threshold: float, outputs: Iterable[str]) -> ItemsCall[Classification]:
    """Return a call of Classify."""
    request = pb.ClassifyRequest(model=model, version=version, top_k=top_k, threshold=threshold, outputs=outputs)
    return ItemsCall("Classify", request, reading.classification)


def detect(model: str, version: int, alpha: float, confidence: float, outputs: Iterable[str]) -> ItemsCall[Verdict]:
    """Return a call of DetectAnomaly."""
    request = pb.DetectAnomalyRequest(model=model, version=version, alpha=alpha, confidence=confidence, outputs=outputs)
    return ItemsCall("DetectAnomaly", request, reading.verdict)


def embed(model: str, version: int) -> ItemsCall[Embedding]:
    """Return a call of Embed."""
    return ItemsCall("Embed", pb.EmbedRequest(model=model, version=version), reading.embedding)


def reconstruct(model: str, version: int, format: Format) -> ItemsCall[Reconstruction]:
    """Return a call of Reconstruct."""
    request = pb.ReconstructRequest(model=model, version=version, format=_FORMATS[format])
    return ItemsCall("Reconstruct", request, reading.reconstruction)


def explain(
    model: str,
    version: int,
    method: Method | None,
    label: str,
    window: int | None,
    occlusion: Occlusion | None,
    format: MapFormat,
) -> ItemsCall[Explanation]:
    """Return a call of Explain. Each item is a request of its own: the rows of the model that a call may run are bounded."""
    request = pb.ExplainRequest(
        model=model, version=version, method=_METHODS[method], label=label, window=window, format=_MAP_FORMATS[format]
    )
    if occlusion:
        request.occlusion.CopyFrom(
            pb.OcclusionSettings(size=occlusion.size, stride=occlusion.stride, fill=occlusion.fill, by=_BY[occlusion.by])
        )
    return ItemsCall("Explain", request, reading.explanation, most_items=1)


def models(response: pb.ListModelsResponse) -> tuple[Model, ...]:
    """Return the models of a list."""
    return tuple(map(reading.model, response.models))


def refused(response: pb.ListModelsResponse) -> tuple[Refused, ...]:
    """Return what a list says of versions that do not answer."""
    return tuple(Refused(each.name, each.version, each.reason, each.is_served) for each in response.refused)


def _groups(items: Iterable[pb.Item], most: int) -> Iterator[list[pb.Item]]:
    """Yield items in groups that one request may hold; at least one group, which may be empty."""
    group: list[pb.Item] = []
    size = 0
    is_first = True
    for item in items:
        more = item.ByteSize()
        if group and (len(group) == most or size + more > REQUEST_BYTES):
            yield group
            group, size, is_first = [], 0, False
        group.append(item)
        size += more
    if group or is_first:
        yield group
