"""`avizor calibrate`, and the calibration that verdicts come from, on engines whose scores differ a little or a lot."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from integration.gateway import AVIZOR, Stub, gateway, normal, odd, refused
from integration.jobs import eventually
from support.sounds import tone, write_wav
from support.warm_starts import warm_run
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor_inference.calibrate_cli import calibrate
from avizor_inference.errors import AvizorError, CalibrationError, VersionRefused
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.trained_items import TRAINED_FILE, trained_file
from avizor_pipeline.request import JobRequest

OPENVINO = 'optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }\n'
# What the score of every item is multiplied by on a server. The probe items allow 2 %, the fixture's calibration 2e-4 or so.
LITTLE, A_LOT = 1 + 1e-6, 1.015


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    """A repository of the autoencoder for sound, to change."""
    shutil.copytree(models / "normal", tmp_path / "models" / "normal")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normal recordings that the calibration of the fixture does not hold, of two sources."""
    folder = tmp_path_factory.mktemp("sounds")
    for source in ("a", "b"):
        for number in range(20):
            write_wav(folder / source / f"{number}.wav", tone(1.1, seed=1000 + number))
    return folder


def version(models: Path) -> ModelVersion:
    return ModelRepository(models).version("normal")


def run(*words: object) -> Result:
    return CliRunner().invoke(calibrate, [str(word) for word in words])


def new_id(result: Result) -> str:
    assert result.exit_code == 0, result.output + str(result.exception)
    return str(re.findall(r"^calibration (\w{12}) ", result.output, re.MULTILINE)[0])


def active(models: Path) -> dict[str, str]:
    return {calibration.kind.key: calibration.id for calibration in version(models).calibrations()}


def test_sounds_in_a_column_or_a_list_give_the_scores_of_their_folder(own: Path, sounds: Path, tmp_path: Path) -> None:
    files = sorted(sounds.rglob("*.wav"))
    table = pa.table({"sound": [path.read_bytes() for path in files], "from": [path.parent.name for path in files]})
    pyarrow.parquet.write_table(table, tmp_path / "sounds.parquet")
    (tmp_path / "list.csv").write_text("file\n" + "".join(f"{path}\n" for path in files))
    ids = [
        new_id(run("normal", "--models", own, "--data", *data))
        for data in (
            [sounds],
            [sounds / "*" / "*.wav"],
            [tmp_path / "sounds.parquet", "--bytes-column", "sound", "--source-column", "from"],
            [tmp_path / "list.csv", "--path-column", "file"],
        )
    ]
    first, *others = [version(own).calibration(each).sources for each in ids]
    assert others == [first] * 3
    for wrong, message in (
        ((sounds, "--path-column", "file"), "names a column of a table that lists files"),
        ((tmp_path / "list.csv", "--bytes-column", "sound"), "names a column of Parquet files"),
        ((sounds, "--channels", "left"), "give each, mix, or the number of a channel"),
    ):
        refused = run("normal", "--models", own, "--data", *wrong)
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())


def test_the_first_files_of_a_list_on_standard_input_calibrate(own: Path, sounds: Path) -> None:
    files = sorted(sounds.rglob("*.wav"))
    words = ["normal", "--models", str(own), "--data", "-", "--limit", "25"]
    stored = CliRunner().invoke(calibrate, words, input="".join(f"{path}\n" for path in files))
    new_id(stored)
    assert "25 normal items (a 20, b 5)" in stored.output
    refused = run("normal", "--models", own, "--rollback", "--limit", "25")
    assert "Invalid value for --limit: is about the data" in " ".join(refused.output.split())


def test_a_calibration_that_lacks_sources_of_the_active_one_says_what_becomes_of_them(
    own: Path, sounds: Path, tmp_path: Path
) -> None:
    shutil.copytree(sounds / "a", tmp_path / "now" / "a")
    both = run("normal", "--models", own, "--data", sounds, "--activate")
    lost = "have no items here"
    assert lost not in both.output
    one = run("normal", "--models", own, "--data", tmp_path / "now")
    assert f"Warning: sources of {new_id(both)} have no items here (b): once this calibration is active" in one.output
    flat = run("normal", "--models", own, "--data", sounds / "a", "--activate")
    assert "have no items here (a, b)" in flat.output
    assert lost not in run("normal", "--models", own, "--data", sounds).output


