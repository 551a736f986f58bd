"""Define `avizor call`: ask a gateway about files. It needs click besides what the client needs."""

from __future__ import annotations

import sys

try:
    import click
except ModuleNotFoundError:
    if sys.argv[0] != "-m":  # which it is while Python looks for what `python -m avizor_client.cli` is to run
        raise
    sys.exit("Error: `python -m avizor_client.cli` needs click, which is not installed; pip install 'click>=8.1'")

from avizor_client.cli.item_commands import classify, detect, embed, reconstruct
from avizor_client.cli.models import models
from avizor_client.cli.monitor import monitor

_EXAMPLES = """\b
Examples:
  avizor call models
  avizor call classify digits 'scans/*.png'
  avizor call detect fan monday.wav --source fan-1 --json
  arecord -t raw -f S16_LE -r 16000 | avizor call monitor fan --rate 16000 -
  avizor call models --target gateway.example.com:8443 --ca tls.crt --token-file token
"""


@click.group(
    short_help="Ask a gateway about files, or let it listen to sound.",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def call() -> None:
    """Ask a gateway about files, or let it listen to a file or a microphone. Maps: `avizor explain ... --gateway`.

    Exit code: 0 all was answered, 1 the call failed, 2 wrong usage, 3 some items could not be answered; with --exit-code 4, an
    anomaly was found.
    """


for command in (models, classify, detect, embed, reconstruct, monitor):
    call.add_command(command)
