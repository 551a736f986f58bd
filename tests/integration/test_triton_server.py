"""Triton itself, as installed and started by this folder, with small models made by hand.

Real servers, real models, a real client. What is proved here is what other tests may then rely on.
"""

import os
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import tritonclient.grpc
from onnx import TensorProto, helper, numpy_helper
from triton_server import install as install_module
from triton_server import server as server_module
from triton_server.install import TritonInstall, TritonUnavailable, install
from triton_server.server import TritonServer, TritonStartError
from tritonclient.grpc import service_pb2, service_pb2_grpc

Array = npt.NDArray[Any]

WEIGHTS = np.random.default_rng(7).standard_normal((4, 3)).astype(np.float32)
TABLE = np.arange(5, dtype=np.float32) * 10
ROWS_AT_MOST = 8
SLOW_STEPS = 1_000_000  # of a loop in the graph: most of a second

# ------------------------------------------------------------------------------------------------- models, made by hand


def save_model(repository: Path, name: str, graph: onnx.GraphProto, config: str, version: int = 1) -> None:
    """Write `<repository>/<name>/<version>/model.onnx` and the configuration, `config` being all but its head."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (repository / name / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "onnxruntime"\n{config}')


def tensor(name: str, dtype: int, *dims: int | str) -> onnx.ValueInfoProto:
    """An input or output of a graph; dimensions that are names are open."""
    return helper.make_tensor_value_info(name, dtype, list(dims))


def save_classifier(repository: Path, name: str = "classifier", width: int = 4, extra: str = "") -> None:
    """`logits` = x @ WEIGHTS and `probabilities`, with labels; `width` is what the config says of x (4 is true)."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        name,
        [tensor("x", TensorProto.FLOAT, "N", 4)],
        [tensor("logits", TensorProto.FLOAT, "N", 3), tensor("probabilities", TensorProto.FLOAT, "N", 3)],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    config = f"""
        max_batch_size: {ROWS_AT_MOST}
        input [ {{ name: "x" data_type: TYPE_FP32 dims: [ {width} ] }} ]
        output [
          {{ name: "logits" data_type: TYPE_FP32 dims: [ 3 ] }},
          {{ name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" }}
        ]
        dynamic_batching {{ max_queue_delay_microseconds: 20000 }}
        instance_group [ {{ kind: KIND_CPU count: 1 }} ]
        {extra}
    """
    save_model(repository, name, graph, config)
    (repository / name / "labels.txt").write_text("ant\nbee\ncat\n")


def save_lookup(repository: Path) -> None:
    """`value` = TABLE[index]: an index outside of it is an error that shows only when the model runs."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        "lookup",
        [tensor("index", TensorProto.INT64, "N", 1)],
        [tensor("value", TensorProto.FLOAT, "N", 1)],
        [numpy_helper.from_array(TABLE, "table")],
    )
    config = f"""
        max_batch_size: {ROWS_AT_MOST}
        input [ {{ name: "index" data_type: TYPE_INT64 dims: [ 1 ] }} ]
        output [ {{ name: "value" data_type: TYPE_FP32 dims: [ 1 ] }} ]
        dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 500000 }}
        instance_group [ {{ kind: KIND_CPU count: 1 }} ]
    """
    save_model(repository, "lookup", graph, config)


def save_doubler(repository: Path) -> None:
    """`doubled` = 2 x, for items of any length; the configuration lets lengths meet in one batch."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["doubled"])],
        "doubler",
        [tensor("x", TensorProto.FLOAT, "N", "L")],
        [tensor("doubled", TensorProto.FLOAT, "N", "L")],
    )
    config = f"""
        max_batch_size: {ROWS_AT_MOST}
        input [ {{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true }} ]
        output [ {{ name: "doubled" data_type: TYPE_FP32 dims: [ -1 ] }} ]
        dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 500000 }}
        instance_group [ {{ kind: KIND_CPU count: 1 }} ]
    """
    save_model(repository, "doubler", graph, config)


