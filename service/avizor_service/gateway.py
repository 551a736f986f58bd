"""Hold the parts of a gateway that its RPCs share."""

from __future__ import annotations

from dataclasses import dataclass

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_inference.repository.manifest import Task
from avizor_service.anomaly_metrics import AnomalyMetrics
from avizor_service.calls import Call
from avizor_service.catalogue import Catalogue, OpenVersion
from avizor_service.engine_watch import EngineWatch
from avizor_service.explanations import Explanations
from avizor_service.inference import Inference
from avizor_service.keeping.keeper import Keeper
from avizor_service.settings import Settings
from avizor_service.threads import Threads

# The RPC to call instead, by the task of a model, and the command that calls it.
_RPC_OF: dict[Task, str] = {
    "classify": "Classify (`avizor call classify`)",
    "reconstruct": "DetectAnomaly (`avizor call detect`) or Reconstruct",
}

ItemsRequest = pb.ClassifyRequest | pb.DetectAnomalyRequest | pb.EmbedRequest | pb.ReconstructRequest | pb.ExplainRequest


@dataclass(frozen=True)
class Gateway:
    """Holds what an RPC may use."""

    settings: Settings
    catalogue: Catalogue
    inference: Inference
    anomaly_metrics: AnomalyMetrics
    threads: Threads
    engine_watch: EngineWatch
    explanations: Explanations
    keeper: Keeper | None = None  # of flagged items

    async def open_model(self, call: Call, request: ItemsRequest, task: Task | None) -> OpenVersion:
        """Return the model that a request for a task names, and count the call under it. task: None for any.

        Raises InvalidInput if the request is not in order, what `opened` raises, and GatewayFull or DeadlineExceeded if it
        would not be answered in time. Nothing is decoded before that.
        """
        if not request.model:
            raise InvalidInput("name a model", field="model")
        model = await self.opened(call, request.model, request.version)
        if task and model.manifest.task != task:
            rpc = _RPC_OF[model.manifest.task]
            raise InvalidInput(f"model {call.model!r} is made to {model.manifest.task}; call {rpc}", field="model")
        if not request.items:
            raise InvalidInput("the request holds no items; send at least one", field="items")
        most = self.settings.max_items
        if len(request.items) > most:
            raise InvalidInput(f"the request holds more than {most} items; send at most {most} at once", field="items")
        call.record.items = len(request.items)
        for item in request.items:
            call.record.note_source(item.source)
        self.inference.loads.admit(call.model, call.time_remaining_s())
        return model

    async def opened(self, call: Call, name: str, version: int, field: str = "version") -> OpenVersion:
        """Return a version that answers, and count the call under its model: while the engine is away, too.

        field: of the request, that holds the version. Raises NotAllowed, InvalidInput, and what Catalogue.open raises.
        """
        call.caller.require(name)
        if version < 0:
            raise InvalidInput(f"version {version} is below 0; 0 is the newest", field=field)
        model = self.catalogue.opened(name, version)
        if model:
            call.model = name
            self.engine_watch.require_up()
            call.record.version = model.version.version
            return model
        # Only the first call waits for files, and for the engine.
        if await self.threads.wait_for(self.catalogue.knows, name):
            call.model = name
        self.engine_watch.require_up()
        model = await self.threads.wait_for(self.catalogue.open, name, version)
        call.record.version = model.version.version
        return model
