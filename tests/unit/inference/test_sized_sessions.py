"""sized_sessions.py: batches of any size run in few sizes, and have the answers of one session."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from support.lookup_model import ITEMS, lookup_items, write_lookup
from support.wide_graph import TOO_WIDE, wide_graph

from avizor_inference.engines.ort_session import open_session
from avizor_inference.engines.sized_sessions import SizedSessions, filled_size
from avizor_inference.errors import GpuFull

OUTPUTS = ["probabilities", "embedding"]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    write_lookup(tmp_path, "")
    return tmp_path / "lookup" / "1" / "model.onnx"


@pytest.mark.parametrize(("most", "sizes"), [(8, [1, 2, 4, 4, 8, 8, 8, 8]), (6, [1, 2, 4, 4, 6, 6]), (1, [1])])
def test_rows_run_in_the_next_power_of_two(most: int, sizes: list[int]) -> None:
    assert [filled_size(rows, most) for rows in range(1, most + 1)] == sizes


def test_each_size_has_a_session_and_each_row_its_answer(graph: Path) -> None:
    opened = 0

    def another() -> ort.InferenceSession:
        nonlocal opened
        opened += 1
        return open_session(graph, "lookup")

    sessions = SizedSessions(open_session(graph, "lookup"), another, 6, "lookup")
    for rows in (3, 1, 6, 4, 5, 1, 3):
        items = np.stack([np.arange(rows) + 10, np.zeros(rows, np.int64)], axis=1)
        probabilities, embeddings = sessions.run(OUTPUTS, {"input": items}, ort.RunOptions())
        np.testing.assert_array_equal(probabilities[:, 0], np.arange(rows) + 10)
        np.testing.assert_array_equal(embeddings[:, 0], 10 * (np.arange(rows) + 10))
    assert opened == 2  # for 1 and 6; the first session runs 4


def test_threads_that_need_a_new_size_at_once_open_it_once(graph: Path) -> None:
    opened: list[ort.InferenceSession] = []
    both = threading.Barrier(4)

    def another() -> ort.InferenceSession:
        opened.append(open_session(graph, "lookup"))
        return opened[-1]

    sessions = SizedSessions(open_session(graph, "lookup"), another, 8, "lookup")
    wrong: list[int] = []

    def ask(index: int) -> None:
        both.wait()
        for rows in (1, 2, 3):
            (answer,) = sessions.run(OUTPUTS[:1], {"input": np.full((rows, 2), [index, 0])}, ort.RunOptions())
            wrong.extend(answer[answer != index].tolist())

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(opened) == 2


@pytest.mark.parametrize("rows", [1, 3])
def test_a_run_that_finds_no_memory_says_so_and_the_next_one_goes_on(rows: int) -> None:
    """ONNX Runtime's allocator says it on a CPU as it does on a GPU."""
    sessions = SizedSessions(open_session(wide_graph(), "wide"), lambda: open_session(wide_graph(), "wide"), 8, "model 'a'")
    said = rf"no memory left for a run of {filled_size(rows, 8)} rows of model 'a' \(requested buffer of size {4 * TOO_WIDE}\)"
    with pytest.raises(GpuFull, match=said):
        sessions.run(["sum"], {"width": np.full((rows, 1), TOO_WIDE)}, ort.RunOptions())
    (sums,) = sessions.run(["sum"], {"width": np.full((rows, 1), 5)}, ort.RunOptions())
    np.testing.assert_array_equal(sums, np.full((rows, 1), 5))


def test_another_failure_is_what_onnx_runtime_raised(graph: Path) -> None:
    sessions = SizedSessions(open_session(graph, "lookup"), lambda: open_session(graph, "lookup"), 8, "model 'lookup'")
    with pytest.raises(Exception, match="indices element out of data bounds") as caught:
        sessions.run(OUTPUTS, {"input": lookup_items(ITEMS)}, ort.RunOptions())
    assert not isinstance(caught.value, GpuFull)
