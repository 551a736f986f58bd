"""Run models in the Triton engine: a running NVIDIA Triton server, over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import grpc
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_batch_size, check_request, seconds_left
from avizor_inference.engines.triton_calls import TritonCalls, infer_method, message_of, metadata_of, outputs_of
from avizor_inference.error_text import shortened
from avizor_inference.errors import (
    AvizorError,
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    EngineMismatch,
    EngineUnavailable,
    InvalidInput,
    ModelNotFound,
    VersionNotLoaded,
    VersionRefused,
)
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.calibration import EngineClass, RunPrecision
from avizor_inference.repository.triton_config import TRITON_TYPES, VERSION_PATTERN, asks_for_gpu, digest_of_version

# Metadata and configuration are small: a server that does not send them in this time counts as away.
DESCRIBE_TIMEOUT_S = 10.0

# Parts of what Triton answers about a model that it knows, but has not loaded (yet, or any more): the first one with NOT_FOUND
# about all versions, the second one with UNAVAILABLE about one of them.
_NOT_LOADED = ("has no available versions", "is not at ready state")

# Parts of what Triton answers, with UNAVAILABLE, about a request that its queue policy refuses.
_BUSY = ("Exceeds maximum queue size", "timeout expired")

# Codes of a request that the server or a proxy before it gave up or did not let pass, and that may be sent again. We did not
# cancel it: then nobody waits for the answer.
_OF_THE_WAY = (
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAUTHENTICATED,
)

# A server that knows the deadline of a request may say so much before it that it has passed: clocks and roundings differ.
_EARLY_S = 0.1

# What gRPC says with any code where a proxy has answered itself, as 500 or 404.
_OF_A_PROXY = "Received http2 header with status"

# Parts of what gRPC answers, in C++ or Go and in Java, with RESOURCE_EXHAUSTED, to a message that is larger than a server or a
# proxy takes; and what it makes, with UNKNOWN, of nginx's answer to one.
_TOO_LARGE = ("essage larger than max", "exceeds maximum size", f"{_OF_A_PROXY}: 413")
_OF_A_SIZE = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN)

# A name to ask about.
_ANY_MODEL = "avizor"

_DTYPES = {name: dtype for dtype, name in TRITON_TYPES.items()}

# TensorRT's precision_mode -> the precision that it computes in; the graph's for FP32, the default.
_TENSORRT_PRECISIONS: dict[str, RunPrecision] = {"FP16": "fp16", "BF16": "bf16", "INT8": "int8"}

_CHANNEL = [
    # A recording's error map, or a batch of images, is larger than gRPC's 4 MiB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # How long a gRPC channel waits before it tries a server that was away again, at first and at last (its defaults are 1 s and
    # 120 s); after how long it gives up a connection that is not made (20 s), and looks up the server's name again (30 s): a
    # container that comes back may have another address.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A server that is silent is pinged, and away if it does not answer: its machine may be gone, which no packet tells. Triton
    # allows two pings in five minutes without an answer to a call, which is what gRPC sends at most.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # Docker sets http_proxy in every container; such a proxy is for the way out and cannot resolve this host's name.
    ("grpc.enable_http_proxy", 0),
]


def triton_client(address: str) -> triton.InferenceServerClient:
    """Return a client of the Triton at `address` (host:port), with Avizor's options: no proxy, messages of any size."""
    return triton.InferenceServerClient(address, channel_args=_CHANNEL)


