"""avizor.v1.InferenceService: translates between the wire and the engine, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import grpc
import numpy as np
from google.rpc.status_pb2 import Status

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.judge import recordings_needed, require_alpha, under_calibrated
from avizor_inference.anomaly.verdict import Verdict, verdict
from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.open import infer_rows
from avizor_inference.errors import CalibrationError, GatewayFull, InvalidInput
from avizor_service.catalogue import ServedModels, ServedVersion
from avizor_service.items import Decoded, decode
from avizor_service.metric_labels import KnownSources
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings
from avizor_service.status import abort, status_of

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# The model's name is the client's word until the model is found; only names that exist become label values.
NO_MODEL = ""


@dataclass
class _Call:
    """What is noted of a call for the metrics."""

    rpc: str
    model: str = NO_MODEL


@dataclass(frozen=True)
class _Result:
    """One item, and the model's output for each of its windows."""

    item: Decoded
    rows: Array


@dataclass(frozen=True)
class Pools:
    """Threads for what would hold up the event loop. Decoding keeps a core busy; waiting for an engine does not."""

    decoding: Executor
    waiting: Executor


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """Serves the models of a repository through an engine."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        engine: Engine,
        metrics: Metrics,
        sources: KnownSources,
        pools: Pools,
    ) -> None:
        self._settings, self._models, self._engine = settings, models, engine
        self._metrics, self._sources, self._pools = metrics, sources, pools
        self._in_flight = 0

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        """See the contract."""

        async def work(_call: _Call) -> pb.ListModelsResponse:
            return pb.ListModelsResponse(models=await self._blocking(self._list))

        return await self._serve("ListModels", context, work)

    async def GetModel(self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext) -> pb.Model:  # noqa: N802
        """See the contract."""

        async def work(call: _Call) -> pb.Model:
            described = await self._blocking(self._models.describe, request.name, request.version)
            call.model = described.name
            return described

        return await self._serve("GetModel", context, work)

    async def Classify(  # noqa: N802
        self, request: pb.ClassifyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ClassifyResponse:
        """See the contract."""

        async def work(call: _Call) -> pb.ClassifyResponse:
            if request.top_k < 0:
                raise InvalidInput(f"top_k {request.top_k} is below 0; 0 gives one class", field="top_k")
            model = await self._model(call, request, "classify")
            labels = model.manifest.labels or ()
            most = min(request.top_k or 1, len(labels))
            answer = pb.ClassifyResponse(model=model.version.name, version=model.version.version)
            for result in await self._infer(model, request.items, "probabilities", context):
                if isinstance(result, Status):
                    answer.items.append(pb.Classification(error=result))
                else:
                    answer.items.append(_classification(result, labels, most))
            return answer

        return await self._serve("Classify", context, work)

    async def DetectAnomaly(  # noqa: N802
        self, request: pb.DetectAnomalyRequest, context: grpc.aio.ServicerContext
    ) -> pb.DetectAnomalyResponse:
        """See the contract."""

        async def work(call: _Call) -> pb.DetectAnomalyResponse:
            model = await self._model(call, request, "reconstruct")
            alpha = request.alpha or self._settings.alpha
            if not 0 < alpha < 1:
                raise InvalidInput(f"alpha {alpha:g} is not between 0 and 1; it is the share of false alarms", field="alpha")
            require_alpha(model.require_calibration(), alpha)
            judge = await self._blocking(lambda: model.judge)
            answer = pb.DetectAnomalyResponse(
                model=call.model, version=model.version.version, alpha=alpha, calibration_id=model.require_calibration().id
            )
            results = await self._infer(model, request.items, "score", context)
            for number, (item, result) in enumerate(zip(request.items, results, strict=True)):
                if isinstance(result, Status):
                    answer.items.append(pb.Verdict(error=result))
                    continue
                found = verdict(judge, item.source, ItemScore.of(result.rows[:, 0]), is_short=result.item.is_short)
                self._count(call.model, item.source, found)
                if reason := found.not_judged(alpha):
                    error = CalibrationError(f"the item is not judged: {reason}")
                    answer.items.append(pb.Verdict(error=status_of(error, f"items[{number}]")))
                    continue
                p_values, _ = judge.window_p_values(item.source, result.rows[:, 0], is_short=result.item.is_short)
                answer.items.append(_judged(found, result, alpha, p_values))
            return answer

        return await self._serve("DetectAnomaly", context, work)

    def _list(self) -> list[pb.Model]:
        return [self._models.describe(name) for name in self._models.names()]

    async def _serve(self, rpc: str, context: grpc.aio.ServicerContext, work: Callable[[_Call], Awaitable[Answer]]) -> Answer:
        """Admit a call, run it, count it, and end it with a status where it failed."""
        call, started, code = _Call(rpc), time.perf_counter(), grpc.StatusCode.OK
        try:
            self._admit()
            try:
                return await work(call)
            finally:
                self._leave()
        except Exception as error:
            status = status_of(error)
            code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
            await abort(context, status)
            raise  # abort does not return
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            self._metrics.requests.labels(rpc, call.model, code.name).inc()
            self._metrics.duration.labels(rpc, call.model).observe(time.perf_counter() - started)

    def _admit(self) -> None:
        if self._in_flight >= self._settings.max_in_flight:
            self._metrics.rejected.labels("full").inc()
            raise GatewayFull(f"{self._in_flight} calls are being served, as many as are taken at once; try again")
        self._in_flight += 1
        self._metrics.in_flight.inc()

    def _leave(self) -> None:
        self._in_flight -= 1
        self._metrics.in_flight.dec()

    async def _model(self, call: _Call, request: pb.ClassifyRequest | pb.DetectAnomalyRequest, task: str) -> ServedVersion:
        model = await self._blocking(self._models.get, request.model, request.version)
        call.model = model.version.name
        model.require(task)
        if not request.items:
            raise InvalidInput("the request holds no items", field="items")
        if len(request.items) > self._settings.max_items:
            raise InvalidInput(
                f"the request holds {len(request.items)} items; at most {self._settings.max_items} are taken", field="items"
            )
        return model

    async def _infer(
        self, model: ServedVersion, items: Sequence[pb.Item], output: str, context: grpc.aio.ServicerContext
    ) -> list[_Result | Status]:
        """Decode each item and run them all together; an item that is bad by itself gets a status."""
        loop = asyncio.get_running_loop()
        decoding = (
            loop.run_in_executor(self._pools.decoding, self._decode, item, model, number) for number, item in enumerate(items)
        )
        decoded = await asyncio.gather(*decoding)
        good = [each for each in decoded if isinstance(each, Decoded)]
        self._metrics.clipped.labels(model.version.name).inc(sum(each.clipped for each in good))
        if not good:
            return [each for each in decoded if isinstance(each, Status)]
        together = np.concatenate([each.rows for each in good])
        result = await self._blocking(self._run, model, together, output, context.time_remaining())
        rows = iter(np.split(result, np.cumsum([len(each.rows) for each in good])[:-1]))
        return [_Result(each, next(rows)) if isinstance(each, Decoded) else each for each in decoded]

    def _decode(self, item: pb.Item, model: ServedVersion, number: int) -> Decoded | Status:
        try:
            return decode(item, model.manifest.input, self._settings.max_windows)
        except Exception as error:  # one bad item must not cost the others their answer
            return status_of(error, field=f"items[{number}]")

    def _run(self, model: ServedVersion, rows: Array, output: str, timeout_s: float | None) -> Array:
        (input_name,) = model.spec.inputs
        name, version = model.spec.name, model.spec.version
        answer = infer_rows(
            self._engine, InferRequest(name, {input_name: rows}, [output], version=version, timeout_s=timeout_s)
        )
        return answer[output]

    def _count(self, model: str, source: str, item: Verdict) -> None:
        """Count a verdict at the gateway's own alpha."""
        folded = self._sources.fold(source)
        if item.p_value is None or item.not_judged(self._settings.alpha):
            self._metrics.not_judged.labels(model, folded).inc()
            return
        self._metrics.scored.labels(model, folded).inc()
        self._metrics.p_value.labels(model).observe(item.p_value)
        if item.is_anomaly(self._settings.alpha):
            self._metrics.anomalies.labels(model, folded).inc()

    async def _blocking(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        """Run in a thread what waits for a disk or an engine."""
        return await asyncio.get_running_loop().run_in_executor(self._pools.waiting, work, *arguments)


def announce(metrics: Metrics, models: ServedModels, sources: KnownSources, alpha: float) -> None:
    """Show every calibrated model's series from the start, at 0: a rate needs a first value to rise from.

    Raises CalibrationError where a calibration cannot support the gateway's alpha.
    """
    calibrations = models.calibrations()
    for calibration in calibrations.values():
        require_alpha(calibration, alpha)  # raises, and says what would do
        sources.add(tuple(calibration.source_names))
    for name, calibration in calibrations.items():
        if few := under_calibrated(calibration, calibration.source_names, alpha):
            named = ", ".join(f"{source} ({count})" for source, count in few.items())
            _log.warning(
                "%s: too few calibration recordings for alpha %g, which needs %d: %s; of n, up to 1 in n + 1 normal items may "
                "be flagged, and alerts on these sources may be false",
                name,
                alpha,
                recordings_needed(alpha),
                named,
            )
        metrics.alert_alpha.labels(name).set(alpha)
        metrics.calibration_info.labels(name, calibration.id).set(1)
        metrics.calibration_created.labels(name).set(calibration.created.timestamp())
        for source in sources.all():
            metrics.scored.labels(name, source)
            metrics.not_judged.labels(name, source)
            metrics.anomalies.labels(name, source)


def _classes(probabilities: Array, labels: Sequence[str], most: int) -> Iterable[pb.ClassProbability]:
    best = np.argsort(-probabilities, kind="stable")[:most]
    return (pb.ClassProbability(label=labels[index], probability=float(probabilities[index])) for index in best)


def _classification(result: _Result, labels: Sequence[str], most: int) -> pb.Classification:
    mean = result.rows.astype(np.float64).mean(axis=0)
    answer = pb.Classification(classes=_classes(mean, labels, most))
    for span, row in zip(result.item.spans, result.rows, strict=True):
        answer.windows.append(pb.ClassifiedWindow(span=span, classes=_classes(row, labels, most)))
    return answer


def _judged(item: Verdict, result: _Result, alpha: float, p_values: Array) -> pb.Verdict:
    """The answer for one item that was judged. p_values: of its windows, float64[windows]."""
    assert item.p_value is not None  # it was judged
    answer = pb.Verdict(
        score=item.score,
        p_value=item.p_value,
        is_anomaly=bool(item.is_anomaly(alpha)),
        judged_by=item.judged_by or "",
    )
    for span, score, p_value in zip(result.item.spans, result.rows[:, 0], p_values, strict=True):
        answer.windows.append(pb.JudgedWindow(span=span, score=float(score), p_value=float(p_value)))
    return answer
