"""catalogue.py: newer versions take over when they are proven; what is wrong is named, and costs the others nothing."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.jobs import eventually
from support.versioned_model import remove_version, rows, write_version

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.batching import BatchingEngine
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import ModelNotFound, RepositoryError, VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_service.catalogue import Catalogue
from avizor_service.rpcs.get_model import model_message


class Loaded(BatchingEngine):
    """Says which versions it holds."""

    def versions(self, name: str) -> set[int]:
        return {batcher.spec.version for (model, _), batcher in self._batchers.items() if model == name}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Loaded]:
    write_version(tmp_path, "v", 1)
    repository = ModelRepository(tmp_path)
    with Loaded(EmbeddedEngine(repository), repository) as engine:
        yield engine


@pytest.fixture
def catalogue(tmp_path: Path, engine: Loaded) -> Iterator[Catalogue]:
    catalogue = Catalogue(ModelRepository(tmp_path), engine)
    yield catalogue
    catalogue.close()


def states(catalogue: Catalogue) -> dict[tuple[str, int], tuple[str, str]]:
    return {(state.name, state.version): (state.state, state.reason) for state in catalogue.states()}


def test_a_new_version_and_a_new_model_answer_after_a_look_and_calls_in_flight_end_on_the_old_one(
    tmp_path: Path, engine: Loaded, catalogue: Catalogue
) -> None:
    catalogue.refresh()
    in_flight = catalogue.opened("v")
    assert in_flight is not None
    write_version(tmp_path, "v", 2)
    write_version(tmp_path, "w", 7)
    assert catalogue.find("v").version == 1
    catalogue.refresh()
    opened = catalogue.opened("v")
    assert opened is not None
    assert (opened.version.version, catalogue.find("v").version, catalogue.find("w").version) == (2, 2, 7)
    assert engine.versions("v") == {1, 2}
    assert engine.infer(InferRequest("v", {"input": rows()}, ["embedding"], in_flight.spec.version))["embedding"][0, 0] == 1
    del in_flight
    gc.collect()
    assert eventually(lambda: engine.versions("v") == {2})
    assert states(catalogue) == {("v", 2): ("READY", ""), ("w", 7): ("READY", "")}


def test_what_is_wrong_is_named_and_what_answered_goes_on(tmp_path: Path, catalogue: Catalogue) -> None:
    catalogue.refresh()
    write_version(tmp_path, "v", 2, probe_of=3)
    cut = write_version(tmp_path, "v", 3)
    (cut / "model.onnx").write_bytes((cut / "model.onnx").read_bytes()[:-1] + b"x")
    (write_version(tmp_path, "v", 4) / "manifest.json").write_text("{")
    (tmp_path / "lost+found").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")  # noqa: PTH102 - bytes that are no text
    (write_version(tmp_path, "pipe", 1) / "manifest.json").unlink()
    os.mkfifo(tmp_path / "pipe" / "1" / "manifest.json")
    (tmp_path / "a file").touch()
    (tmp_path / ".git").mkdir()
    write_version(tmp_path, "no-config", 1)
    (tmp_path / "no-config" / "config.pbtxt").write_text("name: nothing {")
    catalogue.refresh()
    found = states(catalogue)
    assert catalogue.find("v").version == 1
    assert {key: state for key, (state, _) in found.items()} == {
        ("lost+found", 0): "UNAVAILABLE",
        ("no-config", 0): "UNAVAILABLE",
        ("pipe", 1): "UNAVAILABLE",
        (r"\udcff", 0): "UNAVAILABLE",
        ("v", 1): "READY",
        ("v", 2): "UNAVAILABLE",
        ("v", 3): "UNAVAILABLE",
        ("v", 4): "UNAVAILABLE",
    }
    for key, words in {
        ("lost+found", 0): "holds no version of a model",
        ("pipe", 1): "it is a pipe or a device, and no file",
        (r"\udcff", 0): "its name is not UTF-8",
        ("no-config", 0): "is not a Triton model configuration",
        ("v", 2): "output embedding of its probe items differs by",
        ("v", 3): "is not the file its manifest describes",
        ("v", 4): "is not a manifest",
    }.items():
        assert words in found[key][1]


def test_a_gateway_that_starts_falls_back_to_the_version_that_a_running_one_would_serve(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    (write_version(tmp_path, "v", 2) / "manifest.json").write_text("{")
    write_version(tmp_path, "w", 1)
    write_version(tmp_path, "w", 2, probe_of=9)
    catalogue.survey()
    assert [key for key, (state, _) in states(catalogue).items() if state == "READY"] == [("v", 1), ("w", 2)]
    assert (catalogue.open("v").version.version, catalogue.open("w").version.version) == (1, 1)
    catalogue.refresh()
    assert [key for key, (state, _) in states(catalogue).items() if state == "READY"] == [("v", 1), ("w", 1)]


def test_a_version_whose_probe_items_come_out_otherwise_answers_nobody_whoever_asks_first(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    write_version(tmp_path, "w", 1, probe_of=3)
    for _ in range(2):
        with pytest.raises(VersionRefused, match="output embedding of its probe items differs"):
            catalogue.open("w")
        with pytest.raises(VersionRefused, match="output embedding of its probe items differs"):
            catalogue.open("w", 1)
        catalogue.refresh()
        with pytest.raises(VersionRefused, match="output embedding of its probe items differs"):
            catalogue.find("w")
    remove_version(tmp_path, "w", 1)
    write_version(tmp_path, "w", 1)
    catalogue.refresh()
    assert catalogue.open("w").version.version == 1


def test_a_version_that_is_mended_is_taken(tmp_path: Path, catalogue: Catalogue) -> None:
    catalogue.refresh()
    manifest = write_version(tmp_path, "v", 2) / "manifest.json"
    right = manifest.read_text()
    manifest.write_text("{")
    catalogue.refresh()
    assert catalogue.find("v").version == 1
    manifest.write_text(right)
    catalogue.refresh()
    assert states(catalogue) == {("v", 2): ("READY", "")}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_what_the_system_could_not_read_for_a_moment_is_looked_at_again(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nothing of the files changes when there is room for open files again, for example."""
    catalogue.refresh()
    write_version(tmp_path, "v", 2)
    write_version(tmp_path, "w", 1)

    def fails(_path: Path) -> str:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("avizor_inference.repository.probe.sha256_of_file", fails)
        for _ in range(2):
            catalogue.refresh()
            assert "probe.npz: cannot be read" in states(catalogue)["v", 2][1]
            assert states(catalogue)["v", 1] == ("READY", "")
            assert states(catalogue)["w", 1][0] != "READY"
    catalogue.refresh()
    assert states(catalogue) == {("v", 2): ("READY", ""), ("w", 1): ("READY", "")}


