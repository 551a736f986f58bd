"""Push the metrics of a batch job to a Pushgateway: as it begins, once a minute while it runs, and as it ends.

The group of the job is /metrics/job/NAME. What a running job pushes is added to it (POST), so that how the last run ended is
still there; the end replaces the group (PUT). The last success has a group to itself, which a run that fails does not touch.

A Pushgateway asks nobody who they are. One behind a front door is called over https, with a token.
"""

from __future__ import annotations

import ssl
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit

from prometheus_client import push_to_gateway, pushadd_to_gateway

from avizor_inference.caller_files import read_pem, read_token
from avizor_inference.error_text import one_line, reason, shortened
from avizor_inference.errors import SettingsError
from avizor_pipeline.reporting.metrics import BatchMetrics

PUSH_TIMEOUT_S = 10.0

# Seconds between two pushes of a running job. monitoring/prometheus/rules/batch.yml takes a job for killed after ten of them.
PUSH_EVERY_S = 60.0

_NO_TLS = "check that TLS is spoken there; without it, the address begins with http://"

# Label of the group that holds the last success.
_SUCCESS = {"outcome": "success"}


@dataclass(frozen=True)
class PushAccess:
    """Says how a Pushgateway is called. token: file of a bearer token. ca: certificates to trust (PEM); None: the system's."""

    token: Path | None = None
    ca: Path | None = None

    def send(
        self, url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        """Return what sends a push: a handler of prometheus_client."""

        def handle() -> None:
            request = urllib.request.Request(url, data, dict(headers), method=method)  # noqa: S310 check_gateway saw the scheme
            if self.token:  # read each time: it may be renewed while a job runs. No redirection takes it elsewhere
                request.add_unredirected_header("Authorization", f"Bearer {read_token(self.token)}")
            with self._opener(url).open(request, timeout=timeout):
                pass

        return handle

    def _opener(self, url: str) -> urllib.request.OpenerDirector:
        # To read all certificates takes longer than a push, in which a signal would find the job neither running nor ended.
        if not url.startswith("https:"):
            return urllib.request.build_opener()
        trust = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust))


@dataclass(frozen=True)
class Pushgateway:
    """Names a Pushgateway, HOST:PORT or URL, and the job's name there. A push returns why it failed and what to do, or ""."""

    address: str
    job: str
    access: PushAccess = PushAccess()

    def push_running(self, metrics: BatchMetrics) -> str:
        """Push what is known while the job runs."""
        return self._push(partial(pushadd_to_gateway, registry=metrics.running))

    def push_end(self, metrics: BatchMetrics) -> str:
        """Push how the job ended."""
        return self._push(partial(push_to_gateway, registry=metrics.ended))

    def push_success(self, metrics: BatchMetrics) -> str:
        """Push when the job succeeded last."""
        return self._push(partial(pushadd_to_gateway, registry=metrics.succeeded, grouping_key=_SUCCESS))

    def _push(self, push: Callable[..., None]) -> str:
        send = self.access.send
        return _in_time(lambda: push(self.address, self.job, timeout=PUSH_TIMEOUT_S, handler=send))


class Heartbeat:
    """Pushes that a job runs, now and once a minute, from a thread. What fails is left to the push of the end to report."""

    def __init__(self, gateway: Pushgateway, metrics: BatchMetrics, every_s: float = PUSH_EVERY_S) -> None:
        self._gateway, self._metrics, self._every_s = gateway, metrics, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._push, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it. A push in progress is waited for, so that none arrives after the end of the job."""
        self._over.set()
        self._thread.join(PUSH_TIMEOUT_S)

    def _push(self) -> None:
        while True:
            self._gateway.push_running(self._metrics)
            if self._over.wait(self._every_s):
                return


def check_gateway(address: str, access: PushAccess) -> None:
    """Raise SettingsError unless `address` is a well-formed HOST:PORT or URL, to which a token may go, and files are there.

    Does not connect to it.
    """
    url = _split(address)
    if url is None:
        raise SettingsError(f"--pushgateway {address} is not an address; write HOST:PORT, and an IPv6 address as [::1]:9091")
    if url.username is not None:  # not shown: it may hold a password, and no push would send it
        raise SettingsError(
            f"--pushgateway: the address of {url.hostname} has a user's name in it, which is not sent; leave it out, and give "
            "a token with --push-token-file"
        )
    if access.token and url.scheme != "https":
        raise SettingsError(
            f"--push-token-file: the token would travel to {address} in plain text; write https://HOST:PORT/PATH"
        )
    for option, path in (("--push-token-file", access.token), ("--push-ca-file", access.ca)):
        if path and not path.is_file():
            raise SettingsError(f"{option} {path}: there is no such file")
    if access.token:
        read_token(access.token)
    if access.ca:
        read_pem(access.ca)


def _split(address: str) -> SplitResult | None:
    """Return the parts of a HOST:PORT or URL, None if it is neither, or has what would not reach a Pushgateway as it is."""
    is_url = "://" in address
    try:
        url = urlsplit(address if is_url else f"http://{address}")
        complete = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and not url.netloc.endswith(":")
        complete = complete and (is_url or url.port is not None)  # without one, a bare HOST would be asked at port 80
    except ValueError:  # a port that is not a number, or a bracket that is not closed
        return None
    plain = address.isprintable() and not set(address) & set(" ?#")
    return url if complete and plain else None


def _in_time(push: Callable[[], None]) -> str:
    """Push, for at most PUSH_TIMEOUT_S; return why that failed and what to do, or ""."""
    problem = [f"no answer within {PUSH_TIMEOUT_S:g} s; check that a Pushgateway is running there"]

    def run() -> None:
        problem[:] = [_problem_of(push)]

    # A thread, because the timeout of a connection is that of each read: a slow answer could take for ever.
    pushing = threading.Thread(target=run, daemon=True)
    pushing.start()
    pushing.join(PUSH_TIMEOUT_S)
    return problem[0]


def _problem_of(push: Callable[[], None]) -> str:
    try:
        push()
    except SettingsError as error:  # of the token's file, as it is now
        return str(error)
    except HTTPError as error:
        return f"it answered {f'{error.code} {shortened(error.reason)}'.strip()}; {_what_to_do(error)}"
    except OSError as error:
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
        if isinstance(cause, ssl.SSLError):  # its number is none of the system's
            untrusted = getattr(cause, "verify_message", "")
            what_to_do = "name the certificates to trust with --push-ca-file" if untrusted else _NO_TLS
            return f"TLS failed ({untrusted or cause.reason}); {what_to_do}"
        return f"{reason(cause)}; check that a Pushgateway is running there"
    except (ValueError, HTTPException) as error:
        return f"what answers there is not a Pushgateway ({one_line(error)}); give its HOST:PORT"
    return ""


def _what_to_do(error: HTTPError) -> str:
    """Return what to do about an answer that is no success. A push is not sent again to where it is redirected."""
    if error.code == HTTPStatus.UNAUTHORIZED:
        return "its front door knows no such token; see --push-token-file"
    if 300 <= error.code < 400:
        return f"it redirects to {shortened(error.headers.get('Location', ''))}; give the address of the Pushgateway there"
    return "see its log"
