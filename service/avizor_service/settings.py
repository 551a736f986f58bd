"""Hold the settings of a gateway: the options of `avizor serve`, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avizor_inference.addresses import UNIX
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import EMBEDDED

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
LoggedCalls = Literal["all", "failed", "none"]


@dataclass(frozen=True)
class Settings:
    """Holds the settings of one gateway."""

    models: Path
    engine: str = EMBEDDED  # see open_engine
    device: Device = "config"  # of the embedded engine
    host: str = "127.0.0.1"  # IPv6 without brackets; or unix:PATH
    workers: int = 1  # processes that serve
    scan_s: float = 10.0  # seconds between two looks at the repository for changes; 0: only on SIGHUP
    port: int = 50051  # 0: any free one
    metrics_host: str = ""  # of Prometheus; empty: that of gRPC
    metrics_port: int = 9464  # 0: any free one
    http: bool = True  # whether HTTP is served
    http_port: int = 8080  # 0: any free one
    cors_origin: tuple[str, ...] = ()  # origins of the pages that browsers may let call over HTTP
    http_name: tuple[str, ...] = ()  # names that the gateway answers to over HTTP, besides those of this machine
    alpha: float = 0.01  # share of false alarms at which the metrics count, and of requests that name none
    confidence: float | None = None  # that a calibration keeps alpha; None: on average
    tokens: Path | None = None  # None: anyone may call
    tls_certificate: Path | None = None  # None: plain text
    tls_key: Path | None = None  # of that certificate
    client_ca: Path | None = None  # clients need a certificate of it; None: they need none
    allow_anonymous: bool = False  # to listen beyond this machine where anyone may call
    open_inference: bool = True  # serve the Open Inference Protocol
    reflection: bool = True  # tell callers which RPCs there are
    sources: tuple[str, ...] = ()  # with separate metrics, besides those of the calibrations
    keep_flagged: Path | None = None  # folder in which flagged items are kept; None: nowhere
    keep_flagged_max_mib: int = 1024  # MiB of that folder
    keep_flagged_max_days: float = 30.0  # after which an item is removed from it
    review_url: str = ""  # where people see what is kept; alerts link to it
    max_in_flight: int = 256  # calls at once; more are rejected
    max_streams: int = 64  # Monitor at once; more are rejected
    max_message_mib: int = 64  # MiB of one request
    max_answer_mib: int = 64  # MiB of outputs that one request may have computed
    max_request_mib_in_flight: int = 1024  # MiB of the requests of all calls together
    max_wait_s: float = 2.0  # longest expected wait of a call; more are rejected
    max_connections: int = 1000  # at once; more are closed
    max_items: int = 256  # in one request
    max_windows: int = 1800  # of one recording
    max_explanations: int = 2  # calls of Explain that are computed at once; more are rejected
    max_explain_rows: int = 4096  # rows of the model that one call of Explain may run
    decoders: int = 2  # processes that decode media
    decoder_memory_mib: int = 1024  # MiB that decoding one item may take
    decode_timeout_s: float = 30.0  # seconds that decoding one item may take
    max_decoded_mib: int = 1024  # MiB of the decoded items of all calls; one call may use a quarter
    receive_timeout_s: float = 60.0  # seconds in which the message of a call has to be complete
    send_timeout_s: float = 60.0  # seconds in which a client has to read its answer
    connection_age_s: float = 3600.0  # seconds after which a connection takes no new calls
    connection_idle_s: float = 900.0  # seconds after which a connection without calls is closed
    keepalive_s: float = 60.0  # seconds of silence after which a client has to answer a ping
    log_format: LogFormat = "auto"  # console on a terminal, else json
    log_level: LogLevel = "info"
    log_calls: LoggedCalls = "all"
    otlp_endpoint: str = ""  # of a collector of traces; empty: what OTEL_EXPORTER_OTLP_ENDPOINT says
    stop_delay_s: float = 0.0  # seconds between the word that the gateway is not ready and the end of its service
    grace_s: float = 15.0  # seconds that running calls get on shutdown

    @property
    def serves_http(self) -> bool:
        """Return whether HTTP is served: a gateway on a Unix socket is for those who may open that file, and has no port."""
        return self.http and not self.host.startswith(UNIX)