@contextmanager
def server(install: TritonInstall, models: Path, folder: Path, factor: float, accelerator: str = OPENVINO) -> Iterator[str]:
    """A Triton on hardware of another kind, whose outputs are `factor` times those of the graph; yields its engine name."""
    shutil.copytree(models, folder)
    config = folder / "normal" / "config.pbtxt"
    factor_parameter = f'parameters {{ key: "test_factor", value: {{ string_value: "{factor!r}" }} }}\n'
    config.write_text(config.read_text() + factor_parameter + accelerator)
    with TritonServer(install, folder) as running:
        yield f"triton://{running.grpc_url}"


def ask(models: Path, engine: str, *items: bytes) -> pb.DetectAnomalyResponse:
    with gateway(models, "--engine", engine, "--alpha", 0.05) as running, grpc.insecure_channel(running.address) as channel:
        request = pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=item, source="a") for item in items])
        answer: pb.DetectAnomalyResponse = Stub(channel).DetectAnomaly(request)
        return answer


def test_a_new_calibration_is_stored_then_activated_then_rolled_back(own: Path, sounds: Path) -> None:
    first = active(own)["onnxruntime-cpu/fp32"]
    stored = run("normal", "--data", sounds, "--models", own)
    second = new_id(stored)
    assert "calibration " + second + " for onnxruntime-cpu in fp32: 40 normal items (a 20, b 20)" in stored.output
    assert re.search(rf"^{first}( +[\d.e-]+){{5}}\n{second}( +[\d.e-]+){{5}}$", stored.output, re.MULTILINE)
    assert "the false-alarm rate is promised from alpha 0.048 on" in stored.output
    assert active(own) == {"onnxruntime-cpu/fp32": first}
    command = re.findall(r"not active yet; to use it: avizor calibrate (.*)", stored.output)[0]
    activated = run(*command.split())
    assert activated.exit_code == 0, activated.output
    assert "a gateway uses it after its next look at the repository" in activated.output
    assert active(own) == {"onnxruntime-cpu/fp32": second}
    third = new_id(run("normal", "--data", sounds, "--models", own, "--activate"))
    assert active(own) == {"onnxruntime-cpu/fp32": third}
    for before in (second, first):
        assert f"{before} again" in run("normal", "--rollback", "--models", own).output
        assert active(own) == {"onnxruntime-cpu/fp32": before}
    refusal = run("normal", "--rollback", "--models", own)
    assert isinstance(refusal.exception, CalibrationError)
    assert str(refusal.exception).startswith("no earlier calibration for onnxruntime-cpu in fp32 to go back to")
    assert version(own).calibration_ids() == sorted([first, second, third])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one of --data, --from-review, --activate-id and --rollback"),
        (("--rollback", "--data", "x"), "give one of --data, --from-review, --activate-id and --rollback"),
        (("--rollback", "--activate"), "goes with --data"),
        (("--activate-id", "0" * 12), "has no calibration '000000000000'; stored: "),
        (("--activate-id", "../../x"), "has no calibration '../../x'; stored: "),
        (("--data", "nowhere"), "nowhere does not exist"),
        (("--data", "nowhere", "--version", "7"), "no version 7"),
        (("--data", "nowhere", "--engine", "tensorrt"), "engine 'tensorrt' is not known"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(own: Path, words: tuple[str, ...], message: str) -> None:
    before = sorted(own.rglob("*"))
    result = run("normal", "--models", own, *words)
    assert result.exit_code in (1, 2)
    assert message in result.output + str(result.exception)
    assert result.exit_code == 2 or isinstance(result.exception, AvizorError)
    assert sorted(own.rglob("*")) == before


def test_a_broken_active_calibration_does_not_stop_a_new_one(own: Path, sounds: Path) -> None:
    """What else refuses such a file tells to calibrate, which this command does."""
    broken = version(own).folder / "calibrations" / f"{version(own).calibrations()[0].id}.json"
    broken.write_text("{}")
    result = run("normal", "--data", sounds, "--models", own, "--activate")
    assert new_id(result) in active(own).values()
    assert f"are not shown beside the new ones; `avizor models check normal --models {own}` says why" in result.output
    assert "calibrate the model again" not in result.output


def test_items_of_a_npy_file_are_recordings_of_one_window_and_options_for_sources_go_with_their_data(
    own: Path, tmp_path: Path
) -> None:
    spec = version(own).manifest.input.tensor()
    np.save(tmp_path / "items.npy", np.random.default_rng(0).normal(0, 0.1, (20, *spec.item_shape)).astype(np.float32))
    result = run("normal", "--data", tmp_path / "items.npy", "--models", own)
    assert new_id(result)
    assert "counts as a recording of one window; calibrate with a folder of sound to judge longer" in result.output
    refused = run("normal", "--data", tmp_path / "items.npy", "--models", own, "--source-pattern", "(.)")
    assert "is searched in the paths of a folder's files, and --data is one file" in " ".join(refused.output.split())


def test_the_command_never_loads_torch(own: Path, sounds: Path) -> None:
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "onnxscript", "avizor_export", "pyarrow"):
            raise ImportError(f"{name} was asked for")
