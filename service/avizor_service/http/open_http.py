"""Put the parts of HTTP together over those of a gateway."""

from __future__ import annotations

from avizor_service.access import Access
from avizor_service.calls import Calls
from avizor_service.gateway import Gateway
from avizor_service.health_service import HealthService
from avizor_service.http.app import App
from avizor_service.http.avizor_v1 import AvizorV1
from avizor_service.http.browsers import open_browsers
from avizor_service.http.open_inference import OpenInference
from avizor_service.http.refusals import Refusals
from avizor_service.http.server import HttpServer
from avizor_service.message_memory import MessageMemory
from avizor_service.settings import Settings
from avizor_service.whole import Whole


def open_http(
    settings: Settings,
    gateway: Gateway,
    calls: Calls,
    messages: MessageMemory,
    access: Access,
    health: HealthService,
    refusals: Refusals,
    whole: Whole,
) -> list[HttpServer]:
    """Return what serves HTTP, none if it is turned off. It does not listen yet."""
    if not settings.serves_http:
        return []
    routes = [*AvizorV1(gateway, calls, messages, refusals).routes()]
    if settings.open_inference:
        routes += OpenInference(gateway, calls, messages, refusals).routes()
    app = App(routes, access.tokens, lambda: health.is_serving, open_browsers(settings), refusals)
    tls = access.certificates.ssl_context() if access.certificates else None
    return [HttpServer(app.asgi(), settings, whole, refusals, tls)]
