import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import examples

from fastbp.boxes import Box


@examples(100)
@given(st.data())
def test_points_are_those_of_the_product(data):
    shape = data.draw(st.lists(st.integers(1, 6), max_size=4))
    indices = tuple(
        np.array(sorted(data.draw(st.sets(st.integers(0, 20), min_size=n, max_size=n))), np.int64)
        for n in shape
    )
    box = Box(0, indices, ((),) * len(shape), {}, {})
    start = data.draw(st.integers(0, box.n_runs))
    stop = data.draw(st.integers(start, box.n_runs))
    expected = np.array(np.unravel_index(np.arange(start, stop), tuple(shape))) if shape else []
    for digits, chosen, points in zip(expected, indices, box.points(start, stop), strict=True):
        np.testing.assert_array_equal(points, chosen[digits])


@pytest.mark.parametrize("start", [0, 10**17 + 12345])
def test_of_a_product_beyond_memory_some_points_are_had(start):
    indices = (np.arange(10**3), np.arange(10**6), np.arange(10**5), np.arange(10**4))
    box = Box(0, indices, ((),) * 4, {}, {})
    found = box.points(start, start + 50_000)
    expected = np.unravel_index(np.arange(start, start + 50_000), (10**3, 10**6, 10**5, 10**4))
    np.testing.assert_array_equal(found, expected)
