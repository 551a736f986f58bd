"""Define `avizor call monitor`: let a gateway listen to a file or a microphone."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import click

from avizor_client.answers import MonitoredWindow, MonitorStarted
from avizor_client.cli.connection_options import connection_options
from avizor_client.cli.finite_range import FiniteRange
from avizor_client.cli.listed_items import STANDARD_INPUT
from avizor_client.cli.output import counted, judges, plain, print_json, print_line, where
from avizor_client.cli.unknown_sources import UnknownSources
from avizor_client.client import Client
from avizor_client.errors import InputError
from avizor_client.files import unreadable
from avizor_client.streams import MonitorSettings, PcmFormat

_ALARM = 4
_READ_BYTES = 65_536
_EXAMPLES = """\b
Examples:
  arecord -t raw -f S16_LE -r 16000 | avizor call monitor fan --rate 16000 --source fan-1 -
  ffmpeg -i long.m4a -f s16le -ac 1 -ar 16000 - | avizor call monitor fan --also sounds --rate 16000 -
  avizor call monitor fan monday.wav --alarms-only
"""


@dataclass(frozen=True)
class Sound:
    """Samples as they come, and what they are."""

    chunks: Iterator[bytes]
    sample_rate: int
    channels: int
    format: PcmFormat = "s16le"


@click.command(short_help="Let a gateway listen to a file or a microphone.", epilog=_EXAMPLES)
@click.argument("model")
@click.argument("file")
@click.option("--also", metavar="MODEL", default="", help="A second model that listens: a classifier beside a detector.")
@click.option(
    "--version", type=click.IntRange(min=0), default=0, show_default="the one that is served", help="Version of MODEL."
)
@click.option("--rate", type=click.IntRange(min=1000), help="Samples a second, if FILE is raw PCM without a header.")
@click.option("--channels", type=click.IntRange(1, 64), default=1, show_default=True, help="Of raw PCM.")
@click.option("--format", type=click.Choice(["s16le", "f32le"]), default="s16le", show_default=True, help="Of raw PCM.")
@click.option("--mix-channels", is_flag=True, help="Take the mean of the channels, not each by itself.")
@click.option("--source", metavar="NAME", default="", help="Where the sound comes from, such as the name of a machine.")
@click.option(
    "--false-alarms-per-hour",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Largest expected number of false alarms.",
)
@click.option("--assume-exchangeable", is_flag=True, help="Let that bound rest on the sound: see docs/monitor.md.")
@click.option(
    "--alpha",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    show_default="that of the gateway",
    help="Share of normal stretches that are flagged.",
)
@click.option("--alarms-only", is_flag=True, help="Print only the windows at which the alarm begins or ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each message, one a line.")
@click.option("--exit-code", is_flag=True, help="End with 4 if there was an alarm.")
@connection_options
def monitor(
    model: str,
    file: str,
    also: str,
    version: int,
    rate: int | None,
    channels: int,
    format: PcmFormat,
    mix_channels: bool,
    source: str,
    false_alarms_per_hour: float,
    assume_exchangeable: bool,
    alpha: float | None,
    alarms_only: bool,
    as_json: bool,
    exit_code: bool,
    connect: Callable[[], Any],
) -> None:
    """Print what MODEL hears in FILE, window by window, and when the alarm begins and ends.

    FILE is a WAV file of 16 bits, raw PCM with --rate, or `-` for standard input, such as the pipe of a microphone.
    """
    with connect() as client, _open(file) as opened:
        sound = _raw(opened, rate, channels, format) if rate else _wav(opened, file)
        settings = MonitorSettings(
            **_models(client, model, version, also),
            sample_rate=sound.sample_rate,
            source=source,
            format=sound.format,
            channels=sound.channels,
            mix_channels=mix_channels,
            false_alarms_per_hour=false_alarms_per_hour,
            alpha=alpha or 0.0,
            assume_exchangeable=assume_exchangeable,
        )
        with client.monitor(sound.chunks, settings) as stream:
            _tell_start(stream.started, as_json=as_json)
            _tell_if_unknown(client, settings, stream.started)
            for window in stream:
                if window.alarm_changed or not alarms_only:
                    _tell(window, as_json=as_json)
            assert stream.ended is not None  # all windows have come
            if as_json:
                print_json({"ended": stream.ended})
            else:
                windows, alarms = counted(stream.ended.windows, "window"), counted(stream.ended.alarms, "alarm")
                click.echo(f"{windows}, {alarms}", err=True)
    if exit_code and stream.ended.alarms:
        sys.exit(_ALARM)


def _models(client: Client, model: str, version: int, also: str) -> dict[str, Any]:
    """Return the names and versions of classifier and detector, by what each model is."""
    found: dict[str, Any] = {}
    for name, of_version in ((model, version), *([(also, 0)] if also else [])):
        role = "classifier" if client.model(name, of_version).task == "classify" else "detector"
        if role in found:
            raise click.UsageError(f"{found[role]} and {name} are both a {role}; name one of each, or one alone")
        found |= {role: name, f"{role}_version": of_version}
    return found


@contextlib.contextmanager
def _open(file: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input. A pipe is not closed: that would wait for the thread that reads it."""
    try:
        opened: BinaryIO = open(0 if file == STANDARD_INPUT else file, "rb", closefd=file != STANDARD_INPUT)  # noqa: SIM115
    except OSError as error:
        raise unreadable(file, error) from error
    try:
        yield opened
    finally:
        if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            opened.close()


