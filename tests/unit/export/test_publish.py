"""repository/publication.py: a version appears whole or not at all, whoever else writes, and whatever is in the way."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from avizor_inference.repository.publication import publish, staging
from avizor_inference.repository.triton_config import read_config
from avizor_inference.repository.version_choice import choose_version


def stage(models: Path, text: str) -> Path:
    with staging(models, "m") as stage:
        (stage.version_folder / "model.onnx").write_text(text)
        (stage.model_folder / "config.pbtxt").write_text(text)
        return publish(stage, models).folder


def test_versions_count_up_and_config_is_the_newest(tmp_path: Path) -> None:
    assert stage(tmp_path, "first") == tmp_path / "m" / "1"
    assert stage(tmp_path, "second") == tmp_path / "m" / "2"
    assert (tmp_path / "m" / "1" / "model.onnx").read_text() == "first"
    assert (tmp_path / "m" / "config.pbtxt").read_text() == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".avizor-choice-lock-m", ".avizor-lock-m", "m"]


def test_what_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging(tmp_path, "m"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == [".avizor-lock-m"]


def test_a_killed_publisher_leaves_nothing_that_counts(tmp_path: Path) -> None:
    stage(tmp_path, "first")
    script = """
        import sys, time
        from pathlib import Path
        from avizor_inference.repository.publication import staging
        with staging(Path(sys.argv[1]), "m") as stage:
            (stage.version_folder / "model.onnx").write_text("half")
            print("staged", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"staged\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1", "config.pbtxt"]
    assert stage(tmp_path, "second") == tmp_path / "m" / "2"  # the lock is free, the leftover gone
    assert (tmp_path / "m" / "2" / "model.onnx").read_text() == "second"


def test_publications_of_one_name_wait_for_each_other(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        sys.path.insert(0, str(Path(sys.argv[2])))
        from test_publish import stage
        for number in range(10):
            stage(Path(sys.argv[1]), sys.argv[3] + str(number))
    """
    arguments = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(Path(__file__).parent)]
    processes = [subprocess.Popen([*arguments, name]) for name in ("a", "b", "c")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    texts = [(tmp_path / "m" / str(n) / "model.onnx").read_text() for n in range(1, 31)]
    assert sorted(texts) == sorted(name + str(number) for name in "abc" for number in range(10))


def test_overrides_that_are_there_before_the_first_version_or_between_two_stay(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    overrides = tmp_path / "m" / "config.overrides.pbtxt"
    overrides.write_text("mine")
    assert stage(tmp_path, "first") == tmp_path / "m" / "1"
    assert stage(tmp_path, "second") == tmp_path / "m" / "2"
    assert (tmp_path / "m" / "config.pbtxt").read_text() == "second"
    assert overrides.read_text() == "mine"


@pytest.mark.parametrize("overrides", ["", "version_policy { specific { versions: [ 2 ] } }"], ids=["alone", "with overrides"])
def test_a_choice_stays_until_a_new_version_is_there_and_is_served(tmp_path: Path, overrides: str) -> None:
    """Killed at any moment, a publication never lets the version answer that was rolled back."""
    config = f'name: "m"\n{overrides}\n'
    for _ in range(2):
        stage(tmp_path, config)
    (tmp_path / "m" / "config.overrides.pbtxt").write_text(overrides)
    choose_version(tmp_path / "m", 1)
    seen = []
    with staging(tmp_path, "m") as third, pytest.MonkeyPatch.context() as patch:
        (third.version_folder / "model.onnx").touch()
        (third.model_folder / "config.pbtxt").write_text(config)
        rename = Path.rename

        def watched(path: Path, to: Path) -> Path:
            seen.append(list(read_config(tmp_path / "m" / "config.pbtxt").version_policy.specific.versions))
            return rename(path, to)

        patch.setattr(Path, "rename", watched)
        ended = publish(third, tmp_path).ended
    assert seen == [[1]]
    after = list(read_config(tmp_path / "m" / "config.pbtxt").version_policy.specific.versions)
    assert (ended, after) == ((None, [1]) if overrides else (1, []))
