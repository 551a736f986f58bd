"""version_choice.py: a choice is written into config.pbtxt as generated, taken back whole, and never spoils the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from avizor_export.triton_config.config_pbtxt import generated_config, published_settings
from avizor_export.triton_config.overrides import read_overrides
from avizor_export.triton_config.settings import ServingSettings
from avizor_inference.errors import RepositoryError
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import read_config
from avizor_inference.repository.version_choice import choose_version, choosing, chosen_version, restore, with_choice


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models / "digits", tmp_path / "digits")
    return tmp_path / "digits"


def test_a_choice_is_part_of_a_generated_file_that_export_still_takes(own: Path) -> None:
    before = (own / "config.pbtxt").read_text()
    assert choose_version(own, 1) == before
    assert list(read_config(own / "config.pbtxt").version_policy.specific.versions) == [1]
    assert (own / "config.pbtxt").read_text() == with_choice(before, 1)
    assert chosen_version(own) == 1
    published_settings(own.parent, "digits")  # raises for a file that was edited
    choose_version(own, 2)
    assert list(read_config(own / "config.pbtxt").version_policy.specific.versions) == [2]
    chosen = choose_version(own, None)
    assert not read_config(own / "config.pbtxt").HasField("version_policy")
    assert chosen_version(own) is None
    published_settings(own.parent, "digits")
    restore(own, chosen)
    assert (own / "config.pbtxt").read_text() == chosen


def test_a_choice_that_is_taken_back_leaves_the_policy_of_the_user(own: Path) -> None:
    (own / "config.overrides.pbtxt").write_text("version_policy { all {} }  # Ana wants both\n")
    choose_version(own, 1)
    assert chosen_version(own) == 1
    choose_version(own, None)
    assert chosen_version(own) is None
    assert read_config(own / "config.pbtxt").version_policy.HasField("all")


def test_a_file_that_cannot_be_parsed_is_left_as_it_is(own: Path) -> None:
    (own / "config.pbtxt").write_text("name: {")
    with pytest.raises(RepositoryError, match="is not a Triton model configuration"):
        choose_version(own, 1)
    assert (own / "config.pbtxt").read_text() == "name: {"


@pytest.mark.parametrize("is_chosen", [False, True])
def test_a_generated_file_that_was_cut_off_between_two_fields_is_refused_and_left_as_it_is(own: Path, is_chosen: bool) -> None:
    path = own / "config.pbtxt"
    if is_chosen:
        choose_version(own, 1)
    lines = path.read_text().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        cut = "".join(lines[:kept])
        path.write_text(cut)
        with pytest.raises(
            RepositoryError, match=r"was cut off: .*; restore it, or remove it|is not a Triton model configuration"
        ):
            read_config(path)
        with pytest.raises(RepositoryError):
            choose_version(own, 1)
        assert path.read_text() == cut


def test_a_file_whose_overrides_were_cut_off_is_refused(models: Path, tmp_path: Path) -> None:
    (own := tmp_path / "digits").mkdir()
    (own / "config.overrides.pbtxt").write_text("version_policy { all {} }\n")
    manifest = ModelRepository(models).version("digits").manifest
    text = generated_config(manifest, ServingSettings(), {1: manifest.model_sha256}, read_overrides(own))
    (own / "config.pbtxt").write_text(text)
    assert read_config(own / "config.pbtxt").version_policy.HasField("all")
    (own / "config.pbtxt").write_text(text[: text.index("version_policy")])
    with pytest.raises(RepositoryError, match=r"was cut off: .*; restore it, or remove it"):
        read_config(own / "config.pbtxt")


def test_a_pipe_in_place_of_the_lock_is_refused_and_not_waited_for(own: Path) -> None:
    os.mkfifo(own.parent / ".avizor-choice-lock-digits")
    refused = r"lock-digits cannot be written \(it is a pipe .*\); .* move away what is no file"
    with pytest.raises(RepositoryError, match=refused), choosing(own):
        pass
