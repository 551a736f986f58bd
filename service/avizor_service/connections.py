"""Set gRPC's limits on connections: their age, their rest, their calls, and when a silent peer counts as gone."""

from __future__ import annotations

from avizor_service.settings import Settings

# Seconds in which a new connection has to speak HTTP/2, and in which a peer has to answer a ping.
_HANDSHAKE_S = 20
_PING_ANSWER_S = 20

# Calls of one connection at once, those included that were reset and not yet forgotten; a client keeps more waiting. And calls
# of all connections that wait for the event loop: gRPC cancels more, those of others too, so a few connections must not fill
# that queue. Nor may it be long: admission does not see it, and all calls that are too many for a fast model wait there
# (decision 31).
_MOST_CALLS = 256
_MOST_WAITING = 5 * _MOST_CALLS

# A client may ping so often, in seconds; more often is an attack, and ends its connection.
_PING_PAUSE_S = 10


def connection_options(settings: Settings) -> list[tuple[str, int]]:
    """Return gRPC's options of a server.

    No grace is set for the age: a connection that is too old takes no new calls, and stays until its last call or stream ends.
    """
    return [
        ("grpc.max_connection_age_ms", _ms(settings.connection_age_s)),
        ("grpc.max_connection_idle_ms", _ms(settings.connection_idle_s)),
        ("grpc.keepalive_time_ms", _ms(settings.keepalive_s)),
        # gRPC waits for the answer for the longer of these two.
        ("grpc.keepalive_timeout_ms", _ms(min(settings.keepalive_s, _PING_ANSWER_S))),
        ("grpc.http2.ping_timeout_ms", _ms(min(settings.keepalive_s, _PING_ANSWER_S))),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(_PING_PAUSE_S)),
        ("grpc.server_handshake_timeout_ms", _ms(min(settings.keepalive_s, _HANDSHAKE_S))),
        ("grpc.http2.settings_timeout", _ms(min(settings.keepalive_s, _HANDSHAKE_S))),
        ("grpc.max_concurrent_streams", _MOST_CALLS),
        ("grpc.server.max_pending_requests", _MOST_WAITING),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_WAITING),
    ]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
