"""`avizor explain --gateway`: the same numbers and the same pictures as with the gateway's own engine and repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from integration.gateway import Gateway, gateway, normal, odd, png
from support.tables import transfers

from avizor_cli.main import avizor
from avizor_inference.errors import AvizorError

TOKEN = "s3cret-token"


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    folder.joinpath("seven.png").write_bytes(png(np.random.default_rng(7).integers(0, 256, (40, 30), np.uint8)))
    folder.joinpath("fan.wav").write_bytes(normal())
    folder.joinpath("odd.wav").write_bytes(odd())
    folder.joinpath("rows.csv").write_text("amount,hour,country\n120.5,3,FR\n99,5,ES\n")
    np.save(folder / "rows.npy", transfers(3))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(avizor, ["explain", *map(str, arguments)], catch_exceptions=True)


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def same_files(here: Path, there: Path) -> None:
    names = sorted(path.name for path in here.iterdir())
    assert names == sorted(path.name for path in there.iterdir())
    for name in names:
        if name.endswith(".png"):
            assert (here / name).read_bytes()[:4] == (there / name).read_bytes()[:4] == b"\x89PNG"
            continue
        own, answered = np.load(here / name), np.load(there / name)
        assert sorted(own.files) == sorted(answered.files)
        for key in set(own.files) - {"about", "labels"}:
            scale = float(np.abs(own[key]).max())
            np.testing.assert_allclose(answered[key], own[key], atol=1e-4 * scale)
        about, of_gateway = (json.loads(str(each["about"])) for each in (own, answered))
        assert about.pop("target_value") == pytest.approx(of_gateway.pop("target_value"), rel=1e-4)
        if "probability" in about["settings"]:
            assert abs(float(about["settings"].pop("probability")) - float(of_gateway["settings"].pop("probability"))) < 1e-3
        assert about == of_gateway


def test_a_gateway_writes_the_files_that_its_engine_and_repository_write(
    served: Gateway, models: Path, items: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    is_triton = request.node.callspec.params["served"] == "triton"
    engine = ("--engine", f"triton://{request.getfixturevalue('triton_address')}") if is_triton else ()
    here, there = tmp_path / "here", tmp_path / "there"
    commands: list[tuple[object, ...]] = [
        ("cam", "digits", items / "seven.png"),
        ("cam", "kinds", items / "odd.wav", "--class", "high"),
        ("occlusion", "digits", items / "seven.png", "--class", "3", "--size", "8x4", "--stride", "4", "--fill", "black"),
        ("occlusion", "kinds", items / "fan.wav", "--by", "both", "--window", "2"),
        ("occlusion", "transfers", items / "rows.csv", "--row", "1", "--fill", "missing"),
        ("error-map", "normal", items / "fan.wav", "--window", "1"),
        ("error-map", "normal", items / "odd.wav"),
        ("error-map", "transfers", items / "rows.npy", "--row", "2"),
    ]
    for command in commands:
        at_engine = done(*command, "--models", models, *engine, "--out", here)
        printed = done(*command, "--gateway", served.address, "--out", there)
        assert f"written: {there}" in printed
        for what, number in pairwise(command):
            if what in ("--row", "--window"):
                named = f"{Path(str(command[2])).name}, {str(what)[2:]} {number}: "
                assert (named in at_engine, named in printed) == (True, True)
    same_files(here, there)
    if not is_triton:  # the same engine on the same machine: the pictures are equal to the byte
        for path in here.glob("*.png"):
            assert path.read_bytes() == (there / path.name).read_bytes(), path.name


@pytest.fixture(scope="module")
def guarded(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    tokens = tmp_path_factory.mktemp("secrets") / "tokens"
    tokens.write_text(f'"Bearer {TOKEN}" "tests";\n')
    with gateway(models, "--alpha", 0.05, "--tokens", tokens, "--max-explain-rows", 100) as running:
        yield running, tokens


def test_a_token_is_read_from_a_file_in_either_form(guarded: tuple[Gateway, Path], items: Path, tmp_path: Path) -> None:
    running, tokens = guarded
    alone = tmp_path / "token"
    alone.write_text(f"{TOKEN}\n")
    command = ("cam", "digits", items / "seven.png", "--gateway", running.address, "--out", tmp_path)
    for file in (tokens, alone):
        done(*command, "--token-file", file)
    assert "UNAUTHENTICATED" in str(run(*command).exception)
    alone.write_text("two words\n")
    assert "holds no token" in str(run(*command, "--token-file", alone).exception)
    assert "cannot be read" in str(run(*command, "--token-file", tmp_path / "none").exception)


def test_what_a_gateway_refuses_is_said_in_its_words(guarded: tuple[Gateway, Path], items: Path, tmp_path: Path) -> None:
    running, tokens = guarded
    options = ("--gateway", running.address, "--token-file", tokens, "--out", tmp_path)
    for command, message in (
        (("occlusion", "digits", items / "seven.png"), "INVALID_ARGUMENT: the request would run 226 rows"),
        (("occlusion", "digits", items / "fan.wav", "--size", "16"), "fan.wav: not an image that can be read"),
        (("error-map", "normal", items / "fan.wav", "--window", "9"), "window 9 is asked for, and the item has 3"),
        (("cam", "nothing", items / "seven.png"), "NOT_FOUND"),
        (("error-map", "transfers", items / "rows.csv", "--row", "2"), "has 2 rows, numbered from 0; there is no 2"),
        (("error-map", "transfers", items / "rows.csv"), "has 2 rows, and a gateway explains one; name it with --row N"),
        (("cam", "digits", items / "none.png"), "cannot be read"),
    ):
        failed = run(*command, *options)
        assert isinstance(failed.exception, AvizorError), failed
        assert message in str(failed.exception)


def test_options_of_a_repository_do_not_go_with_a_gateway(items: Path) -> None:
    for option in (("--models", "models"), ("--engine", "ort"), ("--compare",), ("--curves",)):
        failed = run("occlusion", "digits", items / "seven.png", "--gateway", "127.0.0.1:1", *option)
        assert failed.exit_code == 2
        assert f"{option[0]} is for a repository" in failed.output
    failed = run("cam", "digits", items / "seven.png", "--gateway", "127.0.0.1:1", "--timeout-s", "0.5")
    assert str(failed.exception).startswith("no connection to the gateway 127.0.0.1:1: ")


def test_without_the_extra_of_the_client_it_is_said_what_to_install(items: Path) -> None:
    code = "import sys; sys.modules['google.rpc'] = None; from avizor_cli.main import main; main()"
    command = ["explain", "cam", "digits", items / "seven.png", "--gateway", "127.0.0.1:1"]
    failed = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr == "Error: --gateway needs google.rpc, which is not installed; pip install 'avizor[client]'\n"


def test_a_gateway_that_cannot_draw_is_told_with_what_the_command_can_do(models: Path, items: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from avizor_cli.main import main; main()"
    ports = ("--port", "0", "--metrics-port", "0", "--http-port", "0")
    serve = [sys.executable, "-c", code, "serve", "--models", str(models), *ports, "--decoders", "1", "--alpha", "0.05"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as served:
        try:
            assert served.stdout
            address = served.stdout.readline().removeprefix("serving gRPC on ").partition(",")[0]
            failed = run("cam", "digits", items / "seven.png", "--gateway", address, "--out", tmp_path)
        finally:
            served.terminate()
    needs = "pictures need matplotlib, which is not installed where the gateway runs; pip install 'avizor[pictures]' there; "
    refused = f"the gateway {address} answers FAILED_PRECONDITION: {needs}numbers alone need none"
    assert str(failed.exception) == f"{refused}; with --models in place of --gateway it is drawn here"


def test_an_item_that_cannot_be_read_costs_the_others_nothing(
    guarded: tuple[Gateway, Path], models: Path, items: Path, tmp_path: Path
) -> None:
    (bad := tmp_path / "bad.wav").write_bytes(b"no sound")
    gone, served = tmp_path / "gone.wav", ("--gateway", guarded[0].address, "--token-file", guarded[1])
    for where in (("--models", models), served):
        out = tmp_path / where[0]
        result = run("error-map", "normal", items / "fan.wav", bad, gone, items / "odd.wav", *where, "--out", out)
        assert result.exit_code == 3, result.output
        assert {re.split("[.-]", path.name)[0] for path in out.glob("*.png")} == {"fan", "odd"}
        first, second, last = result.stderr.splitlines()
        assert first.startswith(f"Error: {bad}: ")
        assert str(gone) in second
        assert last == "2 of 4 items could not be looked at"
        assert run("error-map", "normal", bad, gone, *where, "--out", out).exit_code == 1
        assert isinstance(run("error-map", "normal", bad, *where, "--out", out).exception, AvizorError)


def test_an_item_that_cannot_be_read_costs_no_other_map_of_any_kind(models: Path, items: Path, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.png").write_bytes(b"no picture")
    hide = ("occlusion", "digits", "--size", "16")
    for command in (("cam", "digits"), hide, (*hide, "--compare")):
        out = tmp_path / "-".join(command)
        result = run(*command, bad, items / "seven.png", "--models", models, "--out", out)
        assert result.exit_code == 3, result.output
        assert result.stderr.splitlines()[0].startswith(f"Error: {bad}: ")
        assert {re.split("[.-]", path.name)[0] for path in out.glob("*.png")} == {"seven"}
