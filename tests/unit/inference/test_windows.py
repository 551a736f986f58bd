"""items/windows.py: how recordings are cut into windows."""

import numpy as np
import pytest

from avizor_inference.items.windows import Window, Windower, WindowFormat


def cut(samples: np.ndarray, window: int, hop: int, block: int) -> list[Window]:
    windower = Windower(WindowFormat(8000, window, hop), samples.shape[1])
    windows = [w for start in range(0, len(samples), block) for w in windower.push(samples[start : start + block])]
    return windows + list(windower.finish())


@pytest.mark.parametrize("block", [1, 7, 10, 64, 1000])
@pytest.mark.parametrize(("length", "starts"), [(10, [0]), (11, [0, 1]), (15, [0, 5]), (20, [0, 5, 10]), (23, [0, 5, 10, 13])])
def test_every_sample_is_covered_and_none_made_up(length: int, starts: list[int], block: int) -> None:
    samples = np.arange(1, length + 1, dtype=np.float32)[:, None]
    windows = cut(samples, 10, 5, block)
    assert [w.start_sample for w in windows] == starts
    for window in windows:
        assert window.length == 10
        np.testing.assert_array_equal(window.samples, samples[window.start_sample : window.start_sample + 10, 0])


def test_a_short_recording_is_filled_with_zeros() -> None:
    (window,) = cut(np.ones((4, 1), np.float32), 10, 5, 2)
    assert (window.start_sample, window.length) == (0, 4)
    np.testing.assert_array_equal(window.samples, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])


def test_each_channel_is_cut_by_itself() -> None:
    samples = np.stack([np.zeros(10), np.ones(10)], axis=1).astype(np.float32)
    windows = cut(samples, 5, 5, 3)
    assert [(w.channel, w.start_sample) for w in windows] == [(0, 0), (1, 0), (0, 5), (1, 5)]
    assert all((w.samples == w.channel).all() for w in windows)


def test_channels_that_belong_together_are_in_one_window() -> None:
    samples = np.stack([np.arange(12), np.arange(100, 112)], axis=1).astype(np.float32)
    windower = Windower(WindowFormat(8000, 5, 5, channels=2), 2, together=True)
    windows = [*windower.push(samples[:7]), *windower.push(samples[7:]), *windower.finish()]
    assert [(w.channel, w.start_sample, w.length) for w in windows] == [(0, 0, 5), (0, 5, 5), (0, 7, 5)]
    for window in windows:
        np.testing.assert_array_equal(window.samples, samples[window.start_sample : window.start_sample + 5].T)
    longer = Windower(WindowFormat(8000, 20, 5, channels=2), 2, together=True)
    assert list(longer.push(samples)) == []
    (short,) = longer.finish()
    assert (short.samples.shape, short.length) == ((2, 20), 12)
    np.testing.assert_array_equal(short.samples, np.pad(samples.T, ((0, 0), (0, 8))))


def test_memory_does_not_grow_with_the_stream() -> None:
    windower = Windower(WindowFormat(8000, 100, 50), 1)
    for _ in range(1000):
        list(windower.push(np.zeros((64, 1), np.float32)))
    assert len(windower._kept) <= 200