class TritonEngine(Engine):
    """Runs models on the Triton server at `address` (host:port of its gRPC).

    Requests are compared with the model's configuration here, before they are sent, by the rules of every engine. "The newest
    version" is the newest one that the server had loaded when the model was first used.
    """

    answers_on_loop = True

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, _CHANNEL)
        self._server, self._infer = GRPCInferenceServiceStub(self._channel), infer_method(self._channel)
        # Behind large requests on a slow way, a question is answered late: it has a connection of its own.
        self._asking_channel = grpc.insecure_channel(address, [*_CHANNEL, ("grpc.use_local_subchannel_pool", 1)])
        self._asking = GRPCInferenceServiceStub(self._asking_channel)
        self._calls: TritonCalls | None = None  # of the event loop that asked last
        self._was_ready = False
        self._specs: dict[tuple[str, int | None], ModelSpec] = {}
        self._lock = threading.Lock()
        self._closed = False

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec. `sha256` comes from the model's configuration."""
        if self._closed:
            raise EngineUnavailable(f"the engine of Triton at {self.address} is closed")
        if spec := self._specs.get((model, version)):
            return spec
        spec, _ = self._describe(model, version)
        with self._lock:
            self._specs[model, version] = spec = self._kept(spec)
        return spec

    def loaded(self, model: str) -> list[int]:
        """See Engine.loaded."""
        if self._closed:
            raise EngineUnavailable(f"the engine of Triton at {self.address} is closed")
        spec, loaded = self._describe(model, None)
        others = [self._describe(model, number)[0] for number in loaded[:-1]]
        with self._lock:  # those of versions that are not loaded stay: calls that use them are told by the server
            for each in others:
                self._kept(each)
            self._specs[model, None] = self._kept(spec)
        return loaded

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit. A future that is cancelled before the answer cancels the request at the server, too."""
        spec, left = self._checked(request)
        ends = _ends(left)
        future: Future[dict[str, Array]] = Future()

        def finish(sent: grpc.Future) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                if sent.code() is not grpc.StatusCode.OK:
                    raise self._failed(sent, request.model, ends)
                answer = self._answer(sent.result(), request, spec)
            except Exception as failure:  # a future that is never settled would hold its caller for ever
                future.set_exception(failure.with_traceback(None))
            else:
                future.set_result(answer)

        sent = self._infer.future(message_of(request, spec), timeout=left, metadata=metadata_of(request))
        sent.add_done_callback(finish)
        future.add_done_callback(lambda done: sent.cancel() if done.cancelled() else None)
        return future

    async def infer_on_loop(self, request: InferRequest) -> dict[str, Array]:
        """See Engine.infer_on_loop. A caller that is cancelled cancels the request at the server, too."""
        spec, left = self._checked(request)
        ends = _ends(left)
        try:
            answer = await self._calls_of_this_loop().infer(request, spec, left)
        except grpc.aio.AioRpcError as error:
            failure = self._failed(error, request.model, ends)
        else:
            return self._answer(answer, request, spec)
        raise failure  # not while gRPC's error is handled, which holds the request

    def statistics(self, model: str = "", version: int | None = None) -> list[Any]:
        """See Engine.statistics: those of the server, of what all its clients have asked for."""
        wanted = "" if version is None else str(version)
        try:
            asked = service_pb2.ModelStatisticsRequest(name=model, version=wanted)
            answer = self._server.ModelStatistics(asked, timeout=DESCRIBE_TIMEOUT_S)
        except grpc.RpcError as error:
            raise self._translated(error, model) from error
        return list(answer.model_stats)

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready. A server that is away may come back with other versions, so the newest ones are asked for again."""
        if self._closed:
            return False
        # The connection of requests may still be made anew when the other one is there.
        asked = (self._asking,) if self._was_ready else (self._asking, self._server)
        self._was_ready = all(_is_ready(each, timeout_s) for each in asked) and (self._was_ready or self._reaches_calls())
        if not self._was_ready:
            self._forget_newest()
        return self._was_ready

    def close(self) -> None:
        """See Engine.close."""
        if not self._closed:
            self._closed = True
            self._calls = None
            self._channel.close()
            self._asking_channel.close()

    def _kept(self, spec: ModelSpec) -> ModelSpec:
        """Keep what the server says of a version, and return it: the same object as before, if it says the same."""
        key = spec.name, spec.version
        if self._specs.get(key) != spec:
            self._specs[key] = spec
        return self._specs[key]

    def _checked(self, request: InferRequest) -> tuple[ModelSpec, float | None]:
        """Return what a request is for, and the seconds that are left for it. Raises what Engine.submit raises."""
        started = time.monotonic()
        spec = self.spec(request.model, request.version)
        check_request(spec, request)
        return spec, seconds_left(request, started)

    def _calls_of_this_loop(self) -> TritonCalls:
        if self._calls is None or self._calls.loop is not asyncio.get_running_loop():
            self._calls = TritonCalls(self.address, _CHANNEL)
        return self._calls

    def _reaches_calls(self) -> bool:
        """Return whether calls from an event loop have a connection, if there were any."""
        calls = self._calls
        return calls is None or calls.is_connected()

    def _answer(self, answer: bytes | None, request: InferRequest, spec: ModelSpec) -> dict[str, Array]:
        try:
            return outputs_of(answer, request, spec, self.address)
        except EngineMismatch:
            self._forget_newest()
            raise

    def _failed(self, call: grpc.Call, model: str, ends: float) -> AvizorError:
        """Return our error for a request that failed. The server may have come back with other versions."""
        failure = self._translated(call, model, ends)
        if isinstance(failure, InvalidInput):  # though it agrees with what the server said of the version
            failure = EngineMismatch(f"{failure}; see whether another model was loaded under its name, and load it again")
        if not isinstance(failure, EngineBusy):
            self._forget_newest()
        return failure

    def _forget_newest(self) -> None:
        """Ask again which version is the newest: the server may have come back with others. What a version takes is kept."""
        with self._lock:
            self._specs = {(model, number): spec for (model, number), spec in self._specs.items() if number is not None}

    def _describe(self, model: str, version: int | None) -> tuple[ModelSpec, list[int]]:
        """Return what the server says of a version, of the newest for None, and which versions it has loaded, ascending."""
        wanted = "" if version is None else str(version)
        try:
            asked = service_pb2.ModelMetadataRequest(name=model, version=wanted)
            metadata = self._server.ModelMetadata(asked, timeout=DESCRIBE_TIMEOUT_S)
            about = service_pb2.ModelConfigRequest(name=model, version=wanted)
            config = self._server.ModelConfig(about, timeout=DESCRIBE_TIMEOUT_S).config
        except grpc.RpcError as error:
            raise self._translated(error, model) from error
        loaded = self._numbers(metadata.versions, model)
        return _spec(config, model, loaded[-1] if version is None else version), loaded

    def _numbers(self, versions: Sequence[str], model: str) -> list[int]:
        """Return the versions of a model, ascending: a server that has just unloaded the last one may name none."""
        if not versions:
            raise VersionNotLoaded(f"Triton at {self.address} has loaded no version of model {model!r}; load one, or try again")
        if odd := [name for name in versions if not re.fullmatch(VERSION_PATTERN, name)]:
            raise EngineError(
                f"the server at {self.address} has version {shortened(odd[0])!r} of model {model!r}, and a version is a "
                "number; give the address of a Triton that serves the repository"
            )
        return sorted(map(int, versions))

    def _translated(self, call: grpc.Call, model: str, ends: float = math.inf) -> AvizorError:
        """Return our error for a call that failed, by its code; by its text only where the code is ambiguous.

        ends: the caller's deadline, by time.monotonic(). Before it, the time was over of something between, or of a question.
        """
        code, text = call.code(), call.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            late = f"Triton at {self.address} gave no answer for model {model!r} in time"
            if time.monotonic() >= ends - _EARLY_S:
                return DeadlineExceeded(late)
            return EngineUnavailable(
                f"{late}: {text}; if a proxy before it allows less than a batch takes, raise that, or use smaller batches"
            )
        if code is grpc.StatusCode.UNAVAILABLE and any(part in text for part in _BUSY):
            return EngineBusy(f"Triton at {self.address} has more requests for model {model!r} than its queue takes: {text}")
        if any(part in text for part in _NOT_LOADED):
            return VersionNotLoaded(f"Triton at {self.address} has not loaded model {model!r}, or this version of it: {text}")
        if code is grpc.StatusCode.UNAVAILABLE:
            return EngineUnavailable(f"Triton at {self.address} is away, or has not loaded model {model!r}: {text}")
        if code in _OF_A_SIZE and any(part in text for part in _TOO_LARGE):
            return EngineError(
                f"the way to Triton at {self.address} takes no message of that size for model {model!r}: {text}; use smaller "
                "batches, or raise the limit of what is between"
            )
        if code in _OF_THE_WAY or _OF_A_PROXY in text:
            return EngineUnavailable(
                f"Triton at {self.address}, or a proxy, ended a request to model {model!r}: {code.name}: {text}"
            )
        if code is grpc.StatusCode.NOT_FOUND:
            return ModelNotFound(_not_found(text, model))
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput(f"Triton refused the request to model {model!r}: {text}")
        return EngineError(f"Triton failed at model {model!r}: {code.name}: {text}")


