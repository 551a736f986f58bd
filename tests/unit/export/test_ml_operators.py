"""networks/ml_operators.py: pipelines of scikit-learn, as skl2onnx converts them, return what scikit-learn returns."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from avizor_export.description.table import layer_table
from avizor_export.description.targets import layers_of_file
from avizor_export.exporter import adopt_model
from avizor_export.graph.output_options import OutputOptions
from avizor_export.networks.input_description import parse_input
from avizor_export.networks.ml_operators import labels_of_file, missing_warning
from avizor_export.networks.onnx_adoption import adopt, own_input
from avizor_export.networks.onnx_files import in_contract_version, load_onnx
from avizor_export.parity.compare import compare_runs, onnxruntime_run
from avizor_export.parity.finite_front_end import refuse_front_end
from avizor_export.parity.probe_items import items_by_kind
from avizor_export.parity.references import reference_of
from avizor_export.parity.soundness import run_reference
from avizor_export.request import ExportRequest
from avizor_inference.checks.check_version import check_model
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.onnx_graph import ML_DOMAIN

COLUMNS = "table:columns=a/b/c/d"


@cache
def iris(classes: int) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    items, labels = load_iris(return_X_y=True)
    kept = labels < classes
    return np.array(items[kept], np.float32), np.array(["setosa", "versicolor", "virginica"])[labels[kept]]


MODELS: dict[str, Any] = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "normalised": lambda: make_pipeline(Normalizer(), LogisticRegression()),
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "boosted trees": lambda: HistGradientBoostingClassifier(max_iter=3),
    "neighbours": lambda: KNeighborsClassifier(3),
    "bayes": GaussianNB,
    "svm": lambda: make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)),
    "layers": lambda: make_pipeline(MinMaxScaler(), MLPClassifier(random_state=0, max_iter=30)),
}


def fitted(name: str, classes: int) -> Any:
    items, labels = iris(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a network has not converged
        return MODELS[name]().fit(items, labels)


def saved(model: Any, folder: Path, **options: Any) -> Path:
    path = folder / "m.onnx"
    onnx.save(to_onnx(model, iris(3)[0][:1], target_opset=18, **options), path)
    return path


def probabilities(proto: onnx.ModelProto, items: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(onnxruntime_run(proto)(items)["probabilities"], np.float32)


@pytest.mark.parametrize(("classes", "zipmap"), [(2, True), (3, False)])
@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_returns_the_probabilities_of_scikit_learn(tmp_path: Path, name: str, classes: int, zipmap: bool) -> None:
    """By default skl2onnx ends a graph in a ZipMap, a list of dictionaries, which no server returns."""
    model, (items, _) = fitted(name, classes), iris(classes)
    path = saved(model, tmp_path, options={"zipmap": zipmap})
    assert ("ZipMap" in {node.op_type for node in onnx.load(path).graph.node}) is zipmap
    adopted = adopt(path, None, "classify", real=items)
    spec, proto = adopted.input, adopted.proto
    assert isinstance(spec, TensorInput)
    found = probabilities(proto, items)
    np.testing.assert_allclose(found, model.predict_proba(items), atol=2e-5)
    if zipmap or name not in ("bayes", "neighbours", "layers"):  # without a ZipMap these keep no names
        assert list(labels_of_file(path, None, None) or ()) == list(model.classes_)
    reference = reference_of(proto, items[:2])
    assert reference.name.startswith("unoptimised" if name == "svm" else "the reference evaluator")
    assert compare_runs(reference.run, onnxruntime_run(proto), spec, items, reference.name).passed


def test_a_forest_takes_rows_of_a_table_and_gets_its_labels_from_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, (items, labels) = fitted("forest", 3), iris(3)
    path = saved(model, tmp_path, options={"zipmap": False})
    request = ExportRequest("iris", "classify", parse_input(COLUMNS), real_items=items, serving={"target": "gpu"})
    version = adopt_model(path, request, tmp_path / "models")
    assert version.manifest.labels == ("setosa", "versicolor", "virginica")
    assert version.manifest.input.tensor().name == "record"
    assert version.manifest.provenance.parameters > 0
    assert check_model(ModelRepository(tmp_path / "models"), "iris") == []
    assert {entry.domain for entry in onnx.load(version.model_path).opset_import} == {"", ML_DOMAIN}
    found = probabilities(onnx.load(version.model_path), items)
    assert np.mean(found.argmax(axis=1) == [list(model.classes_).index(label) for label in labels]) > 0.95
    np.testing.assert_allclose(found, model.predict_proba(items), atol=1e-6)
    assert "operators of ai.onnx.ml run on the CPU, also with the target gpu" in caplog.text


def with_gaps() -> NDArray[np.float32]:
    items = iris(3)[0].copy()
    items[np.random.default_rng(0).uniform(size=items.shape) < 0.15] = np.nan
    return items


def test_missing_values_are_left_to_a_pipeline_that_handles_them(tmp_path: Path) -> None:
    items = with_gaps()
    model = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500)).fit(items, iris(3)[1])
    proto = adopt(saved(model, tmp_path), parse_input(f"{COLUMNS},fill=none"), "classify").proto
    np.testing.assert_allclose(probabilities(proto, items), model.predict_proba(items), atol=2e-5)


@pytest.mark.parametrize(
    ("model", "handles"),
    [
        (HistGradientBoostingClassifier(max_iter=3), True),
        (make_pipeline(SimpleImputer(), GaussianNB()), True),
        (make_pipeline(StandardScaler(), GaussianNB()), False),
    ],
)
def test_a_pipeline_that_handles_missing_values_and_does_not_see_them_gets_a_warning(
    tmp_path: Path, model: Any, handles: bool
) -> None:
    items = with_gaps() if handles else iris(3)[0]
    path = saved(model.fit(items, iris(3)[1]), tmp_path)
    proto = in_contract_version(load_onnx(path), path)
    warning = missing_warning(proto, parse_input(COLUMNS))
    assert (warning is not None and "handles missing values itself, and does not see them" in warning) is handles
    assert missing_warning(proto, parse_input(f"{COLUMNS},fill=none")) is None


def test_a_network_that_cannot_take_nan_is_refused_without_a_fill() -> None:
    spec = parse_input(f"{COLUMNS},fill=none")
    refuse_front_end(spec, None)  # NaN is meant to leave it
    with pytest.raises(ExportError, match=r"not finite on missing, batch of 1; look for NaN that reaches a network"):
        run_reference(lambda rows: {"probabilities": rows}, items_by_kind(spec, None)["missing"], "missing")


def test_labels_that_contradict_the_names_in_the_file_are_refused(tmp_path: Path) -> None:
    path = saved(fitted("logistic regression", 3), tmp_path)
    swapped = ["versicolor", "setosa", "virginica"]
    with pytest.raises(ExportError, match=r"are setosa, versicolor, virginica, in this order, and --labels has versicolor"):
        labels_of_file(path, swapped, None)
    numbered = LogisticRegression().fit(iris(3)[0], [0] * 50 + [1] * 50 + [2] * 50)
    assert labels_of_file(saved(numbered, tmp_path), swapped, None) == swapped  # numbers are no names
    assert labels_of_file(saved(numbered, tmp_path), None, None) == ("0", "1", "2")


def test_the_margins_of_an_svm_are_published_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, items = LinearSVC().fit(*iris(3)), iris(3)[0]
    proto = adopt(saved(model, tmp_path), None, "classify").proto
    found = probabilities(proto, items)
    assert (np.array(model.classes_)[found.argmax(axis=1)] == model.predict(items)).all()
    assert "probabilities holds scores and not probabilities" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_several_labels_at_once_are_seen_by_their_sigmoid(tmp_path: Path) -> None:
    items, labels = iris(3)
    several = np.stack([labels == "setosa", items[:, 0] > 6], axis=1).astype(int)
    model = MLPClassifier((4,), max_iter=5).fit(items, several)
    adopted = adopt(saved(model, tmp_path, options={"zipmap": False}), None, "classify")
    assert adopted.head is not None
    assert adopted.head.activation == "sigmoid"
    # The converter returns 1 - p of each label, then p of each.
    expected = model.predict_proba(items)
    np.testing.assert_allclose(probabilities(adopted.proto, items), np.hstack([1 - expected, expected]), atol=2e-5)


def test_several_labels_of_one_operator_need_a_sigmoid_to_be_named(tmp_path: Path) -> None:
    items, labels = iris(3)
    path = saved(RandomForestClassifier(3, max_depth=2).fit(items, labels), tmp_path, options={"zipmap": False})
    model = onnx.load(path)
    (trees,) = (node for node in model.graph.node if node.op_type.startswith("TreeEnsemble"))
    for attribute in trees.attribute:
        if attribute.name == "class_weights":
            attribute.floats[:] = [weight / 2 for weight in attribute.floats]
    onnx.save(model, path)
    with pytest.raises(
        ExportError, match=r"that do not sum to 1 for an item, .*: several classes may be right.*--activation sigmoid"
    ):
        adopt(path, None, "classify")
    adopted = adopt(path, None, "classify", OutputOptions(activation="sigmoid"))
    assert adopted.head is not None
    assert (adopted.head.activation, adopted.head.is_given) == ("sigmoid", True)


def test_the_output_with_the_label_is_refused(tmp_path: Path) -> None:
    path = saved(fitted("forest", 3), tmp_path)
    with pytest.raises(ExportError, match=r"'output_label' holds labels or maps, .* \(output_probability\) with --output"):
        adopt(path, None, "classify", OutputOptions(output="output_label"))


@pytest.mark.parametrize("kind", ["float", "string"])
def test_columns_as_separate_inputs_are_refused_with_the_converters_option(tmp_path: Path, kind: str) -> None:
    def one() -> Any:
        return FloatTensorType([None, 2]) if kind == "float" else StringTensorType([None, 1])

    from sklearn.preprocessing import OneHotEncoder

    if kind == "float":
        model, types = fitted("logistic regression", 3), [("a", one()), ("b", one())]
        message = r"has 2 inputs, and a model of Avizor has one; convert it again with one input of all columns, initial_types="
    else:
        model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit([["x"], ["y"]] * 4, [0, 1] * 4)
        types, message = [("a", one())], "input 'a' takes text, and a model of Avizor takes numbers; encode text before"
    path = tmp_path / "m.onnx"
    onnx.save(to_onnx(model, initial_types=types, target_opset=18), path)
    with pytest.raises(ExportError, match=message):
        own_input(path)


def test_an_opset_that_cannot_be_converted_names_the_option_of_the_converter(tmp_path: Path) -> None:
    path = saved(fitted("forest", 3), tmp_path)
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("ImageDecoder", ["X"], ["unused"]))
    next(entry for entry in model.opset_import if not entry.domain).version = 20
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"ImageDecoder is not as in 18; export it again with target_opset=18"):
        in_contract_version(load_onnx(path), path)


def test_classes_in_separate_outputs_are_refused_with_the_converters_option(tmp_path: Path) -> None:
    path = saved(fitted("logistic regression", 3), tmp_path, options={"zipmap": "columns"})
    with pytest.raises(ExportError, match=r"has outputs output_label, .*; if each class .*options=\{'zipmap': False\}"):
        adopt(path, None, "classify")


def test_a_pipeline_of_float64_is_served_with_its_map_and_refused_before_a_front_end(tmp_path: Path) -> None:
    items, labels = iris(3)
    model = LogisticRegression().fit(items.astype(np.float64), labels)
    path = tmp_path / "m.onnx"
    onnx.save(to_onnx(model, items[:1].astype(np.float64), target_opset=18), path)
    rows = items.astype(np.float64)
    found = onnxruntime_run(adopt(path, None, "classify").proto)(rows)["probabilities"]
    np.testing.assert_allclose(np.asarray(found, np.float64), model.predict_proba(rows), atol=1e-6)
    with pytest.raises(ExportError, match=r"takes float64\[4\] .* float32 \(a pipeline .* FloatTensorType\("):
        adopt(path, parse_input(COLUMNS), "classify")


def test_several_targets_are_published_one_by_one(tmp_path: Path) -> None:
    items, labels = iris(3)
    model = MultiOutputClassifier(GaussianNB()).fit(items, np.stack([labels, labels[::-1]], axis=1))
    path = saved(model, tmp_path, options={"zipmap": False})
    with pytest.raises(ExportError, match="probabilities of several targets, as a MultiOutputClassifier") as caught:
        adopt(path, None, "classify")
    for target, option in enumerate(str(caught.value).split("--output ")[1:]):
        proto = adopt(path, None, "classify", OutputOptions(output=option.split()[0])).proto
        np.testing.assert_allclose(probabilities(proto, items), model.predict_proba(items)[target], atol=1e-4)


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_frozen_batch_of_a_pipeline_has_the_converters_remedy(tmp_path: Path, is_asked: bool) -> None:
    path = tmp_path / "m.onnx"
    types = [("X", FloatTensorType([1, 4]))]
    onnx.save(to_onnx(fitted("neighbours", 3), initial_types=types, target_opset=18, options={"zipmap": False}), path)
    with pytest.raises(ExportError, match=r"FloatTensorType\(\[None, columns\]\)\)\]$") as caught:
        adopt(path, None, "classify", free_frozen_batch=is_asked)
    assert "torch" not in str(caught.value)


def test_describe_reads_a_file_with_a_map_and_counts_trained_attributes(tmp_path: Path) -> None:
    layers = layers_of_file(saved(fitted("forest", 3), tmp_path))
    (trees,) = [layer for layer in layers if "TreeEnsembleClassifier" in layer.kind]
    assert trees.parameters > 0
    assert trees.multiply_adds is None
    *_, total = layer_table(layers)
    assert total[-2:] == ("over 0", "?")