def save_slow(repository: Path) -> None:
    """`same` = x, after counting to SLOW_STEPS; one row at a time, and no more than one request waits."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x_in"], ["x_out"])],
        "body",
        [tensor("step", TensorProto.INT64), tensor("go", TensorProto.BOOL), tensor("x_in", TensorProto.FLOAT, "N", 1)],
        [tensor("go_on", TensorProto.BOOL), tensor("x_out", TensorProto.FLOAT, "N", 1)],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["steps", "true", "x"], ["same"], body=body)],
        "slow",
        [tensor("x", TensorProto.FLOAT, "N", 1)],
        [tensor("same", TensorProto.FLOAT, "N", 1)],
        [numpy_helper.from_array(np.array(SLOW_STEPS), "steps"), numpy_helper.from_array(np.array(True), "true")],
    )
    config = """
        max_batch_size: 1
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: "same" data_type: TYPE_FP32 dims: [ 1 ] } ]
        dynamic_batching { default_queue_policy { max_queue_size: 1 } }
        instance_group [ { kind: KIND_CPU count: 1 } ]
    """
    save_model(repository, "slow", graph, config)


# ------------------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def installed() -> TritonInstall:
    """Triton, from the cache or installed now."""
    try:
        return install()
    except TritonUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models that load."""
    folder = tmp_path_factory.mktemp("models")
    save_classifier(folder)
    save_lookup(folder)
    save_doubler(folder)
    save_slow(folder)
    return folder


@pytest.fixture(scope="module")
def server(installed: TritonInstall, repository: Path) -> Iterator[TritonServer]:
    """A server for all tests that leave it as it was."""
    with TritonServer(installed, repository) as running:
        yield running


@pytest.fixture
def classifier_only(tmp_path: Path) -> Path:
    """A repository to change, and quick to load."""
    save_classifier(tmp_path / "models")
    return tmp_path / "models"


class Call(NamedTuple):
    """One inference request, as it goes over the wire: it need not make sense."""

    model: str
    inputs: dict[str, Array]
    outputs: Sequence[str] = ()
    version: str = ""
    dtype: str | None = None
    shape: Sequence[int] | None = None

    def message(self) -> Any:
        """The protobuf message; `dtype` and `shape` stand in for what the arrays would say of themselves."""
        request = service_pb2.ModelInferRequest(model_name=self.model, model_version=self.version)
        for name, array in self.inputs.items():
            dtype = self.dtype or tritonclient.utils.np_to_triton_dtype(array.dtype)
            request.inputs.add(name=name, datatype=dtype, shape=self.shape or array.shape)
            request.raw_input_contents.append(array.tobytes())
        for name in self.outputs:
            request.outputs.add(name=name)
        return request