sys.meta_path.insert(0, Refuse())
from avizor_inference.calibrate_cli import calibrate
calibrate()
"""
    words = ["normal", "--data", sounds, "--models", own, "--activate"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "40 normal items" in result.stdout


def test_a_model_of_fit_is_calibrated_with_a_note_on_the_items_that_it_trained_with(own: Path, sounds: Path) -> None:
    """`avizor calibrate NAME --data FOLDER`, with the folder of the fit, would flag far more than alpha."""
    calibrated = run("normal", "--data", sounds, "--models", own)
    assert "avizor fit" not in calibrated.stderr
    path = own / "normal" / "1" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["provenance"]["factory"] = "avizor fit"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    calibrated = run("normal", "--data", sounds, "--models", own)
    assert calibrated.exit_code == 0, calibrated.output
    note = "normal is of `avizor fit`: the items that it trained with may not be among these"
    assert note in calibrated.stderr
    trained = list(read_recordings(sounds / "a", version(own).manifest.input, SourceRule()))
    (own / "normal" / "1" / TRAINED_FILE).write_bytes(trained_file({item.digest for item in trained[:5]}))
    calibrated = run("normal", "--data", sounds, "--models", own)
    assert note not in calibrated.stderr
    assert "10 of 40 items are left out: the model was trained with them" in calibrated.stdout  # `b` has copies of them
    calibrated = run("normal", "--data", sounds, "--models", own, "--channels", "mix")
    assert note in calibrated.stderr  # of several channels, a mixture is not known again
    (own / "normal" / "1" / TRAINED_FILE).write_bytes(b"no")
    with pytest.raises(VersionRefused, match=f"{TRAINED_FILE}.* cannot be read"):
        CliRunner().invoke(
            calibrate, ["normal", "--data", str(sounds), "--models", str(own)], catch_exceptions=False, standalone_mode=False
        )


def test_two_commands_at_once_are_both_kept(own: Path, sounds: Path) -> None:
    code = "from avizor_inference.calibrate_cli import calibrate; calibrate()"
    words = [sys.executable, "-c", code, "normal", "--data", str(sounds / "a"), "--models", str(own), "--activate"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ids = [re.findall(r"^calibration (\w{12}) ", each.communicate(timeout=120)[0], re.MULTILINE)[0] for each in both]
    histories = json.loads((own / "normal" / "1" / "calibrations" / "active.json").read_text())["histories"]
    assert set(histories["onnxruntime-cpu/fp32"][-2:]) == set(ids)


def test_a_server_that_answers_a_little_differently_uses_the_calibration_of_export(
    own: Path, tmp_path: Path, triton_install: TritonInstall
) -> None:
    exported = active(own)["onnxruntime-cpu/fp32"]
    with server(triton_install, own, tmp_path / "served", LITTLE) as engine:
        answer = ask(own, engine, normal(), odd())
        job = JobRequest(("data",), ("normal",), own, engine=engine, alpha=0.05).to_settings()
    assert answer.calibration_id == exported
    assert [item.is_anomaly for item in answer.items] == [False, True]
    assert job.models[0].calibration_id == exported


def test_a_server_that_answers_a_lot_differently_is_refused_until_the_command_that_the_refusal_names_was_run(
    own: Path, sounds: Path, tmp_path: Path, triton_install: TritonInstall
) -> None:
    exported = active(own)["onnxruntime-cpu/fp32"]
    with server(triton_install, own, tmp_path / "served", A_LOT) as engine:
        with pytest.raises(grpc.RpcError) as caught:
            ask(own, engine, normal())
        code, message = refused(caught.value)
        assert code == "FAILED_PRECONDITION"
        assert "runs on openvino in fp32 without a calibration for it: " in message
        assert f"calibration {exported} is for onnxruntime-cpu in fp32, and roots of the scores" in message
        command = message.partition("Calibrate it there with normal items: avizor calibrate ")[2]
        assert command == f"normal --data DIR --models {own} --version 1 --engine {engine} --activate"
        with pytest.raises(CalibrationError, match="avizor calibrate normal --data DIR"):
            JobRequest(("data",), ("normal",), own, engine=engine).to_settings()
        made = new_id(run(*command.replace("DIR", str(sounds)).split()))
        assert active(own) == {"onnxruntime-cpu/fp32": exported, "openvino/fp32": made}
        answer = ask(own, engine, normal(), odd())
        assert answer.calibration_id == made
        assert [item.is_anomaly for item in answer.items] == [False, True]
        assert JobRequest(("data",), ("normal",), own, engine=engine).to_settings().models[0].calibration_id == made
    assert ask(own, "ort", normal()).calibration_id == exported, "the embedded engine keeps its own"


@pytest.mark.slow  # starts a Triton of its own
def test_the_same_class_of_engine_is_compared_too(own: Path, tmp_path: Path, triton_install: TritonInstall) -> None:
    """Another processor, or another release of ONNX Runtime, is of the same class."""
    with (
        server(triton_install, own, tmp_path / "served", A_LOT, accelerator="") as engine,
        pytest.raises(CalibrationError, match="runs on onnxruntime-cpu in fp32 without a calibration for it"),
    ):
        JobRequest(("data",), ("normal",), own, engine=engine).to_settings()


def test_a_running_gateway_takes_the_calibration_that_it_lacked(own: Path, sounds: Path, tmp_path: Path) -> None:
    shutil.rmtree(own / "normal" / "1" / "calibrations")
    request = pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=normal(), source="a")])
    log = tmp_path / "log"
    with gateway(own, "--alpha", 0.05, "--scan-s", 0, log=log) as running, grpc.insecure_channel(running.address) as channel:
        stub = Stub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.DetectAnomaly(request)
        assert f"make one of normal items: avizor calibrate normal --data DIR --models {own}" in caught.value.details()
        made = new_id(run("normal", "--data", sounds, "--models", own, "--activate"))
        assert stub.DetectAnomaly(request).calibration_id == made
        later = new_id(run("normal", "--data", sounds, "--models", own, "--activate"))
        assert stub.DetectAnomaly(request).calibration_id == made, "a gateway keeps the calibration that it judges with"
        model = stub.GetModel(pb.GetModelRequest(name="normal"))
        assert (model.calibration.id, model.calibration.engine_class, model.calibration.precision) == (
            made, "onnxruntime-cpu", "fp32",
        )  # fmt: skip
        assert [calibration.id for calibration in model.calibrations] == [made], "and says so"
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: stub.DetectAnomaly(request).calibration_id == later)
        assert eventually(lambda: log.read_text().count(f"model 'normal': calibration {later} judges from now on") == 1)


def test_a_resumed_job_keeps_the_calibration_that_it_began_with(own: Path, sounds: Path, tmp_path: Path) -> None:
    first = active(own)["onnxruntime-cpu/fp32"]
    words = [AVIZOR, "batch", sounds / "a", "--models", own, "--model", "normal", "--alpha", "0.05", "--out"]
    command = list(map(str, words))
    warm_run([*command, str(tmp_path / "out")]).check_returncode()
    second = new_id(run("normal", "--data", sounds, "--models", own, "--activate"))

    def told(out: Path) -> str:
        result = warm_run([*command, str(out), "--dry-run"])
        result.check_returncode()
        return str(result.stdout)

    assert f"1 shard finished\n  normal version 1, calibration {first}" in told(tmp_path / "out")
    assert f"normal version 1, calibration {second}" in told(tmp_path / "other")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "windows")
    assert set(table["calibration_id"].to_pylist()) == {first}


def test_a_full_disk_loses_nothing(own: Path, sounds: Path) -> None:
    before = sorted(own.rglob("*"))
    code = """
import resource
from avizor_inference.calibrate_cli import calibrate
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
calibrate()
"""
    words = ["normal", "--data", sounds / "a", "--models", own, "--activate"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "OSError" in result.stderr
    assert sorted(own.rglob("*")) == before


def test_a_pattern_and_a_list_hold_the_normal_items_of_their_folder(own: Path, sounds: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in sorted(sounds.rglob("*.wav"))))
    found = [
        version(own).calibration(new_id(run("normal", "--data", data, "--models", own)))
        for data in (sounds, sounds / "**" / "*.wav", tmp_path / "list.txt")
    ]
    assert [len(scores) for scores in found[0].sources.values()] == [20, 20]
    assert found[0].sources == found[1].sources == found[2].sources
