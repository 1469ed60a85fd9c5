"""Windows that roll along an array: how long they are, what is read into them, which are chosen."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document

from aggrade.rechunking.rolling import Rolling, Window, choose_rolling, longest_window, strip_length

LENGTHS = st.tuples(st.integers(1, 120), st.integers(1, 30), st.integers(1, 30))


def _windows(size, piece, chunk):
    """Return the items from the start of each piece to the end of the last chunk that it holds a part of."""
    pieces = [range(start, min(start + piece, size)) for start in range(0, size, piece)]
    return [[item for item in range(own[0], size) if item // chunk <= own[-1] // chunk] for own in pieces]


@given(LENGTHS)
def test_the_longest_window_is_found(lengths):
    """The closed form equals walking through the array, item by item."""
    assert longest_window(*lengths) == max(map(len, _windows(*lengths)))


def _rows_read(size, length, chunk):
    """Return how many chunks are read along a dimension, those that strips share once for each."""
    return len({(item // length, item // chunk) for item in range(size)})


@given(LENGTHS)
def test_the_ends_of_strips_cost_at_most_a_tenth(lengths):
    """Strips are whole pieces, and what is read twice at their ends is at most a tenth of all."""
    size, piece, chunk = lengths
    length, rows = strip_length(size, piece, chunk), -(-size // chunk)
    assert length % piece == 0
    assert rows <= _rows_read(size, length, chunk) <= 1.1 * rows


def test_strips_end_where_grids_meet():
    """Where pieces and chunks end together soon, a strip does, too, so that there are many to share."""
    assert strip_length(10_000_000, 16_000, 50_000) == 400_000
    assert strip_length(200_000, 16_000, 50_000) == 208_000
    assert strip_length(100_000, 999, 1000) == 9990


AXES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12)), min_size=1, max_size=3
).map(lambda axes: tuple(zip(*axes, strict=True)))


@settings(deadline=None)
@given(AXES, st.integers(1, 5000))
def test_what_is_chosen_fits_and_reads_as_often_as_it_says(axes, most):
    """Pieces are whole objects, strips whole pieces, no window is larger than allowed, and the reads are counted."""
    shape, target, source = axes
    chosen = choose_rolling(*axes, most, 100)
    if chosen is None:
        assert all(
            longest_window(shape[axis], target[axis], source[axis])
            * math.prod(min(target[other], shape[other]) for other in range(len(shape)) if other != axis)
            > most
            for axis in range(len(shape))
        )
        return
    rolling, reads = chosen
    for inner, outer in ((target, rolling.piece), (rolling.piece, rolling.strip)):
        assert all(length % step == 0 for length, step in zip(outer, inner, strict=True))
    others = [axis for axis in range(len(shape)) if axis != rolling.axis]
    assert all(rolling.piece[axis] == rolling.strip[axis] == rolling.window[axis] for axis in others)
    assert math.prod(map(min, rolling.window, shape)) <= most
    assert reads == math.prod(map(_rows_read, shape, rolling.strip, source))


def test_the_measured_cube_is_read_once():
    """Shards of 16,000 objects from chunks of 50,000: shard by shard, with 56,000 objects in memory at most."""
    rolling, reads = choose_rolling(
        (200_000, 2, 2, 500), (16_000, 2, 2, 500), (50_000, 2, 2, 1), 56_000 * 2000, 1 << 24
    )
    assert (rolling.axis, rolling.piece[0], rolling.strip[0], rolling.window[0]) == (
        0,
        16_000,
        208_000,
        56_000,
    )
    assert reads == 4 * 500
    less = choose_rolling(
        (200_000, 2, 2, 500), (16_000, 2, 2, 500), (50_000, 2, 2, 1), 55_999 * 2000, 1 << 24
    )
    assert less[1] == 2 * 4 * 500


@settings(deadline=None, max_examples=40)
@given(LENGTHS, st.integers(0, 1), st.lists(st.booleans(), min_size=120, max_size=120))
def test_a_window_holds_each_piece_and_reads_nothing_twice(lengths, axis, done):
    """Whichever pieces are done already, each other gets its values; chunks are read once, and only those it needs."""
    size, piece, chunk = lengths
    shape, width = [3, 3], longest_window(*lengths)
    shape[axis] = size
    values = np.random.default_rng(size).random(shape)
    chunks = [3, 3]
    chunks[axis] = chunk
    form = {name: tuple(width if at == axis else 3 for at in (0, 1)) for name in ("piece", "strip", "window")}
    window, document = Window(), make_document(shape, chunks, dtype="float64")
    seen, needed = [], set()

    def read(box, part):
        region = tuple(slice(*pair) for pair in box)
        assert part.shape == values[region].shape
        part[...] = values[region]
        seen.extend(range(*box[axis]))

    for place, start in enumerate(range(0, size, piece)):
        if done[place]:
            continue
        box = [(0, 3), (0, 3)]
        box[axis] = (start, min(start + piece, size))
        needed |= {item // chunk for item in range(*box[axis])}
        found = window.values(tuple(box), document, Rolling(axis=axis, **form), read)
        assert np.array_equal(found, values[tuple(slice(*pair) for pair in box)])
    assert len(seen) == len(set(seen))
    assert {item // chunk for item in seen} == needed


def test_a_window_that_could_not_be_read_holds_nothing():
    """After a read that failed, the next piece reads all it needs, and so does a piece that lies elsewhere."""
    values, document = np.arange(40.0).reshape(20, 2), make_document((20, 2), (6, 1), dtype="float64")
    rolling = Rolling(axis=0, piece=(4, 1), strip=(20, 1), window=(8, 1))
    window, boxes = Window(), []

    def read(box, part):
        boxes.append(box)
        if len(boxes) == 2:
            raise ValueError(box)
        part[...] = values[tuple(slice(*pair) for pair in box)]

    def piece(start, column):
        return window.values(((start, start + 4), (column, column + 1)), document, rolling, read)

    assert piece(0, 0).ravel().tolist() == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="6, 12"):
        piece(4, 0)
    assert piece(4, 0).ravel().tolist() == [8, 10, 12, 14]
    assert piece(8, 1).ravel().tolist() == [17, 19, 21, 23]
    assert piece(4, 1).ravel().tolist() == [9, 11, 13, 15]
    assert [box[0] for box in boxes] == [(0, 6), (6, 12), (4, 12), (8, 12), (4, 12)]


def test_pieces_of_a_window_are_in_memory_once():
    """Going on reuses the same memory, which is as long as the longest window."""
    document = make_document((20, 2), (6, 1), dtype="float64")
    rolling = Rolling(axis=0, piece=(4, 2), strip=(20, 2), window=(8, 2))
    window = Window()
    parts = [
        window.values(((start, start + 4), (0, 2)), document, rolling, lambda _, part: part.fill(0))
        for start in range(0, 20, 4)
    ]
    assert len({id(part.base) for part in parts}) == 1
    assert parts[0].base.shape == (8, 2)
    assert all(np.shares_memory(one, parts[0].base) for one in itertools.islice(parts, 1, None))