def infer(server: TritonServer, call: Call, timeout: float | None = 30.0) -> dict[str, Array]:
    """Send one request over a connection of its own; all outputs of these models are float32."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(call.message(), timeout=timeout)
    return {
        output.name: np.frombuffer(raw, np.float32).reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def at_once(server: TritonServer, calls: Sequence[Call]) -> list[dict[str, Array] | grpc.RpcError]:
    """Send requests together; the answers, or errors, in the order of the requests."""
    together = threading.Barrier(len(calls))

    def one(call: Call) -> dict[str, Array] | grpc.RpcError:
        together.wait()
        try:
            return infer(server, call)
        except grpc.RpcError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def rows(count: int, width: int = 4) -> Array:
    return np.random.default_rng(count).standard_normal((count, width)).astype(np.float32)


def counts(server: TritonServer, model: str) -> tuple[int, int]:
    """How many rows the model has answered, and in how many runs."""
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    (statistics,) = client.get_inference_statistics(model).model_stats
    return statistics.inference_count, statistics.execution_count


def eventually(condition: Callable[[], bool], within_s: float = 15.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# ------------------------------------------------------------------------------------------------------ right inference


@pytest.mark.parametrize("count", [1, 2, ROWS_AT_MOST])
def test_answers_are_right(server: TritonServer, count: int) -> None:
    x = rows(count)
    answer = infer(server, Call("classifier", {"x": x}))
    exponentials = np.exp(x @ WEIGHTS)
    np.testing.assert_allclose(answer["logits"], x @ WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], exponentials / exponentials.sum(1, keepdims=True), rtol=1e-5)


def test_only_requested_outputs_travel(server: TritonServer) -> None:
    assert list(infer(server, Call("classifier", {"x": rows(2)}, ["probabilities"]))) == ["probabilities"]
    assert set(infer(server, Call("classifier", {"x": rows(2)}))) == {"logits", "probabilities"}


def test_labels_come_with_the_classification_extension(server: TritonServer) -> None:
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    x = rows(1)
    given = tritonclient.grpc.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x)
    wanted = tritonclient.grpc.InferRequestedOutput("probabilities", class_count=1)
    top = client.infer("classifier", [given], outputs=[wanted]).as_numpy("probabilities")
    best = int((x @ WEIGHTS).argmax())
    assert top[0, 0].decode().split(":")[1:] == [str(best), ["ant", "bee", "cat"][best]]


def test_concurrent_requests_share_runs_and_keep_their_answers(server: TritonServer) -> None:
    before = counts(server, "classifier")
    inputs = [rows(count) + count for count in (1, 2, 3, 1, 2, 1, 3, 2) * 4]
    outputs: tuple[list[str], ...] = (["logits"], ["probabilities"], [])
    answers = at_once(server, [Call("classifier", {"x": x}, outputs[i % 3]) for i, x in enumerate(inputs)])
    for i, (x, answer) in enumerate(zip(inputs, answers, strict=True)):
        assert isinstance(answer, dict), answer
        assert set(answer) == set(outputs[i % 3] or ["logits", "probabilities"])
        if "logits" in answer:
            np.testing.assert_allclose(answer["logits"], x @ WEIGHTS, rtol=1e-5)
    inferences, executions = np.subtract(counts(server, "classifier"), before)
    assert inferences == sum(map(len, inputs))
    assert executions < len(inputs)


def test_a_faulty_request_does_not_harm_those_it_shares_a_run_with(server: TritonServer) -> None:
    before = counts(server, "lookup")
    answers = at_once(server, [Call("lookup", {"index": np.array([[index]])}) for index in (0, 1, 99, 3)])
    assert [a["value"].item() for a in answers if isinstance(a, dict)] == [0.0, 10.0, 30.0]
    assert isinstance(answers[2], grpc.RpcError)
    assert answers[2].code() is grpc.StatusCode.INTERNAL
    assert "onnx runtime error" in answers[2].details()
    assert counts(server, "lookup")[1] - before[1] == 1, "they were meant to share one run"


def test_shapes_that_cannot_be_concatenated_may_share_a_batch(server: TritonServer) -> None:
    before = counts(server, "doubler")
    inputs = [rows(1, width) for width in (3, 5, 3, 7)]
    answers = at_once(server, [Call("doubler", {"x": x}) for x in inputs])
    for x, answer in zip(inputs, answers, strict=True):
        assert isinstance(answer, dict), answer
        np.testing.assert_array_equal(answer["doubled"], 2 * x)
    assert counts(server, "doubler")[1] - before[1] == 1, "they were meant to share one batch"


def test_a_tensor_larger_than_the_shared_memory_it_starts_with(server: TritonServer) -> None:
    x = rows(1, 2_000_000)
    with grpc.insecure_channel(server.grpc_url, [("grpc.max_receive_message_length", -1)]) as channel:
        call = Call("doubler", {"x": x}).message()
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(call, timeout=60)
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * x[0])


def test_metrics_count_inferences(server: TritonServer) -> None:
    infer(server, Call("classifier", {"x": rows(1)}))
    with urllib.request.urlopen(server.metrics_url) as answer:
        assert 'nv_inference_count{model="classifier",version="1"}' in answer.read().decode()


# ------------------------------------------------------------------------------------------------- errors over the wire

INVALID, NOT_FOUND, INTERNAL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INTERNAL,
)


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (Call("classifier", {"x": rows(2)}, dtype="INT32"), INVALID, "data-type is 'INT32', but model"),
        (Call("classifier", {"y": rows(2)}), INVALID, "unexpected inference input 'y'"),
        (Call("classifier", {}), INVALID, "expected 1 inputs but got 0"),
        (Call("classifier", {"x": rows(2, 5)}), INVALID, "unexpected shape for input 'x'"),
        (Call("classifier", {"x": rows(2)}, shape=[8]), INVALID, "unexpected shape for input 'x'"),
        (Call("classifier", {"x": rows(2)}, shape=[3, 4]), INVALID, "input byte size mismatch"),
        (Call("classifier", {"x": rows(9)}), INVALID, "batch-size must be <= 8"),
        (Call("classifier", {"x": rows(2)}, ["nothing"]), INVALID, "unexpected inference output 'nothing'"),
        (Call("nobody", {"x": rows(2)}), NOT_FOUND, "unknown model: 'nobody' is not found"),
        (Call("classifier", {"x": rows(2)}, version="9"), NOT_FOUND, "version 9 is not found"),
        (Call("classifier", {"x": rows(2)}, version="last"), INVALID, "version should be an integral value"),
        (Call("lookup", {"index": np.array([[99]])}), INTERNAL, "onnx runtime error"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_errors(server: TritonServer, call: Call, code: grpc.StatusCode, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        infer(server, call)
    assert caught.value.code() is code
    assert words in caught.value.details()


def test_a_deadline_passes(server: TritonServer) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        infer(server, Call("slow", {"x": rows(1, 1)}), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_full_queue_turns_requests_away(server: TritonServer) -> None:
    answers = at_once(server, [Call("slow", {"x": rows(1, 1)})] * 6)
    refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert refused
    assert {answer.code() for answer in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert {"Exceeds maximum queue size" in answer.details() for answer in refused} == {True}


# -------------------------------------------------------------------------------------- models that do not, and do load


def test_a_model_that_does_not_fit_its_configuration_ends_the_start(installed: TritonInstall, tmp_path: Path) -> None:
    save_classifier(tmp_path, width=7)
    with pytest.raises(TritonStartError, match=r"has shape \[-1, 7\] in the configuration, \[-1, 4\] in the model"):
        TritonServer(installed, tmp_path).__enter__()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("TYPE_FP32 dims: [ 4 ]", "TYPE_FP64 dims: [ 4 ]", "TYPE_FP64 in the configuration"),
        ('name: "logits"', 'name: "lodgings"', "a tensor 'lodgings', the model has logits, probabilities"),
        ("TYPE_FP32 dims: [ 3 ]", "TYPE_FP32 dims: [ -1 ]", "tensor 'logits' has shape"),
        ("max_batch_size: 8", "max_batch_size: 0", "tensor 'x' has shape [4] in the configuration"),
        ("intra_op_thread_count", "execution_mode", "parameter 'execution_mode' must be 0 or 1, but is '3'"),
    ],
)
def test_models_that_do_not_load_say_why(installed: TritonInstall, tmp_path: Path, before: str, after: str, words: str) -> None:
    save_classifier(tmp_path, extra='parameters { key: "intra_op_thread_count" value { string_value: "3" } }')
    config = tmp_path / "classifier" / "config.pbtxt"
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after, 1))
    with TritonServer(installed, tmp_path, load_models=()) as server, pytest.raises(Exception, match="load") as caught:
        tritonclient.grpc.InferenceServerClient(server.grpc_url).load_model("classifier")
    assert words in str(caught.value)


def test_threads_are_those_of_the_configuration(installed: TritonInstall, tmp_path: Path) -> None:
    def threads(count: int) -> int:
        folder = tmp_path / str(count)
        save_classifier(folder, extra=f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{count}" }} }}')
        with TritonServer(installed, folder) as server:
            (backend,) = group(server.pid) - {server.pid}
            return len(list(Path(f"/proc/{backend}/task").iterdir()))

    assert threads(5) - threads(2) == 3


def test_a_new_version_takes_over_while_requests_come_in(installed: TritonInstall, classifier_only: Path) -> None:
    with TritonServer(installed, classifier_only, model_control="poll") as server:
        client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
        shutil.copytree(classifier_only / "classifier" / "1", classifier_only / "beside")
        (classifier_only / "beside").rename(classifier_only / "classifier" / "2")

        def second_serves() -> bool:
            infer(server, Call("classifier", {"x": rows(2)}))  # never fails meanwhile
            return bool(client.is_model_ready("classifier", "2") and not client.is_model_ready("classifier", "1"))

        assert eventually(second_serves)


# ------------------------------------------------------------------------------------------------- the life of a server


def group(leader: int) -> set[int]:
    """The processes of a process group, without those that have ended and wait to be collected by their parent."""
    members = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, process_group = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # ended while we looked
            continue
        if int(process_group) == leader and state != "Z":
            members.add(int(status.parent.name))
    return members


def shared_memory(server: TritonServer) -> set[str]:
    """The regions of this server."""
    return {name for name in os.listdir("/dev/shm") if server.identity in name}


def test_stopping_leaves_nothing_behind(installed: TritonInstall, classifier_only: Path) -> None:
    with TritonServer(installed, classifier_only) as server:
        pid = server.pid
        assert len(group(pid)) == 2, "the server, and one process for the one model"
        assert shared_memory(server)
        assert "Started GRPCInferenceService" in server.log_text()
    assert eventually(lambda: not group(pid))
    assert not shared_memory(server)
    assert "successfully unloaded 'classifier'" in server.log_text(), "the log outlives the server"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(server.grpc_url.rpartition(":")[2]))) != 0


def test_a_killed_server_is_unavailable_and_comes_back_where_it_was(installed: TritonInstall, repository: Path) -> None:
    with TritonServer(installed, repository, load_models=("classifier", "slow")) as server:
        pid, url = server.pid, server.grpc_url
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(infer, server, Call("slow", {"x": rows(1, 1)}))
            time.sleep(0.2)
            server.kill()
            error = under_way.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert eventually(lambda: not group(pid)), "its backend processes end with it"
        with pytest.raises(grpc.RpcError) as caught:
            infer(server, Call("classifier", {"x": rows(1)}))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        server.start()
        assert server.grpc_url == url
        infer(server, Call("classifier", {"x": rows(1)}))


def test_a_server_that_ends_by_itself_is_cleaned_up(installed: TritonInstall, classifier_only: Path) -> None:
    with TritonServer(installed, classifier_only) as server:
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not group(pid))
    assert not shared_memory(server)


def test_several_servers_at_once(installed: TritonInstall, classifier_only: Path, server: TritonServer) -> None:
    with TritonServer(installed, classifier_only) as first, TritonServer(installed, classifier_only) as second:
        assert len({one.grpc_url for one in (server, first, second)}) == 3
        assert not shared_memory(first) & shared_memory(second)
        for one in (server, first, second):
            infer(one, Call("classifier", {"x": rows(3)}))


@pytest.mark.parametrize("which", ["grpc", "http", "metrics"])
def test_a_port_that_is_taken_in_between_is_given_up(
    installed: TritonInstall, classifier_only: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = server_module._free_ports
        offers = iter([free()._replace(**{which: taken.getsockname()[1]})])
        monkeypatch.setattr(server_module, "_free_ports", lambda: next(offers, None) or free())
        with TritonServer(installed, classifier_only) as server:
            infer(server, Call("classifier", {"x": rows(1)}))
        assert next(offers, None) is None


def test_not_ready_in_time_is_an_error_with_the_log(installed: TritonInstall, classifier_only: Path) -> None:
    with pytest.raises(TritonStartError, match=r"(?s)not ready after 0 s; the last lines of its log"):
        TritonServer(installed, classifier_only, ready_timeout_s=0.0).__enter__()


# ----------------------------------------------------------------------------------------------------------- installing


def test_installing_again_changes_nothing(installed: TritonInstall) -> None:
    marker = installed.root / "installed.json"
    before = marker.stat().st_mtime_ns
    assert install(installed.root.parent) == installed
    assert marker.stat().st_mtime_ns == before


def pretend_to_build(monkeypatch: pytest.MonkeyPatch) -> list[TritonInstall]:
    """Replace the minute-long part of installing; returns the list of what was built."""
    built: list[TritonInstall] = []

    def build(target: TritonInstall, python: Path | None) -> None:
        built.append(target)
        time.sleep(0.2)  # long enough for another to arrive
        for path in (target.python, target.root / "lib" / install_module.LIBPYTHON, target.tritonserver):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (target.root / "installed.json").touch()

    monkeypatch.setattr(install_module, "_build", build)
    return built


def test_two_at_once_install_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = pretend_to_build(monkeypatch)
    with ThreadPoolExecutor(4) as pool:  # each opens the lock file itself, so to the lock they are like processes
        found = list(pool.map(lambda _: install(tmp_path), range(4)))
    assert len(built) == 1
    assert found == built * 4


@pytest.mark.parametrize("missing", ["installed.json", "venv/bin/python", f"lib/{install_module.LIBPYTHON}"])
def test_half_an_installation_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    built = pretend_to_build(monkeypatch)
    (install(tmp_path).root / missing).unlink()
    install(tmp_path)
    assert len(built) == 2


def test_an_interpreter_that_does_not_serve_is_an_error_that_tells_what_does(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho \'{"implementation": "CPython", "version": "3.9"}\'\n')
    other.chmod(0o755)
    for python, words in ((other, "is CPython 3.9"), (tmp_path / "nowhere", "does not run")):
        with pytest.raises(TritonUnavailable, match=words) as caught:
            install(tmp_path / "cache", python=python)
        assert "apt-get install python3.11-venv libpython3.11" in str(caught.value)
    assert not list((tmp_path / "cache").glob("*/*")), "nothing was left behind"


def test_a_failing_step_tells_what_it_printed(installed: TritonInstall, tmp_path: Path) -> None:
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    env = {**os.environ, **nowhere, "PIP_CONFIG_FILE": os.devnull}
    command: list[str | Path] = [
        installed.python,
        "-m",
        "pip",
        "download",
        "--dest",
        tmp_path,
        "nvidia-pytriton==0.7.0",
    ]
    with pytest.raises(TritonUnavailable, match=r"(?s)pip download failed.*package index.*No matching distribution"):
        install_module._run(command, "pip download", env)
