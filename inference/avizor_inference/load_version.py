"""Let a version of a model be served: prove it first, let config.pbtxt choose it, and undo that if it answers wrongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tritonclient.utils import InferenceServerException

from avizor_inference.engines.base import check_batch_size
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import open_engine, runs_here
from avizor_inference.engines.probe_check import check_probe
from avizor_inference.engines.temporary_model import LOAD_S, temporary_model, temporary_name
from avizor_inference.engines.triton import TritonEngine, triton_client
from avizor_inference.engines.triton_address import triton_address
from avizor_inference.errors import AvizorError, EngineError, VersionRefused
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import CONFIG_FILE
from avizor_inference.repository.version_choice import choose_version, choosing, trying


def load_embedded(
    repository: ModelRepository,
    version: ModelVersion,
    engine: str,
    device: Device,
    chosen: int | None,
    confirm: Callable[[], None] = lambda: None,
) -> None:
    """Prove a version on an engine in this process, then choose it for all that read the repository.

    engine: one that runs_here. chosen: what config.pbtxt is to name; None for the newest. confirm: raises AvizorError if the
    version is not served then. Raises AvizorError, and leaves everything as it was.
    """
    with open_engine(engine, repository, device=device) as opened:
        check_probe(opened, version)
    folder = version.folder.parent
    with choosing(folder), trying(folder, chosen):
        confirm()


def load_on_triton(
    version: ModelVersion,
    engine: str,
    chosen: int | None,
    headers: Mapping[str, str],
    confirm: Callable[[], None] = lambda: None,
) -> None:
    """Prove a version on a Triton under a name that nobody calls, choose it, load it, and prove it again under its own name.

    If that fails, the version before is loaded again, and config.pbtxt chooses it, so that a restart serves the same. headers:
    sent with what changes models. confirm: raises AvizorError if the version is not served then. Raises AvizorError.
    """
    address, folder = triton_address(engine), version.folder.parent
    with choosing(folder), TritonEngine(address) as server:
        before = _served(server, version.name)
        try:
            _prove_aside(server, address, version, headers)
        except AvizorError:
            if before and before != version.version:
                choose_version(folder, before)
            raise
        is_chosen = False
        try:
            with trying(folder, chosen):
                is_chosen = True
                _load(address, version.name, headers)
                loaded = server.loaded(version.name)
                if loaded[-1] != version.version:
                    raise EngineError(
                        f"Triton at {address} has loaded version {loaded[-1]} of {version.name!r}, and not {version.version}; "
                        f"does it serve {folder.parent}?"
                    )
                version.verify()  # it may have been replaced since the proof, by what no gateway takes
                check_probe(server, version)
                confirm()
        except BaseException:
            if is_chosen:  # else Triton has been told nothing
                if before and before != version.version:
                    choose_version(folder, before)
                _load(address, version.name, headers)
            raise


def served_version(repository: ModelRepository, name: str, engine: str) -> int:
    """Return the version that answers now where a call names none. Raises AvizorError."""
    if runs_here(engine):
        return repository.served(name).version
    with TritonEngine(triton_address(engine)) as server:
        return server.loaded(name)[-1]


def version_before(repository: ModelRepository, name: str, served: int) -> int:
    """Return the newest version that is older than the one that is served. Raises VersionRefused if there is none."""
    older = [number for number in repository.versions(name) if number < served]
    if not older:
        raise VersionRefused(f"{name!r} has no version before {served} to go back to")
    return older[-1]


def _served(server: TritonEngine, name: str) -> int:
    try:
        return server.loaded(name)[-1]
    except AvizorError:  # it is not loaded yet
        return 0


def _prove_aside(server: TritonEngine, address: str, version: ModelVersion, headers: Mapping[str, str]) -> None:
    version.verify()
    check_batch_size(version.config.max_batch_size, str(version.folder.parent / CONFIG_FILE))
    model = version.model_path.read_bytes()
    with temporary_model(address, model, version.config, temporary_name("load"), headers) as name:
        check_probe(server, version, served_as=name)


def _load(address: str, name: str, headers: Mapping[str, str]) -> None:
    with triton_client(address) as client:
        try:
            client.load_model(name, headers=dict(headers), client_timeout=LOAD_S)
        except InferenceServerException as error:
            raise EngineError(f"Triton at {address} cannot load {name!r}: {error.message()}") from error
