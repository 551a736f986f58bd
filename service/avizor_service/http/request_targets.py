"""Read the target of a request that is a whole address, as those are that were written for a proxy (RFC 9112, 3.2.2)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import Scope

# Without the query, which the scope has by itself. The name of a user is no part of an address of HTTP.
_ADDRESS = re.compile(rb"https?://([^/@]+)(/.*)?", re.IGNORECASE)


def with_origin_form(scope: Scope) -> None:
    """Change a request whose target is an address into one with a path and, whatever it was, the address's name as its Host."""
    if not (found := _ADDRESS.fullmatch(scope["raw_path"])):
        return
    host, path = found[1], found[2] or b"/"
    scope["raw_path"], scope["path"] = path, unquote(path.decode("ascii"))
    scope["headers"] = [*(pair for pair in scope["headers"] if pair[0] != b"host"), (b"host", host)]
