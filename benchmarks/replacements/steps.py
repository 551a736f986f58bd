"""Replace each part of a running site, as docs/operations.md says, and wait until the new one answers."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import psutil
import torch
from integration.front_door import start_nginx, write_certificate
from integration.gateway import AVIZOR, IMAGE, Gateway
from replacements.callers import NO_RETRIES, Door
from replacements.ledger import Ledger
from replacements.site import Site, new_tokens, use_tokens, wait_until, workers
from support.networks import PaddedAutoencoder
from support.sounds import SAMPLE_RATE, SOUND, tone

from avizor.v1 import inference_pb2 as pb
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import ImageInput

SETTLE_S = 3.0  # in which nginx has started workers with new settings, and old ones have closed their idle connections

# Replaces something, and returns a note.
Step = Callable[[Site, Ledger], str]


def calibration(site: Site, ledger: Ledger) -> str:
    """`avizor calibrate --activate`, and SIGHUP."""
    before = _calibrations(site)
    data = ("--data", site.folder / "sounds", "--activate")
    _avizor("calibrate", "normal", *data, "--models", site.models, "--engine", f"triton://{site.pair.triton.grpc_url}")
    _avizor("calibrate", "normal", *data, "--models", site.own / "models")
    _hang_up(site)
    wait_until(lambda: not {*before} & {*_calibrations(site)}, "the calibration is the old one")
    return "the next answers had the new calibration_id"


def version(site: Site, ledger: Ledger) -> str:
    """Export version 2 of a classifier and a detector; `avizor models load` on Triton, SIGHUP for the other gateway."""
    for models in (site.models, site.own / "models"):
        _export(models)
    for name in ("digits", "normal"):
        _avizor("models", "load", name, "--models", site.models, "--engine", f"triton://{site.pair.triton.grpc_url}")
    _hang_up(site)
    for kind in ("Classify", "DetectAnomaly", "Classify, embedded", "DetectAnomaly, embedded", "tritonclient.grpc to Triton"):
        wait_until(partial(ledger.has_told, kind, "2"), f"{kind}: not answered by version 2")
    return "all kinds were answered by version 2"


def certificate(site: Site, ledger: Ledger) -> str:
    """Copy certificate and key over the old ones, and SIGHUP to nginx."""
    for place, door in ((site.folder, site.door), (site.own, site.own_door)):
        before = _shown(door)
        write_certificate(place, site.authority)
        _hang_up(site)
        wait_until(partial(_shows_another, door, before), "the old certificate is shown")
    return "new connections were shown the new certificate"


def token(site: Site, ledger: Ledger) -> str:
    """Add new tokens beside the old ones, let the callers use them, and revoke the old ones."""
    for place, door in ((site.folder, site.door), (site.own, site.own_door)):
        old_lines, old = (place / "tokens").read_text(), door.token("token")
        new = new_tokens(place, keep=old_lines)
        _hang_up(site)
        time.sleep(SETTLE_S)
        use_tokens(place, new)
        time.sleep(SETTLE_S)
        (place / "tokens").write_text(new)
        _hang_up(site)
        wait_until(partial(_is_refused, door, old), "the revoked token is still good")
    return "the revoked token was refused"


def worker_told_to_end(site: Site, ledger: Ledger) -> str:
    """SIGTERM to a worker of each gateway."""
    return _end_workers(site, signal.SIGTERM)


def worker_killed(site: Site, ledger: Ledger) -> str:
    """SIGKILL to a worker of each gateway."""
    return _end_workers(site, signal.SIGKILL)


def beside(site: Site, ledger: Ledger) -> str:
    """Start a second Triton and gateway, send new calls there, and stop the first ones when theirs are answered."""
    old, site.pair = site.pair, site.new_pair()
    configuration = site.folder / "nginx.conf"
    text = configuration.read_text()
    for name, address in old.servers().items():
        text = text.replace(f"server {address};", f"server {site.pair.servers()[name]};")
    configuration.write_text(text)
    _signal_nginx(site, signal.SIGHUP)
    time.sleep(SETTLE_S)
    code = old.gateway.stop()
    old.triton.stop()
    return f"the old gateway ended with {code}"


def nginx_upgraded(site: Site, ledger: Ledger) -> str:
    """A new master of nginx takes the sockets (SIGUSR2), and the old one leaves when its calls have ended (SIGQUIT)."""
    before = site.nginx_pid()
    os.kill(before, signal.SIGUSR2)
    wait_until(
        lambda: all((site.folder / name).exists() for name in ("nginx.pid", "nginx.pid.oldbin")), "no new master of nginx"
    )
    time.sleep(SETTLE_S)
    os.kill(before, signal.SIGQUIT)  # its workers end with their last stream
    return f"master {before} was followed by {site.nginx_pid()}"


def triton_restarted(site: Site, ledger: Ledger) -> str:
    """Stop the only Triton, and start it again."""
    begun = time.monotonic()
    site.pair.triton.stop()
    site.pair.triton.start()
    away_s = time.monotonic() - begun
    wait_until(lambda: _ended(site.door, site.door.token("token")) == "OK", "the gateway does not serve")
    return f"Triton was away for {away_s:.1f} s"


def nginx_restarted(site: Site, ledger: Ledger) -> str:
    """Stop the only nginx, and start it again."""
    old = site.nginx_pid()
    begun = time.monotonic()
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: not _listens(site), "nginx did not stop")
    start_nginx(site.folder, background=True).wait()
    wait_until(lambda: _listens(site), "nginx did not start")
    return f"nobody listened for {time.monotonic() - begun:.1f} s"


STEPS: dict[str, Step] = {
    "calibration": calibration,
    "model version": version,
    "certificate": certificate,
    "token": token,
    "gateway worker, told to end": worker_told_to_end,
    "gateway worker, killed": worker_killed,
    "Triton and gateway, by a second pair": beside,
    "nginx, by a new master": nginx_upgraded,
    "Triton, restarted": triton_restarted,
    "nginx, restarted": nginx_restarted,
}


def _avizor(*words: object) -> None:
    done = subprocess.run([str(AVIZOR), *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"avizor {' '.join(map(str, words))} ended with {done.returncode}: {done.stdout}{done.stderr}")


def _export(models: Path) -> None:
    torch.manual_seed(1)
    serving = ServingOptions(max_batch_size=16)
    image = ImageInput(height=32, width=32, channels=1)
    export_model(LeNet(), ExportRequest("digits", "classify", image, labels=list("0123456789"), serving=serving), models)
    recordings = [
        NormalRecording(source, tone(3 * 4096 / SAMPLE_RATE, seed=seed).reshape(3, 4096))
        for source in ("a", "b")
        for seed in range(30)
    ]
    export_model(PaddedAutoencoder(), ExportRequest("normal", "reconstruct", SOUND, normal=recordings, serving=serving), models)


def _hang_up(site: Site) -> None:
    for running in (site.pair.gateway, site.embedded):
        running.process.send_signal(signal.SIGHUP)
    _signal_nginx(site, signal.SIGHUP)


def _signal_nginx(site: Site, number: signal.Signals) -> None:
    os.kill(site.nginx_pid(), number)


def _end_workers(site: Site, number: signal.Signals) -> str:
    for running in (site.pair.gateway, site.embedded):
        ended = workers(running)[0]
        ended.send_signal(number)
        wait_until(partial(_is_replaced, running, ended), "no new worker serves")
    return "a new worker served"


def _calibrations(site: Site) -> list[str]:
    found = []
    for door in (site.door, site.own_door):
        request = pb.GetModelRequest(name="normal")
        found.append(door.stub(NO_RETRIES).GetModel(request, metadata=list(door.headers().items()), timeout=20).calibration.id)
    return found


def _ended(door: Door, token: str) -> str:
    try:
        metadata = [("authorization", f"Bearer {token}")]
        door.stub(NO_RETRIES).Classify(pb.ClassifyRequest(model="digits", items=[IMAGE]), metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _shown(door: Door) -> str:
    host, port = door.address.rsplit(":", 1)
    return ssl.get_server_certificate((host, int(port)))


def _shows_another(door: Door, before: str) -> bool:
    return _shown(door) != before


def _is_refused(door: Door, token: str) -> bool:
    return _ended(door, token) == "UNAUTHENTICATED"


def _is_replaced(running: Gateway, ended: psutil.Process) -> bool:
    return not ended.is_running() and running.metrics().get("avizor_workers") == 2


def _listens(site: Site) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", site.nginx.port), 1):
            return True
    except OSError:
        return False
