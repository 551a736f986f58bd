"""`avizor fit --labels` and `avizor fit --improve`, as a user runs them, and what the published models answer."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from support.labelled_folders import write_pictures, write_sounds
from support.warm_starts import WarmPopen, warm_run
from torchvision.models import resnet34

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.fitting.classifier.run import SEEN
from avizor_export.fitting.cli import fit
from avizor_export.fitting.kept import KEPT_FILE, read_kept
from avizor_inference.checks.check_version import check_model
from avizor_inference.classify import MeanProbabilities
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.intervals import wilson
from avizor_inference.items.decode import content_of_file, decode_item
from avizor_inference.repository.models import ModelRepository, ModelVersion

AVIZOR = Path(sys.executable).with_name("avizor")
CLASSES = {"bars": 60, "plain": 12, "stripes": 60}
# Pixels, and steps that suffice, of each architecture.
SMALL = dict.fromkeys(("resnet34", "googlenet", "densenet121"), ("32x32", 60))
SIZES = {"lenet": ("16x16", 60), **SMALL, "vgg16": ("32x32", 120)}


def run(*arguments: object, code: int = 0) -> str:
    """Run the command in a process of its own, and return what it prints on both streams."""
    command = [str(AVIZOR), "fit", *map(str, arguments)]
    result = warm_run(command, timeout=900, stderr=subprocess.STDOUT)
    assert result.returncode == code, result.stdout
    return str(result.stdout)


def tried(*arguments: object) -> Result:
    """Run the command in this process: for what is refused before the work."""
    return CliRunner().invoke(fit, list(map(str, arguments)))


def accuracy(version: ModelVersion, folder: Path) -> float:
    """Classify the files of a folder of classes through the embedded engine; return the share that is right."""
    spec, labels, right, items = version.manifest.input, version.manifest.labels or (), 0, 0
    with EmbeddedEngine(version.folder.parent.parent, device="cpu") as engine:
        for path in sorted(folder.rglob("*.*")):
            rows = decode_item(content_of_file(path, spec), spec).rows
            asked = InferRequest(version.name, {spec.tensor().name: rows}, ["probabilities"], version.version)
            probabilities = MeanProbabilities.of(engine.infer(asked)["probabilities"]).value
            right += labels[int(probabilities.argmax())] == path.parent.name
            items += 1
    return right / items


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), CLASSES)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def output(folder: Path, models: Path) -> str:
    """What the command prints as it fits `pictures`."""
    return run(folder, "--labels", "--name", "pictures", "--models", models, "--steps", 300)


@pytest.fixture(scope="module")
def version(output: str, models: Path) -> ModelVersion:
    return ModelRepository(models).version("pictures")


def test_a_folder_of_pictures_becomes_a_classifier(version: ModelVersion, models: Path, tmp_path: Path) -> None:
    assert version.manifest.labels == tuple(CLASSES)
    assert check_model(ModelRepository(models), "pictures") == []
    assert accuracy(version, write_pictures(tmp_path, dict.fromkeys(CLASSES, 20), seed=9)) >= 0.9


def test_each_choice_is_printed_with_its_reason(output: str) -> None:
    for choice in ("items", "size", "channels", "network", "held out", "steps"):
        assert re.search(rf"^  {choice} ", output, re.MULTILINE), choice
    assert "3 classes (bars 60, plain 12, stripes 60)" in " ".join(output.split())


def test_how_long_it_takes_at_most_is_told_before(output: str) -> None:
    assert re.search(
        r"^time: about \d+ s with all steps, if this machine stays as busy as it is now "
        r"\(300 steps, \S+ s each, and 30 s to publish\)$",
        output,
        re.MULTILINE,
    )


def test_figures_are_of_held_out_items_with_intervals(output: str, version: ModelVersion) -> None:
    evaluation = version.manifest.evaluation
    assert (evaluation["items that trained"], evaluation["items that measured"]) == (93, 26)
    assert isinstance(accuracy_there := evaluation["accuracy"], float)
    assert evaluation["accuracy, 95 % interval"] == [*wilson(round(accuracy_there * 26), 26)]
    assert "trained with 93 items, ended by 13, measured on 26 others" in output
    assert re.search(
        r"^accuracy \d\.\d{4} \(\d\.\d{4} to \d\.\d{4}, 95 % interval\) on 26 held-out items$", output, re.MULTILINE
    )
    card = (version.folder / "card.md").read_text()
    assert "| items taken for bars, plain, stripes: plain |" in card
    assert "| recall and its 95 % interval: stripes |" in card
    assert "card-training.png" in card
    assert (version.folder / "card-training.png").stat().st_size > 5000


def test_a_class_with_too_few_items_is_warned_of(output: str) -> None:
    assert "Warning: too few items to know how well a class is found" in output
    assert "'plain' has 12 (2 to measure)" in output


def test_rare_classes_are_weighted(output: str) -> None:
    assert "class weights from 0.74 (bars) to 3.4 (plain)" in output


def test_the_last_two_lines_are_commands_that_use_the_model(output: str, models: Path, folder: Path, tmp_path: Path) -> None:
    serve, batch = output.splitlines()[-2:]
    assert serve == f"avizor serve --models {models}"
    parts = batch.replace("avizor", str(AVIZOR), 1).split()
    result = warm_run(parts, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "pictures-results").is_dir()


def test_the_script_that_explains_it_gives_the_same_model_and_a_second_run_says_what_differs(
    version: ModelVersion, folder: Path, models: Path, tmp_path: Path
) -> None:
    again, script = tmp_path / "models", tmp_path / "fit_pictures.py"
    shutil.copytree(models, again)
    options = (folder, "--labels", "--name", "pictures", "--models", again, "--steps", 300, "--dry-run")
    dry = tried(*options, "--explain", script)
    assert "the same choices as version 1 of pictures" in dry.output
    assert "differs from version 1 of pictures:\n  size: 24 x 24; it was 16 x 16" in tried(*options, "--size", "24x24").output
    assert ModelRepository(again).versions("pictures") == [1]
    result = warm_run([sys.executable, str(script)], timeout=900)
    assert result.returncode == 0, result.stderr
    second = ModelRepository(again).version("pictures", 2)
    assert second.manifest.model_sha256 == version.manifest.model_sha256
    assert second.manifest.evaluation == version.manifest.evaluation
    own, other = read_kept(version), read_kept(second)  # so that it can be improved
    assert own.record["design"] == other.record["design"]
    assert own.tensors[SEEN].equal(other.tensors[SEEN])


def test_new_items_improve_a_model(version: ModelVersion, models: Path, tmp_path: Path) -> None:
    """The new pictures are brighter and have less contrast: the version before takes many of them for another class."""
    new, again = write_pictures(tmp_path / "new", dict.fromkeys(CLASSES, 40), seed=5, contrast=-0.4), tmp_path / "models"
    shutil.copytree(models, again)
    printed = run(new, "--improve", "pictures", "--models", again, "--steps", 400)
    before, after = (float(each) for each in re.findall(r"^(?:before, version 1|after): accuracy (\S+)", printed, re.MULTILINE))
    improved = ModelRepository(again).version("pictures")
    assert improved.version == 2
    changed = re.search(
        r"^of these items (\d+) are right that were wrong before, and (\d+) wrong that were right$", printed, re.M
    )
    assert changed
    assert (int(changed[1]) - int(changed[2])) / 24 == pytest.approx(after - before, abs=1e-3)
    assert before < after == pytest.approx(improved.manifest.evaluation["accuracy"], abs=1e-4)
    assert improved.manifest.evaluation["accuracy of version 1 on the same items"] == pytest.approx(before, abs=1e-4)
    assert read_kept(improved).record["improves"] == 1
    assert len(read_kept(improved).tensors[SEEN]) == 106 + 96  # what both versions trained with, or ended the training
    other = write_pictures(tmp_path / "other", dict.fromkeys(CLASSES, 20), seed=6, contrast=-0.4)
    assert accuracy(improved, other) > accuracy(version, other)


def test_what_is_no_better_on_the_same_items_is_published_only_if_asked(
    version: ModelVersion, models: Path, tmp_path: Path
) -> None:
    new, again = write_pictures(tmp_path / "new", dict.fromkeys(CLASSES, 20), seed=7), tmp_path / "models"
    shutil.copytree(models, again)
    options = (new, "--improve", "pictures", "--models", again, "--steps", 30)
    printed = run(*options, code=5)
    before, after = (float(each) for each in re.findall(r"^(?:before, version 1|after): accuracy (\S+)", printed, re.MULTILINE))
    assert before >= after
    assert re.search(r"^nothing was published: on these items the new version is no better .* --force", printed, re.MULTILINE)
    assert ModelRepository(again).versions("pictures") == [1]
    run(*options, "--force")
    assert ModelRepository(again).versions("pictures") == [1, 2]


def test_other_classes_and_other_kinds_are_not_improved_with(version: ModelVersion, models: Path, tmp_path: Path) -> None:
    fewer = write_pictures(tmp_path / "fewer", {"bars": 10, "plain": 10})
    more = write_pictures(tmp_path / "more", {**CLASSES, "dots": 10})
    sounds = write_sounds(tmp_path / "sounds", 4)
    for wrong, message in (
        (fewer, "has no items of the class 'stripes', which 'pictures' would unlearn"),
        (more, "has the class 'dots', and 'pictures' knows bars, plain, stripes"),
        (sounds, "holds sound, and 'pictures' was fitted to images"),
    ):
        result = tried(wrong, "--improve", "pictures", "--models", models)
        assert result.exit_code == 1
        assert message in str(result.exception)
    assert ModelRepository(models).versions("pictures") == [1]


def test_other_classes_are_refused_under_the_same_name_before_a_training(
    version: ModelVersion, models: Path, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "others", {"round": 20, "square": 20})
    result = tried(folder, "--labels", "--name", "pictures", "--models", models)
    assert "version 1 of 'pictures' tells" in str(result.exception)
    assert "this one would tell round, square" in str(result.exception)
    assert tried(folder, "--labels", "--models", models, "--dry-run").exit_code == 0


def test_weights_that_are_not_those_of_the_version_are_refused(
    version: ModelVersion, models: Path, folder: Path, tmp_path: Path
) -> None:
    again = tmp_path / "models"
    shutil.copytree(models, again)
    kept = again / "pictures" / "1" / KEPT_FILE
    data = bytearray(kept.read_bytes())
    data[-400:] = np.full(100, 3, np.float32).tobytes()
    kept.write_bytes(data)
    result = tried(folder, "--improve", "pictures", "--models", again)
    assert "does not fit version 1 of 'pictures'" in str(result.exception)
    kept.unlink()
    result = tried(folder, "--improve", "pictures", "--models", again)
    assert "was not made by `avizor fit`" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say with --name"),
        (("--name", "m", "--architecture", "lenet"), "--architecture is for classifiers"),
        (("--name", "m", "--labels", "--latent", 4), "--latent is for detectors"),
        (("--name", "m", "--labels", "--folds", 0), "--folds is for detectors"),
        (("--name", "m", "--labels", "--no-local"), "--local is for detectors"),
        (("--improve", "m", "--no-local"), "--local was decided when the model was fitted"),
        (("--name", "m", "--labels", "--window", 2), "--window has no effect on images"),
        (("--name", "m", "--take", "a"), "--take has no effect on images"),
        (("--name", "m", "--kind", "audio", "--local"), "--local has no effect on sound"),
        (("--name", "m", "--input", "image:8x8", "--size", "8x8"), "--size is in the description that --input gives"),
        (("--improve", "m", "--dry-run"), "--dry-run is for a first fit"),
        (("--name", "m", "--force"), "--force is for --improve"),
        (("--improve", "m", "--labels"), "--labels was decided when the model was fitted"),
    ],
)
def test_options_without_effect_are_refused(folder: Path, options: tuple[object, ...], message: str) -> None:
    result = tried(folder, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_an_interrupted_run_publishes_nothing(folder: Path, tmp_path: Path) -> None:
    command = [str(AVIZOR), "fit", str(folder), "--labels", "--name", "m", "--models", str(tmp_path / "models")]
    with WarmPopen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.startswith("train: step") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        assert "stopped: nothing was published" in process.stderr.read()
        assert process.wait() == 130
    assert not (tmp_path / "models").exists()


def test_a_folder_of_sounds_becomes_a_classifier(tmp_path: Path) -> None:
    sounds, models = write_sounds(tmp_path / "sounds", 30), tmp_path / "models"
    printed = run(sounds, "--labels", "--name", "pitches", "--models", models, "--steps", 80)
    assert "sample rate  4000 Hz" in printed
    version = ModelRepository(models).version("pitches")
    assert version.manifest.labels == ("high", "low", "mid")
    assert accuracy(version, write_sounds(tmp_path / "other", 10, seed=9)) >= 0.9


def write_signals(folder: Path, count: int, seed: int = 0) -> Path:
    """Signals of two channels: in `even` they rise together, in `odd` one falls as the other one rises."""
    random = np.random.default_rng(seed)
    for name, sign in (("even", 1), ("odd", -1)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            first = random.normal(0, 1, 300).cumsum()
            second = sign * first + random.normal(0, 0.5, 300)
            np.save(folder / name / f"{number}.npy", np.stack([first, second]).astype(np.float32))
    return folder


@pytest.mark.slow
def test_a_folder_of_signals_becomes_a_classifier(tmp_path: Path) -> None:
    signals, models = write_signals(tmp_path / "signals", 60), tmp_path / "models"
    run(signals, "--labels", "--name", "signs", "--models", models, "--steps", 400)
    assert accuracy(ModelRepository(models).version("signs"), write_signals(tmp_path / "other", 20, seed=9)) >= 0.9


@pytest.mark.slow
def test_a_table_with_a_column_of_labels_becomes_a_classifier(tmp_path: Path) -> None:
    random, models = np.random.default_rng(0), tmp_path / "models"
    x, kind = random.normal(0, 1, 400), random.choice(["a", "b"], 400)
    labels = np.where((x > 0) == (kind == "a"), "same", "other")
    lines = [f"{value:.3f},{name},{label}" for value, name, label in zip(x, kind, labels, strict=True)]
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(["x,kind,label", *lines]))
    printed = run(table, "--labels", "--name", "rows", "--models", models, "--steps", 600)
    assert "label column  label" in printed
    version = ModelRepository(models).version("rows")
    assert version.manifest.input.column_names() == ("x", "kind")
    assert version.manifest.labels == ("other", "same")
    assert isinstance(reached := version.manifest.evaluation["accuracy"], float)
    assert reached >= 0.9


@pytest.mark.slow  # minutes
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_an_architecture_is_taken_instead(folder: Path, tmp_path: Path, architecture: str) -> None:
    models = tmp_path / "models"
    size, steps = SIZES.get(architecture, ("64x64", 120))
    options = ("--architecture", architecture, "--size", size, "--steps", steps)
    run(folder, "--labels", "--name", "m", "--models", models, *options)
    version = ModelRepository(models).version("m")
    assert accuracy(version, folder) > 0.6
    assert read_kept(version).record["design"] == {"name": architecture, "settings": {}}


@pytest.mark.slow
def test_weights_of_torchvision_are_where_a_training_begins(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    published, models = resnet34().state_dict(), tmp_path / "models"
    torch.save(published, tmp_path / "resnet34.pth")
    options = ("--architecture", "resnet34", "--weights", tmp_path / "resnet34.pth", "--steps", 1)
    printed = run(folder, "--labels", "--name", "m", "--models", models, *options)
    assert "size 224 x 224 because torchvision's weights of resnet34 were trained so" in " ".join(printed.split())
    version = ModelRepository(models).version("m")
    assert version.manifest.input.tensor_spec.item_shape == (224, 224, 3)
    kept = read_kept(version).tensors
    shared = [
        name for name in kept if name in published and kept[name].shape == published[name].shape and name.endswith("weight")
    ]
    assert len(shared) == len([name for name in published if name.endswith("weight")]) - 1, "all but the last layer"
    assert all(torch.allclose(kept[name], published[name], atol=2e-3) for name in shared), "one step from where they were"
