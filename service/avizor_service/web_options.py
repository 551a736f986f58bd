"""Read the origins and names that are given to `avizor serve` as browsers send them: any other would never be met."""

from __future__ import annotations

import ipaddress
import re

import click

from avizor_inference.addresses import bare_host

# An origin as the header of that name has it, of an extension of a browser too. A browser leaves out the usual port.
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_USUAL_PORTS = {"http": "80", "https": "443"}
_NAME = re.compile(r"[a-z0-9._-]+")


def origins(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins of pages in lower case. Raises click.BadParameter for what is none."""
    for origin in given:
        found = _ORIGIN.fullmatch(origin.lower())
        if found is None or (found["port"] and found["port"] == _USUAL_PORTS.get(found["scheme"])):
            raise click.BadParameter(
                f"{origin!r} is no origin as browsers send it: give scheme and name, and the port if it is not the usual one, "
                "such as https://example.org or http://localhost:3000"
            )
    return tuple(origin.lower() for origin in given)


def names(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of hosts in lower case, and addresses without brackets. Raises click.BadParameter for what is none."""
    found = tuple(bare_host(name).lower().rstrip(".") for name in given)
    for name, bare in zip(given, found, strict=True):
        if not (_NAME.fullmatch(bare) or _is_address(bare)):
            raise click.BadParameter(
                f"{name!r} is no name of a host: give it without scheme, port and path, such as pumps.example.org"
            )
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