def test_a_version_that_is_replaced_while_it_answers_goes_on_as_it_was(tmp_path: Path, catalogue: Catalogue) -> None:
    catalogue.refresh()
    before = catalogue.opened("v")
    other = tmp_path / "v" / "1" / "manifest.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"simplified": False}))
    catalogue.refresh()
    assert catalogue.opened("v") is before
    ((state, reason),) = states(catalogue).values()
    assert (state, "was replaced while it is served" in reason) == ("READY", True)


def test_a_version_that_is_removed_gives_way_to_the_one_before_and_a_model_that_is_removed_is_gone(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    write_version(tmp_path, "v", 2)
    write_version(tmp_path, "w", 1)
    catalogue.refresh()
    remove_version(tmp_path, "v", 2)
    shutil.rmtree(tmp_path / "w")
    catalogue.refresh()
    assert (catalogue.find("v").version, catalogue.opened("w")) == (1, None)
    assert set(states(catalogue)) == {("v", 1)}


def test_a_repository_that_cannot_be_read_changes_nothing(tmp_path: Path, catalogue: Catalogue) -> None:
    catalogue.refresh()
    described = model_message(catalogue, "v")
    tmp_path.rename(tmp_path.with_name("away"))
    try:
        with pytest.raises(RepositoryError, match="is gone; put it back"):
            catalogue.refresh()
        assert states(catalogue) == {("v", 1): ("READY", "")}
        assert catalogue.find("v").version == 1
        assert catalogue.names() == ["v"]
        assert model_message(catalogue, "v") == described
        with pytest.raises(RepositoryError, match="is gone; put it back"):
            catalogue.versions("other")
    finally:
        tmp_path.with_name("away").rename(tmp_path)


def test_the_policy_in_config_pbtxt_chooses_the_version(tmp_path: Path, catalogue: Catalogue) -> None:
    write_version(tmp_path, "v", 2)
    catalogue.refresh()
    config = tmp_path / "v" / "config.pbtxt"
    text = config.read_text()
    config.write_text(text + "version_policy { specific { versions: [ 1 ] } }\n")
    catalogue.refresh()
    assert catalogue.find("v").version == 1
    config.write_text(text + "version_policy { specific { versions: [ 5 ] } }\n")
    catalogue.refresh()
    assert catalogue.find("v").version == 1
    assert "is to be served in version 5" in states(catalogue)["v", 0][1]
    config.write_text(text)
    catalogue.refresh()
    assert states(catalogue) == {("v", 2): ("READY", "")}


@pytest.mark.parametrize("name", ["", ".", "..", "v/", "./v", "v/1", ".staged", "no\0", "x" * 300, "\udcff", "absent"])
def test_what_is_no_name_of_a_model_is_not_found(tmp_path: Path, catalogue: Catalogue, name: str) -> None:
    (tmp_path / ".staged").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")  # noqa: PTH102 - bytes that are no text
    assert not catalogue.knows(name)
    with pytest.raises(ModelNotFound, match="no model named"):
        catalogue.find(name)
