"""Tell requests that a web page has a browser send, and that nobody has allowed: the browser may reach what the page may not.

A page of another site can send requests whose answers it cannot read. Once its name means this machine (DNS rebinding) it can
read them too: the browser takes the gateway for a part of that site, and the header Host names it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers

from avizor_service.settings import Settings

_LOCAL = "localhost"

# What browsers say of a request that no other site has asked for.
_OWN_SITE = ("same-origin", "none")

_LONGEST = 100


@dataclass(frozen=True)
class Browsers:
    """Knows what browsers may ask for. origins: of pages that may call. names: of this gateway; None for any."""

    origins: Collection[str]
    names: Collection[str] | None

    def foreign_origin(self, headers: Headers) -> str:
        """Return why the page that asks may not; "" if it may, or if no page asks."""
        origin = headers.get("origin")
        if origin in self.origins or (origin is None and headers.get("sec-fetch-site", "none") in _OWN_SITE):
            return ""
        return "pages of this origin may not call; --cors-origin allows one"

    def foreign_host(self, headers: Headers) -> str:
        """Return why the gateway does not answer to the name by which it is asked; "" if it does."""
        host = headers.get("host")
        if self.names is None or host is None:  # browsers always send it
            return ""
        name = _name(host)
        if name in self.names or name == _LOCAL or name.endswith(f".{_LOCAL}") or _is_loopback(name):
            return ""
        return (
            f"the header Host names {host[:_LONGEST]!r}, and without tokens this gateway answers to localhost alone; "
            "--http-name allows another name"
        )


def open_browsers(settings: Settings) -> Browsers:
    """Return what browsers may ask for by the settings.

    Names count where anyone may call, from this machine alone: there a name is all that tells programs of this machine from the
    pages that its user reads. They count wherever some are given, too.
    """
    is_open = settings.tokens is None and settings.client_ca is None and not settings.allow_anonymous
    names = {name.lower() for name in (*settings.http_name, settings.host)}
    return Browsers(frozenset(settings.cors_origin), frozenset(names) if is_open or settings.http_name else None)


def _name(host: str) -> str:
    """Return the name in a header Host, without port, brackets and a last dot."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
