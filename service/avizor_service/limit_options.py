"""Define the options of `avizor serve` that say what calls may cost: how many, how long, how large, and which connections."""

from __future__ import annotations

from pathlib import Path

import click

from avizor_inference.cli_option_groups import Command, with_options
from avizor_inference.finite_range import FiniteRange
from avizor_service.settings import Settings

_AT_LEAST_1 = click.IntRange(min=1)
# gRPC counts connections, bytes of a message and milliseconds in 32 bits.
_CONNECTIONS = click.IntRange(1, 1_000_000)
_MESSAGE_MIB = click.IntRange(1, 2046)
# The system counts bytes of memory in 63 bits.
_MEMORY_MIB = click.IntRange(1, 1 << 40)
_SECONDS = FiniteRange(min=0.1, max=2_000_000)
_DEFAULTS = Settings(models=Path("models"))

# The options by the heading under which `avizor serve --help` shows them.
LIMIT_GROUPS = {
    "Limits": ("max_in_flight", "max_streams", "max_wait_s", "max_items", "max_windows", "receive_timeout_s", "send_timeout_s"),
    "Explanations": ("max_explanations", "max_explain_rows"),
    "Connections": ("max_connections", "connection_age_s", "connection_idle_s", "keepalive_s"),
    "Memory": ("max_message_mib", "max_request_mib_in_flight", "max_answer_mib"),
    "Decoding": ("decoders", "decoder_memory_mib", "decode_timeout_s", "max_decoded_mib"),
}


def limit_options(command: Command) -> Command:
    """Add the options of LIMIT_GROUPS to a command."""
    return with_options(command, *_OPTIONS)


_OPTIONS = (
    click.option(
        "--max-in-flight",
        metavar="N",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_in_flight,
        help="Most calls at once, besides streams.",
    ),
    click.option(
        "--max-streams",
        metavar="N",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_streams,
        help="Most streams (Monitor) at once.",
    ),
    click.option(
        "--max-message-mib",
        metavar="MIB",
        type=_MESSAGE_MIB,
        default=_DEFAULTS.max_message_mib,
        help="Largest request, in MiB.",
    ),
    click.option(
        "--max-answer-mib",
        metavar="MIB",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_answer_mib,
        help="Most outputs that are computed for one request, in MiB.",
    ),
    click.option(
        "--max-request-mib-in-flight",
        metavar="MIB",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_request_mib_in_flight,
        help="Memory of the requests of all calls together, in MiB; there is always room for one of the largest.",
    ),
    click.option(
        "--max-wait-s",
        metavar="SECONDS",
        type=FiniteRange(min=0, min_open=True),
        default=_DEFAULTS.max_wait_s,
        help="Longest expected wait behind other calls, in seconds; a call that would wait longer is rejected at once.",
    ),
    click.option(
        "--max-connections",
        metavar="N",
        type=_CONNECTIONS,
        default=_DEFAULTS.max_connections,
        help="Most connections at once.",
    ),
    click.option(
        "--max-items",
        metavar="N",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_items,
        help="Most items in one request.",
    ),
    click.option(
        "--max-windows",
        metavar="N",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_windows,
        help="Longest recording, in windows of the model.",
    ),
    click.option(
        "--max-explanations",
        metavar="N",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_explanations,
        help="Most calls of Explain that are computed at once. More are rejected, and may be tried again.",
    ),
    click.option(
        "--max-explain-rows",
        metavar="N",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_explain_rows,
        help="Most rows of the model that one call of Explain may run: windows, and copies of them with a part hidden.",
    ),
    click.option(
        "--decoders",
        metavar="N",
        type=_AT_LEAST_1,
        default=_DEFAULTS.decoders,
        help="Processes that decode images and recordings.",
    ),
    click.option(
        "--decoder-memory-mib",
        metavar="MIB",
        type=_MEMORY_MIB,
        default=_DEFAULTS.decoder_memory_mib,
        help="Most memory that decoding one item, or drawing one picture of Explain, may take, in MiB. A process that decodes "
        "has 50 MiB besides.",
    ),
    click.option(
        "--decode-timeout-s",
        metavar="SECONDS",
        type=FiniteRange(min=0, min_open=True),
        default=_DEFAULTS.decode_timeout_s,
        help="Longest time that decoding one item, or drawing one picture of Explain, may take.",
    ),
    click.option(
        "--max-decoded-mib",
        metavar="MIB",
        type=_AT_LEAST_1,
        default=_DEFAULTS.max_decoded_mib,
        help="Most memory of the decoded items of all calls, in MiB. One call may use a quarter of it.",
    ),
    click.option(
        "--receive-timeout-s",
        metavar="SECONDS",
        type=_SECONDS,
        default=_DEFAULTS.receive_timeout_s,
        help="Seconds in which the message of a call has to be complete.",
    ),
    click.option(
        "--send-timeout-s",
        metavar="SECONDS",
        type=_SECONDS,
        default=_DEFAULTS.send_timeout_s,
        help="Seconds in which a client has to read its answer, or a window of a stream. Then its connection is ended.",
    ),
    click.option(
        "--connection-age-s",
        metavar="SECONDS",
        type=_SECONDS,
        default=_DEFAULTS.connection_age_s,
        help="Seconds after which a connection takes no new calls. Streams on it go on; clients open another one.",
    ),
    click.option(
        "--connection-idle-s",
        metavar="SECONDS",
        type=_SECONDS,
        default=_DEFAULTS.connection_idle_s,
        help="Seconds after which a connection without calls is closed.",
    ),
    click.option(
        "--keepalive-s",
        metavar="SECONDS",
        type=_SECONDS,
        default=_DEFAULTS.keepalive_s,
        help="Seconds of silence after which a client is pinged, and is gone if it does not answer.",
    ),
)
