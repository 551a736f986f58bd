"""Read the body of a request, and never more than a form has."""

from __future__ import annotations

from starlette.requests import Request


class TooLarge(Exception):
    """Says that a body has more bytes than allowed."""


async def body_of(request: Request, most_bytes: int) -> bytes:
    """Return the body of a request. Raises TooLarge, and ClientDisconnect if its sender goes away."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise TooLarge
    return body
