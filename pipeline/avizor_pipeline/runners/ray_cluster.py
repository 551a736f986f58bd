"""Connect to a Ray cluster, or start one of this machine. What goes wrong is said in words."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from avizor_inference.error_text import one_line, shortened
from avizor_inference.errors import SettingsError
from avizor_inference.stop_signals import STOP_SIGNALS

_log = logging.getLogger(__name__)

# Ray's least. Avizor's shards and results go within its calls, and not through its store of objects.
_OBJECT_STORE = 80 * 2**20

_CONNECT_S = 5.0

# Of HTTP/2 (RFC 9113): bytes of the head of a frame, the type of a frame of settings, and what a client begins with.
_FRAME_HEAD, _SETTINGS = 9, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])

_TOKENS = "RAY_AUTH_MODE=token with RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH for a file"


@dataclass(frozen=True)
class RayNode:
    """Is a machine of the cluster, as Ray knows it. gpus: that Ray may give to its processes."""

    id: str
    address: str
    cores: int
    gpus: float


@dataclass(frozen=True)
class RayCluster:
    """Is a cluster that this process is connected to. address: of its head. is_own: whether this process has started it.

    own_node: the id of the node of this machine, without which Ray does nothing for this process.
    """

    ray: Any
    address: str
    is_own: bool
    own_node: str

    def nodes(self) -> list[RayNode]:
        """Return the machines that are alive and have cores, by their addresses."""
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        nodes = [
            RayNode(node["NodeID"], node["NodeManagerAddress"], int(found.get("CPU", 0)), float(found.get("GPU", 0)))
            for node in alive
            for found in [node["Resources"]]
        ]
        return sorted((node for node in nodes if node.cores), key=lambda node: (node.address, node.id))

    def has_own_node(self) -> bool:
        """Return whether the node of this machine is alive."""
        return any(node["Alive"] and node["NodeID"] == self.own_node for node in self.ray.nodes())

    def head_answers(self) -> bool:
        """Return whether the head of the cluster can be reached."""
        return _answers(self.address)


@contextmanager
def ray_cluster(address: str | None, cores: int, on_lost: Callable[[], None]) -> Iterator[RayCluster]:
    """Connect to a cluster; yield it.

    on_lost: is called at the end if the head is away. Ray's threads then keep this process from ending in order.

    address: HOST:PORT of its head; None: that of RAY_ADDRESS, or of a cluster that runs on this machine, or else a new one with
    so many cores. Raises SettingsError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"  # of calls that are not waited for any more, when a job is stopped
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address:
        _check_address(address)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        ray = _import()
        cluster = _chosen(ray, address, cores)
    finally:  # Ray has set its own
        for number, handler in before.items():
            signal.signal(number, handler)
    try:
        yield cluster
    finally:
        if cluster.head_answers():
            ray.shutdown()
        else:
            on_lost()


def _import() -> Any:
    try:
        import ray
    except ImportError as error:
        missing = (error.name or "ray").partition(".")[0]
        raise SettingsError(f"--runner ray needs {missing}, which is not installed; pip install 'avizor[ray]'") from error
    worker: Any = ray._private.worker
    worker.print_to_stdstream = _log_line  # it prints what Ray says of lost nodes among what the job prints
    return ray


def _log_line(said: dict[str, Any], **_options: object) -> None:
    """Write what Ray's nodes say to the log. What it means for the job is a warning of its own."""
    for line in said["lines"]:
        _log.info("Ray: %s", shortened(line))


def _check_address(address: str) -> None:
    """Raise SettingsError unless something listens there. Ray itself would wait for minutes."""
    if "://" in address:
        raise SettingsError(
            f"--ray-address {address}: the job runs on a machine of the cluster (`ray job submit` brings it there); give the "
            "HOST:PORT of the head, or `auto`"
        )
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError(f"--ray-address {address}: write it like HOST:6379, or `auto`")
    if not _answers(address):
        raise SettingsError(
            f"no Ray cluster answers at {address}; start its head with `ray start --head`, or correct --ray-address"
        )

    if not os.environ.get("RAY_USE_TLS") and not _speaks_http2(address):
        raise SettingsError(
            f"what answers at {address} is not the head of a Ray cluster; give its port, which is 6379 unless `ray start` "
            "was told another one (8265 is that of Ray's dashboard)"
        )


def _answers(address: str) -> bool:
    with suppress(OSError), _connection(address):
        return True
    return False


def _speaks_http2(address: str) -> bool:
    """Return whether a server begins as one of gRPC does: with its settings, as soon as it has the client's."""
    with suppress(OSError), _connection(address) as connection:
        connection.sendall(_PREFACE)
        connection.settimeout(_CONNECT_S)
        answer = b""
        while len(answer) < _FRAME_HEAD and (more := connection.recv(_FRAME_HEAD - len(answer))):
            answer += more
        return len(answer) == _FRAME_HEAD and answer[3] == _SETTINGS
    return False


def _connection(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S)


def _chosen(ray: Any, address: str | None, cores: int) -> RayCluster:
    if address and address != "auto":
        return _connected(ray, address)
    if found := _found(ray):
        return found
    if address:
        raise SettingsError("--ray-address auto: no Ray cluster runs on this machine; give the HOST:PORT of its head")
    return _started(ray, cores)


def _found(ray: Any) -> RayCluster | None:
    """Return the cluster that runs on this machine, if one does.

    Ray also finds one of which only helpers are left; it would wait for its head, and then end this process.
    """
    from ray._private.services import canonicalize_bootstrap_address

    try:
        address = canonicalize_bootstrap_address("auto")
    except ConnectionError:
        return None
    return _connected(ray, address) if address and _answers(address) else None


def _connected(ray: Any, address: str) -> RayCluster:
    if address == "local":
        raise SettingsError("--ray-address local: leave it out, and a cluster of this machine is started if none runs here")
    options = {"configure_logging": False, "log_to_driver": False, "logging_level": logging.ERROR}
    said = ""
    try:
        with _errors_kept() as kept:
            try:
                context = ray.init(address=address, **options)
            finally:
                said = kept()
    except ConnectionError as error:
        if "InvalidAuthToken" in said or "Unauthenticated" in said:
            raise SettingsError(
                f"the Ray cluster at {address} does not take the token of this machine; set {_TOKENS}"
            ) from error
        raise SettingsError(f"the Ray cluster at {address} cannot be used: {one_line(error)}") from error
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        text = one_line(error)
        if "token" in text.lower():
            text = f"{text}; set {_TOKENS}"
        raise SettingsError(f"the Ray cluster at {address} cannot be used: {text}") from error
    return _cluster(ray, context, is_own=False)


def _started(ray: Any, cores: int) -> RayCluster:
    _log.warning("no Ray cluster runs on this machine: one is started for this job, with %d cores", cores)
    try:
        with _errors_kept():
            context = ray.init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                configure_logging=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # Ray raises Exception itself for a node that is too slow to start
        raise SettingsError(
            f"Ray cannot be started on this machine: {one_line(error)}; if much else runs here, try again when less does"
        ) from error
    return _cluster(ray, context, is_own=True)


def _cluster(ray: Any, context: Any, *, is_own: bool) -> RayCluster:
    return RayCluster(ray, context.address_info["gcs_address"], is_own, ray.get_runtime_context().get_node_id())


@contextmanager
def _errors_kept() -> Iterator[Any]:
    """Keep what Ray's library of C++ writes to standard error: yield what returns it as text."""
    with tempfile.TemporaryFile() as file:

        def kept() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        saved = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield kept
        finally:
            os.dup2(saved, 2)
            os.close(saved)
