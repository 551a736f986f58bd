"""Call through the front door with ordinary clients, each kind in a thread and over a connection of its own."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc
import tritonclient.http
from integration.gateway import IMAGE, normal
from replacements.ledger import Ledger
from support.sounds import SAMPLE_RATE, tone
from tritonclient.utils import InferenceServerException

from avizor.v1 import inference_pb2 as pb
from avizor.v1.inference_pb2_grpc import InferenceServiceStub
from avizor_client import Client, Tls
from avizor_client.errors import CallFailed

TIMEOUT_S = 20.0
CHUNK_S = 0.5
# Neither the policy of a client nor the tries that gRPC makes on its own.
NO_RETRIES = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]

# A call: returns what its answer tells.
Call = Callable[[], str]


@dataclass(frozen=True)
class Door:
    """Where to call: HOST:PORT, and the folder of `ca.pem` and of the files `token` and `limited-token`."""

    address: str
    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate by which the server's is checked."""
        return self.folder / "ca.pem"

    def token(self, name: str) -> str:
        """Return the token of now: "token", or "limited-token", which nginx sends to the gateway."""
        return (self.folder / name).read_text()

    def headers(self, name: str = "token") -> dict[str, str]:
        """Return what goes with a call now. name: as for `token`."""
        return {"authorization": f"Bearer {self.token(name)}"}

    def stub(self, options: list[tuple[str, int]]) -> Any:
        """Return a stub with a channel of its own."""
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes())
        stub: Any = InferenceServiceStub
        return stub(grpc.secure_channel(self.address, credentials, options))


class _HttpFailed(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def code(error: Exception) -> str:
    """Return the status of a call that failed, or the kind of error of a connection."""
    if isinstance(error, grpc.RpcError):
        return str(error.code().name)
    if isinstance(error, InferenceServerException):
        return str(error.status()).removeprefix("StatusCode.")
    if isinstance(error, CallFailed | _HttpFailed):
        return error.code
    return type(error).__name__


def message(error: Exception) -> str:
    """Return what a failed call says of itself."""
    return str(error.details() if isinstance(error, grpc.RpcError) else error)


class Callers:
    """Call at a pace until they are told to stop.

    calls_a_second: of each kind. Around a replacement (`busy`) it is `times` as many.
    """

    def __init__(self, ledger: Ledger, calls_a_second: float, times: float) -> None:
        self.busy = threading.Event()
        self._ledger, self._pace_s, self._times = ledger, 1 / calls_a_second, times
        self._quit = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, kind: str, connect: Callable[[], Call]) -> None:
        """Begin to make calls of a kind. connect: is called once, in their thread."""
        self._start(lambda: self._call_on(kind, connect()))

    def listen(self, kind: str, door: Door) -> None:
        """Begin a stream, and a new one where it ends. A window counts as an answer, the end of a stream as a failed call."""
        self._start(lambda: self._listen_on(kind, door))

    def stop(self) -> None:
        """Wait until the last calls have ended."""
        self._quit.set()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=target, daemon=True))
        self._threads[-1].start()

    def _call_on(self, kind: str, call: Call) -> None:
        while not self._quit.is_set():
            begun, period = time.monotonic(), self._ledger.current
            try:
                what = call()
            except Exception as error:
                self._ledger.failed(kind, code(error), message(error), period)
            else:
                self._ledger.answered(kind, time.monotonic() - begun, period, what)
            pace_s = self._pace_s / (self._times if self.busy.is_set() else 1)
            self._quit.wait(max(0.0, begun + pace_s - time.monotonic()))

    def _listen_on(self, kind: str, door: Door) -> None:
        stub = door.stub(NO_RETRIES)
        while not self._quit.is_set():
            period, begun = self._ledger.current, time.monotonic()
            try:
                for message in stub.Monitor(self._chunks(), metadata=list(door.headers().items())):
                    if message.WhichOneof("message") == "window":
                        period = self._ledger.current
                        self._ledger.answered(kind, time.monotonic() - begun, period)
                        begun = time.monotonic()
            except grpc.RpcError as error:
                if not self._quit.is_set():
                    self._ledger.failed(kind, error.code().name, error.details(), period)
                    self._quit.wait(0.5)

    def _chunks(self) -> Iterator[pb.MonitorRequest]:
        yield pb.MonitorRequest(start=pb.MonitorStart(detector="normal", source="a", sample_rate=SAMPLE_RATE))
        pcm = (tone(CHUNK_S) * 32767).astype("<i2").tobytes()
        while not self._quit.wait(CHUNK_S):
            yield pb.MonitorRequest(pcm=pcm)