def _ends(left: float | None) -> float:
    """Return when a request is over that begins now, by time.monotonic(). left: the seconds it has; None for no limit."""
    return math.inf if left is None else time.monotonic() + left


def _not_found(text: str, model: str) -> str:
    """Return the message that every engine uses. The missing version is in Triton's text."""
    _, version, rest = text.partition("' version ")
    if version:
        return f"model {model!r} has no version {rest.partition(' ')[0]} that Triton has loaded"
    return f"no model named {model!r} is loaded by Triton"


def _is_ready(server: GRPCInferenceServiceStub, timeout_s: float) -> bool:
    with contextlib.suppress(grpc.RpcError):
        if server.ServerReady(service_pb2.ServerReadyRequest(), timeout=timeout_s).ready:
            return True
        # With --strict-readiness it says no as long as one model is not ready: one that is broken, or is being loaded. The
        # question about a model has an answer then, also if there is none of that name. One that stops refuses it.
        server.ModelReady(service_pb2.ModelReadyRequest(name=_ANY_MODEL), timeout=timeout_s)
        return True
    return False


def _spec(config: ModelConfig, model: str, version: int) -> ModelSpec:
    engine_class, precision = engine_of_config(config)
    check_batch_size(config.max_batch_size, f"the configuration that Triton has of model {model!r}")
    return ModelSpec(
        name=model,
        version=version,
        inputs={tensor.name: _tensor(tensor, model) for tensor in config.input},
        outputs={tensor.name: _tensor(tensor, model) for tensor in config.output},
        max_batch_size=config.max_batch_size,
        sha256=digest_of_version(config, version),
        engine_class=engine_class,
        precision=precision,
    )


