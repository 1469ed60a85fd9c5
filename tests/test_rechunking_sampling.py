"""Comparing a sample by what the values are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_arrays import random_values

from aggrade.rechunking.drawing import sample_boxes
from aggrade.rechunking.sampling import content_digest

DTYPES = ["bool", "i2", "f4", "c8", "M8[ns]", "S4", "U5", str]


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_values_have_equal_digests(dtype):
    """The digest depends on the values alone: not on the order in memory, nor on which NaN object it is."""
    values = random_values((6, 5), dtype)
    assert content_digest(values) == content_digest(values.copy(order="F"))
    assert content_digest(values[::2]) == content_digest(values[::2].copy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_single_other_value_has_another_digest(dtype):
    """Changing one item, the shape or the type changes the digest."""
    values = random_values((6, 5), dtype, seed=1)
    other = values.copy()
    other[3, 2] = values[np.where(values != values[3, 2])][0]
    assert content_digest(other) != content_digest(values)
    assert content_digest(values.reshape(5, 6)) != content_digest(values)


def test_neighbours_of_text_are_told_apart():
    """Where one word ends and the next begins is part of the content."""
    words = [np.array(pair, np.dtypes.StringDType()) for pair in (["ab", "c"], ["a", "bc"])]
    assert content_digest(words[0]) != content_digest(words[1])


def test_zero_and_minus_zero_are_not_the_same_bits():
    """Values are compared bit by bit."""
    assert content_digest(np.array([0.0])) != content_digest(np.array([-0.0]))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)), max_size=3),
    st.text(max_size=3),
)
def test_a_sampled_box_lies_in_one_chunk_of_either_side(axes, seed):
    """Each box is all that one chunk of the source and one of the target share; the corners are among them."""
    shape, one, other = (tuple(column) for column in zip(*axes, strict=True)) if axes else ((), (), ())
    boxes = sample_boxes(shape, one, other, seed)
    assert boxes == sample_boxes(shape, one, other, seed)
    for box in boxes:
        for (start, stop), size, *steps in zip(box, shape, one, other, strict=True):
            assert 0 <= start < stop <= size
            for step in steps:
                assert start // step == (stop - 1) // step
            assert start == 0 or any(start % step == 0 for step in steps)
            assert stop == size or any(stop % step == 0 for step in steps)
    for corner in (tuple(0 for _ in shape), tuple(size - 1 for size in shape)):
        assert any(all(a <= c < b for c, (a, b) in zip(corner, box, strict=True)) for box in boxes)


def test_other_seeds_look_elsewhere():
    """What is looked at between the corners depends on the seed."""
    seeds = [sample_boxes((1000,), (1,), (1,), str(seed)) for seed in range(5)]
    assert all(one != other for one, other in itertools.combinations(seeds, 2))
    assert all(len(boxes) <= 8 for boxes in seeds)