def _raw(opened: BinaryIO, rate: int, channels: int, format: PcmFormat) -> Sound:
    return Sound(_chunks(opened), rate, channels, format)


def _chunks(opened: BinaryIO, most: float = math.inf) -> Iterator[bytes]:
    """Yield what comes, at most so many bytes in all. A pipe is not waited for until it has more than it has now."""
    read: Callable[[int], bytes] = getattr(opened, "read1", opened.read)
    while chunk := read(int(min(_READ_BYTES, most))):
        most -= len(chunk)
        yield chunk


def _wav(opened: BinaryIO, file: str) -> Sound:
    """Return the sound of a WAV file, which may be a pipe."""
    try:
        reader = wave.open(opened)  # noqa: SIM115  # what is open is closed by the caller
    except (wave.Error, EOFError) as error:
        raise InputError(
            f"{file}: is not a WAV file that can be read ({str(error) or 'it is too short'}); {_CONVERT}"
        ) from error
    if reader.getsampwidth() != 2:
        raise InputError(f"{file}: has samples of {8 * reader.getsampwidth()} bits, and only 16 are read; {_CONVERT}")
    # A program that does not know the length writes none, or a very large one. The head alone has been read.
    length = 2 * reader.getnchannels() * reader.getnframes() or math.inf
    return Sound(_chunks(opened, length), reader.getframerate(), reader.getnchannels())


_CONVERT = "give raw PCM with --rate, such as that of: ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -"


def _tell_start(started: MonitorStarted, *, as_json: bool) -> None:
    if as_json:
        print_json({"started": started})
    elif started.detector_version:
        click.echo(
            f"an alarm begins after {started.stretches_to_alarm} flagged stretches of {started.stretch_s:.2f} s and ends after "
            f"{started.stretches_to_clear} calm ones; at most {started.false_alarms_per_hour:.3g} false alarms an hour are "
            f"expected; {judges(started.judged_by)}",
            err=True,
        )


def _tell_if_unknown(client: Client, settings: MonitorSettings, started: MonitorStarted) -> None:
    """Say on standard error if the calibration of the detector does not have the stream's source."""
    if settings.detector and settings.source:
        unknown = UnknownSources(client.model(settings.detector, started.detector_version))
        unknown.judged(settings.source, started.calibration_id)
        for line in unknown.lines("the stream is"):
            click.echo(line, err=True)


def _tell(window: MonitoredWindow, *, as_json: bool) -> None:
    if as_json:
        print_json({"window": plain(window)})
        return
    cells = [where(window.span)]
    cells += [f"{each.label} {each.probability:.3f}" for each in window.classes]
    if window.p_value:
        cells += [f"p {window.p_value:.4g}"]
    if window.stretch:
        cells += ["flagged" if window.stretch.is_flagged else "calm"]
    if window.alarm_changed:
        cells += ["ALARM BEGINS" if window.alarm else "alarm ends"]
    elif window.alarm:
        cells += ["alarm"]
    print_line(cells, [18])