def engine_of_config(config: ModelConfig) -> tuple[EngineClass, RunPrecision | None]:
    """Return what computes a model that Triton has loaded, and in which precision; None is that of the graph.

    config: as the server returns it, with instance groups of KIND_CPU or KIND_GPU: it decides KIND_AUTO when it loads a model.
    TensorRT names its precision in precision_mode: FP32 (the default), FP16, BF16 or INT8.
    """
    accelerators = config.optimization.execution_accelerators
    on_gpu = asks_for_gpu(config)
    if on_gpu:
        for accelerator in accelerators.gpu_execution_accelerator:
            if accelerator.name == "tensorrt":
                return "tensorrt", _TENSORRT_PRECISIONS.get(accelerator.parameters.get("precision_mode", "").upper())
    elif any(accelerator.name == "openvino" for accelerator in accelerators.cpu_execution_accelerator):
        return "openvino", None
    if "tensorrt" in (config.backend, config.platform.partition("_")[0]):
        return "tensorrt", None
    if config.backend == "openvino":
        return "openvino", None
    return ("onnxruntime-cuda" if on_gpu else "onnxruntime-cpu"), None


def _tensor(tensor: Any, model: str) -> TensorSpec:
    dtype = _DTYPES.get(DataType.Name(tensor.data_type))
    if dtype is None or any(dim < 1 for dim in tensor.dims):
        raise VersionRefused(
            f"tensor {tensor.name!r} of model {model!r} has a type or free dimensions that Avizor does not serve"
        )
    return TensorSpec(name=tensor.name, dtype=dtype, item_shape=tuple(tensor.dims))
