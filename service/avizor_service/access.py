"""Decide who reaches the gateway: open its tokens and certificates, keep them new, and refuse to serve callers nobody knows."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from avizor_inference.addresses import UNIX
from avizor_inference.errors import SettingsError
from avizor_inference.repository.models import ModelRepository
from avizor_service.certificates import Certificates, TlsFiles
from avizor_service.metrics import Metrics
from avizor_service.reloading import Reloading
from avizor_service.renewal import LOOK_S, Renewal
from avizor_service.settings import Settings
from avizor_service.tokens import Token, Tokens, read_tokens
from avizor_service.whole import ALONE, Whole

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """Holds who may call, and what they see of TLS; certificates: None for plain text."""

    tokens: Tokens
    certificates: Certificates | None


def open_access(settings: Settings, metrics: Metrics, reloading: Reloading, whole: Whole = ALONE) -> Access:
    """Read the files that the settings name, from now on also when they change. To be called on the event loop.

    Raises SettingsError: TokenFileError and CertificateFileError for files that cannot be used, and for anyone who could call
    from another machine if that was not asked for.
    """
    files = tls_files(settings)
    require_known_callers(settings)
    tokens = _tokens(settings, metrics, reloading, whole)
    certificates = Certificates(files, metrics) if files else None
    if files and certificates:
        renewal = Renewal(files.paths(), certificates.renew)

        def look(asked: bool) -> None:
            renewal.look(asked)
            certificates.remind()

        reloading.add("certificates", look, LOOK_S)
    return Access(tokens, certificates)


def _tokens(settings: Settings, metrics: Metrics, reloading: Reloading, whole: Whole) -> Tokens:
    path = settings.tokens
    if path is None:
        return Tokens(None, metrics)
    repository = ModelRepository(settings.models)

    def found() -> tuple[Token, ...]:
        read = read_tokens(path)
        warn_of_unknown_models(read, repository)
        return read

    tokens, loop = Tokens(found(), metrics, whole), asyncio.get_running_loop()

    def renew() -> None:  # in a thread; the loop alone may change who calls
        loop.call_soon_threadsafe(tokens.replace, found())

    reloading.add("tokens", Renewal([path], renew).look, LOOK_S)
    return tokens


def warn_of_unknown_models(tokens: Iterable[Token], repository: ModelRepository) -> None:
    """Warn of names in `models=` that no model has. They may be of models to come, so that the tokens count all the same."""
    for token in tokens:
        unknown = sorted(name for name in token.models or () if not repository.has(name))
        if unknown:
            _log.warning(
                "the token of %s may ask for %s, and no model in %s is called so; see `avizor models`, and mend models=",
                token.name,
                ", ".join(unknown),
                repository.root,
            )


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return the files of TLS that the settings name; None for plain text. Raises SettingsError if one is not named."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate and key:
        return TlsFiles(certificate, key, settings.client_ca)
    if certificate or key:
        raise SettingsError("--tls-certificate and --tls-key belong together; give both, or none for plain text")
    if settings.client_ca:
        raise SettingsError("--client-ca asks clients for certificates, which needs TLS; give --tls-certificate and --tls-key")
    return None


def require_known_callers(settings: Settings) -> None:
    """Raise SettingsError if anyone could call from another machine, and that was not asked for.

    Warns of tokens that other machines may send in plain text.
    """
    if not reached_by_others(settings.host):
        return
    if settings.tokens is None and settings.client_ca is None and not settings.allow_anonymous:
        raise SettingsError(
            f"cannot listen on {settings.host}: other machines reach it, and without tokens anyone could call; give --tokens "
            "or --client-ca, or listen on 127.0.0.1; --allow-anonymous if anyone may call"
        )
    if settings.tokens and not settings.tls_certificate:
        _log.warning(
            "on %s tokens come in plain text, and whoever is on the way can read them: give --tls-certificate, unless a front "
            "door ends TLS and shares a network of its own with the gateway",
            settings.host,
        )


def reached_by_others(host: str) -> bool:
    """Return whether other machines can reach an address to listen on: all but 127.0.0.0/8, ::1 and Unix sockets.

    A name is looked up; one that has no address is taken for reached.
    """
    if host.startswith(UNIX):
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return True
    return not all(ipaddress.ip_address(str(address[0])).is_loopback for *_, address in found)
