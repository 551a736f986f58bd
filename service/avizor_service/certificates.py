"""Read certificates and keys of TLS from files, check that they fit, and give new connections the newest."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from avizor_inference.error_text import reason
from avizor_inference.errors import CertificateFileError
from avizor_inference.regular_files import read_regular
from avizor_service.metrics import Metrics

_log = logging.getLogger(__name__)

_BEGIN = b"-----BEGIN CERTIFICATE-----"

# Bytes of the largest file: all authorities of the internet have less than one.
_MOST_BYTES = 16 << 20

# A certificate that ends sooner is warned of, again and again after so many seconds.
_SOON = timedelta(days=14)
_REMIND_S = 86_400.0


@dataclass(frozen=True)
class TlsFiles:
    """Names the files of TLS, in PEM. certificate: with what is between it and its root. client_ca: None lets any client in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def paths(self) -> tuple[Path, ...]:
        """Return all files."""
        return (self.certificate, self.key, *filter(None, [self.client_ca]))


@dataclass(frozen=True)
class _Pair:
    """Holds what the files had in them when they were read. ends: when the first certificate of each file expires."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext
    ends: dict[str, datetime]


class Certificates:
    """Holds the certificate of the gateway, for gRPC and for HTTP. Raises CertificateFileError if the files cannot be used."""

    def __init__(self, files: TlsFiles, metrics: Metrics) -> None:
        self._files, self._metrics = files, metrics
        self._lock = threading.Lock()
        self._pair = _read(files)
        self._is_new_to_grpc = False
        self._roots_at = 0.0  # when other roots of the clients were read, in seconds since 1970
        self._tell()

    def renew(self) -> None:
        """Read the files again; connections that begin after that get what is in them. Any thread may call it.

        Raises CertificateFileError if they cannot be used; what was in use stays so.
        """
        pair = _read(self._files)
        with self._lock:
            if pair.client_ca != self._pair.client_ca:
                self._roots_at = time.time()
            self._pair, self._is_new_to_grpc = pair, True
        self._tell()

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for one port of a gRPC server."""
        has_ca = self._files.client_ca is not None
        return grpc.dynamic_ssl_server_credentials(_grpc_configuration(self._pair), self._newer_for_grpc, has_ca)

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for servers of Python. It hands each new connection to the newest certificate."""
        context = _context(self._files)
        context.sni_callback = self._hand_over
        return context

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        """Give a new connection what is in use now. OpenSSL asks with or without a name, before it sends a certificate."""
        connection.context = self._pair.context
        # Of a session that goes on, the client's certificate is not looked at again (only TLS 1.2 has such here).
        session = connection.session if connection.session_reused else None
        return ssl.ALERT_DESCRIPTION_ACCESS_DENIED if session and session.time <= self._roots_at else None

    def _newer_for_grpc(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed, None if nothing has. gRPC asks at each new connection, from threads of its own."""
        with self._lock:
            if not self._is_new_to_grpc:
                return None
            self._is_new_to_grpc = False
            return _grpc_configuration(self._pair)

    def remind(self) -> None:
        """Warn once a day of a certificate that has expired, or soon will."""
        if time.monotonic() - self._told_at > _REMIND_S:
            self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        now = datetime.now(UTC)
        for label, ends in self._pair.ends.items():
            self._metrics.certificate_ends.labels(label).set(ends.timestamp())
            path = self._files.client_ca if label == "client_ca" else self._files.certificate
            if ends < now:
                _log.warning("%s: a certificate has expired at %s; clients will refuse it; renew it", path, ends)
            elif ends < now + _SOON:
                _log.warning("%s: a certificate expires at %s; renew it", path, ends)


def _read(files: TlsFiles) -> _Pair:
    """Read the files, and check them. Raises CertificateFileError."""
    certificate, key = _bytes(files.certificate, "--tls-certificate"), _bytes(files.key, "--tls-key")
    client_ca = _bytes(files.client_ca, "--client-ca") if files.client_ca else None
    chain = _certificates(files.certificate, certificate)
    _require_fit(files, chain[0], key)
    ends = {"certificate": _end(chain)}
    if files.client_ca and client_ca is not None:
        ends["client_ca"] = _end(_certificates(files.client_ca, client_ca))
    context = _context(files)
    if [read_regular(path, _MOST_BYTES) for path in files.paths()] != [certificate, key, *filter(None, [client_ca])]:
        raise CertificateFileError(f"{files.certificate}, or a file beside it, changed while it was read; it is read again")
    return _Pair(certificate, key, client_ca, context, ends)


def _bytes(path: Path, option: str) -> bytes:
    try:
        return read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise CertificateFileError(f"{path}: cannot be read ({reason(error)}); name a PEM file in {option}") from None


def _certificates(path: Path, text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:  # its text has an address of cryptography's, and names of its parser's
        why = "it was cut off or changed" if _BEGIN in text else f"no line of it is {_BEGIN.decode()}"
        raise CertificateFileError(f"{path}: holds no certificate that can be read ({why}); it has to be in PEM") from None


def _end(certificates: list[x509.Certificate]) -> datetime:
    return min(certificate.not_valid_after_utc for certificate in certificates)


def _require_fit(files: TlsFiles, certificate: x509.Certificate, key: bytes) -> None:
    """Raise CertificateFileError if the key cannot be read, or belongs to another certificate. It shows nothing of the key."""
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise CertificateFileError(
            f"{files.key}: the key has a passphrase; write it without one, readable by the gateway alone"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateFileError(f"{files.key}: holds no private key that can be read; it has to be in PEM") from None
    if private.public_key() != certificate.public_key():
        raise CertificateFileError(
            f"{files.key}: is not the key of the first certificate in {files.certificate}; the server's own comes first"
        )


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context with these files. Raises CertificateFileError if OpenSSL does not take them: a weak key, for example."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca:
            context.load_verify_locations(cafile=files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
            context.num_tickets = 0  # with a ticket a client would come back whose root has been taken away
            context.options |= ssl.OP_NO_TICKET
    except OSError as error:  # ssl.SSLError is one
        names = ", ".join(map(str, files.paths()))
        raise CertificateFileError(f"{names}: cannot be used for TLS ({error}); write others") from None
    return context


def _grpc_configuration(pair: _Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], root_certificates=pair.client_ca)