def typed(door: Door, rpc: str) -> Callable[[], Call]:
    """`Classify` or `DetectAnomaly` by generated code, with no retries."""
    requests = {
        "Classify": pb.ClassifyRequest(model="digits", items=[IMAGE]),
        "DetectAnomaly": pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=normal(), source="a")]),
    }

    def connect() -> Call:
        method = getattr(door.stub(NO_RETRIES), rpc)

        def call() -> str:
            answer = method(requests[rpc], metadata=list(door.headers().items()), timeout=TIMEOUT_S)
            _expect(len(answer.items) == 1 and not answer.items[0].HasField("error"), answer)
            return f"{answer.version} {getattr(answer, 'calibration_id', '')}".strip()

        return call

    return connect


def with_policy(door: Door, rpc: str) -> Callable[[], Call]:
    """The same with avizor_client, which tries again as docs/clients.md says."""

    def connect() -> Call:
        client = Client(door.address, tls=Tls(ca=door.ca), token_file=door.folder / "token", timeout_s=TIMEOUT_S)

        def call() -> str:
            answer: Any
            if rpc == "Classify":
                answer = client.classify("digits", [IMAGE.image])
            else:
                answer = client.detect("normal", [normal()], source="a")
            answer.only()
            return str(answer.version)

        return call

    return connect


def tensors(door: Door, over: Any, token: str) -> Callable[[], Call]:
    """Raw tensors with tritonclient. over: tritonclient.grpc or tritonclient.http. token: says whether Triton answers."""

    def connect() -> Call:
        if over is tritonclient.grpc:
            alone = [("grpc.use_local_subchannel_pool", 1)]
            roots = str(door.ca)
            client = over.InferenceServerClient(door.address, ssl=True, root_certificates=roots, channel_args=alone)
            timeout = {"client_timeout": TIMEOUT_S}
        else:
            client = over.InferenceServerClient(door.address, ssl=True, ssl_options={"ca_certs": str(door.ca)})
            timeout = {}
        tensor = over.InferInput("image", [1, 32, 32, 1], "UINT8")
        tensor.set_data_from_numpy(np.zeros((1, 32, 32, 1), np.uint8))

        def call() -> str:
            answer = client.infer("digits", [tensor], headers=door.headers(token), **timeout)
            _expect(abs(answer.as_numpy("probabilities").sum() - 1) < 1e-4, answer.get_response())
            said = answer.get_response()
            return str(said["model_version"] if isinstance(said, dict) else said.model_version)

        return call

    return connect


def rest(door: Door) -> Callable[[], Call]:
    """`/v1` as a shell script with curl asks: a connection for each call."""

    def connect() -> Call:
        context = ssl.create_default_context(cafile=str(door.ca))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        body = json.dumps({"items": [{"image": base64.b64encode(IMAGE.image).decode()}]}).encode()

        def call() -> str:
            headers = door.headers() | {"content-type": "application/json"}
            request = urllib.request.Request(f"https://{door.address}/v1/models/digits:classify", body, headers)
            try:
                with opener.open(request, timeout=TIMEOUT_S) as answer:
                    return str(json.load(answer)["version"])
            except urllib.error.HTTPError as error:
                raise _HttpFailed(f"HTTP {error.code}", error.read().decode(errors="replace")) from error

        return call

    return connect


def _expect(right: bool, answer: object) -> None:
    if not right:
        raise RuntimeError(f"a wrong answer: {answer}")
