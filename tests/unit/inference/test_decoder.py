"""explain/decoder.py and latent.py: the decoder that is cut out of an autoencoder's graph, and the sheet that it draws."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx.parser
import pytest
from click.testing import CliRunner
from PIL import Image

from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.ort_session import open_session
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.cli import explain
from avizor_inference.explain.decoder import cut_decoder
from avizor_inference.explain.latent import latent_sheet, read_some
from avizor_inference.items.kinds.image import ImageInput
from avizor_inference.repository.models import ModelRepository

_HEAD = """<ir_version: 10, opset_import: ["" : 18]>
graph (float[batch, 4] x) => (float[batch, 2] embedding, float[batch, 4] reconstruction)
<float[4, 2] down = {1, 0, 0, 1, 1, 0, 0, 1}, float[2, 4] up = {1, 2, 3, 4, 5, 6, 7, 8}, int64[3] form = {-1, 1, 2},
 int64[2] flat = {-1, 2}> """
_PLAIN = "{ embedding = MatMul(x, down) hidden = MatMul(embedding, up) reconstruction = Relu(hidden) }"
_OTHER_FORM = """{ z = MatMul(x, down) map = Reshape(z, form) embedding = Reshape(map, flat) back = Reshape(map, flat)
 reconstruction = MatMul(back, up) }"""
_SKIP = "{ embedding = MatMul(x, down) hidden = MatMul(embedding, up) reconstruction = Add(hidden, x) }"
_LATE_SKIP = """{ early = Relu(x) embedding = MatMul(early, down) hidden = MatMul(embedding, up)
 merged = Add(hidden, early) reconstruction = Relu(merged) }"""
_ASIDE = "{ embedding = MatMul(x, down) hidden = Relu(x) reconstruction = Relu(hidden) }"
_SIZE = """{ embedding = MatMul(x, down) size = Shape(x) hidden = MatMul(embedding, up)
 reconstruction = Reshape(hidden, size) }"""


def _graph(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(_HEAD + body)


@pytest.mark.parametrize("body", [_PLAIN, _OTHER_FORM])
def test_the_decoder_computes_what_the_model_does(body: str) -> None:
    model = _graph(body)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    whole = open_session(model.SerializeToString(), "the model").run(["embedding", "reconstruction"], {"x": x})
    decoder = open_session(cut_decoder(model).SerializeToString(), "the decoder")
    np.testing.assert_allclose(decoder.run(None, {"embedding": whole[0]})[0], whole[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_SKIP, r"its Add node 'reconstruction' takes a value of before it \('x'\).* as a skip connection does"),
        (_LATE_SKIP, r"its Add node 'merged' takes a value of before it \('early'\)"),
        (_ASIDE, r"computed from the input 'x' without 'embedding'"),
        (_SIZE, r"its Reshape node 'reconstruction' takes the size of the input \('size'\)"),
    ],
)
def test_a_graph_with_another_way_is_refused_with_that_way(body: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        cut_decoder(_graph(body))


def test_a_classifier_is_refused() -> None:
    model = _graph(_PLAIN)
    del model.graph.output[1]
    with pytest.raises(InvalidInput, match="no output 'reconstruction'"):
        cut_decoder(model)


def test_a_sheet_has_the_mean_in_its_middle_and_follows_the_directions(models: Path) -> None:
    version = ModelRepository(models).version("normal")
    rows = np.random.default_rng(0).uniform(-0.5, 0.5, (12, 4096)).astype(np.float32)
    with EmbeddedEngine(ModelRepository(models)) as engine:
        sheet = latent_sheet(engine, version, rows, 3)
        with pytest.raises(InvalidInput, match="equal"):
            latent_sheet(engine, version, np.zeros_like(rows), 3)
    assert sheet.embeddings.shape[:2] == sheet.reconstructions.shape[:2] == (3, 3)
    np.testing.assert_allclose(sheet.embeddings.mean(axis=(0, 1)), sheet.embeddings[1, 1], rtol=1e-6)
    across, up = sheet.embeddings[1, 2] - sheet.embeddings[1, 1], sheet.embeddings[2, 1] - sheet.embeddings[1, 1]
    assert abs(across @ up) < 1e-6 * np.linalg.norm(across) * np.linalg.norm(up)
    assert sheet.shares[0] >= sheet.shares[1] > 0


def test_the_command_writes_the_picture_and_its_numbers(models: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).uniform(-0.5, 0.5, (12, 4096)).astype(np.float32))
    arguments = [
        "latent",
        "normal",
        "--models",
        models,
        "--data",
        tmp_path / "rows.npy",
        "--size",
        3,
        "--out",
        tmp_path / "out",
    ]
    result = CliRunner().invoke(explain, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/normal-latent.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "out/normal-latent.npz") as file:
        assert file["reconstructions"].shape[:2] == (3, 3)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ("stretch", "stretched to 8 x 8 pixels from other proportions: {0}/1.png, {0}/2.png, {0}/3.png and 1 more"),
        ("letterbox", ""),
    ],
)
def test_pictures_that_lose_their_proportions_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fit: Literal["stretch", "letterbox"], said: str
) -> None:
    for number, size in enumerate([(16, 16), (20, 30), (8, 16), (9, 8), (30, 2)]):
        Image.new("L", size, 200).save(tmp_path / f"{number}.png")
    spec = ImageInput(height=8, width=8, channels=1, fit=fit)
    assert read_some(tmp_path, spec, "each").shape == (5, 8, 8, 1)
    wanted = [f"{tmp_path}: {said.format(tmp_path)}"] if said else []
    assert [record.getMessage() for record in caplog.records] == wanted
