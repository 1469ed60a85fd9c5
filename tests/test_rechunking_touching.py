"""Which objects of a target a change of its source touches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document

from aggrade.commit import WrittenObject
from aggrade.commit.documents import grid_of, key_of, units_in
from aggrade.rechunking.slots import with_version
from aggrade.rechunking.touching import Served, kept_boxes, touched_cells
from aggrade.rechunking.tracing import Trace, form_of


def _keys(name, document):
    whole = tuple((0, size) for size in document["shape"])
    return [key_of(name, document, index) for index in units_in(document, whole)]


def _served(document, source, marks):
    """Return a version that was made of a source with these marks and lies there as it was written."""
    objects = {key: WrittenObject(key, 1, f"mark of {key}", "") for key in _keys("x", document)}
    trace = Trace(forms={"x": form_of(source)}, marks={"x": marks}, objects=objects)
    return Served({"x": document}, trace, {"x": {key: item.etag for key, item in objects.items()}})


SIZE, LENGTH = st.integers(1, 14), st.integers(1, 5)
PAIR = st.tuples(SIZE, SIZE)
GRID = st.tuples(LENGTH, LENGTH)


@settings(deadline=None, max_examples=60)
@given(PAIR, PAIR, GRID, GRID, st.sets(st.integers(0, 200), max_size=3))
def test_touched_are_objects_with_new_items_or_items_of_changed_chunks(old, new, source, target, changed):
    """Labelling every item with its chunk and its object gives the same cells as the arithmetic."""
    before, after = make_document(old, source), make_document(new, source)
    served, wanted = make_document(old, target), with_version(make_document(new, target), 1)
    marks = dict.fromkeys(_keys("x", before), "1")
    now = dict.fromkeys(_keys("x", after), "1")
    now |= {key: "2" for place, key in enumerate(now) if place in changed}
    expected = np.zeros(grid_of(wanted), bool)
    for item in itertools.product(*map(range, new)):
        cell = tuple(i // step for i, step in zip(item, target, strict=True))
        key = key_of("x", after, tuple(i // step for i, step in zip(item, source, strict=True)))
        fresh = any(i >= size for i, size in zip(item, old, strict=True))
        expected[cell] |= fresh or now[key] != marks.get(key)
    found = touched_cells(_served(served, before, marks), "x", after, now, wanted)
    for cell in _cells_that_lost_items(old, new, target):
        expected[cell] = True
    assert (found | ~expected).all(), "everything that changed is touched"
    if old == new:
        assert np.array_equal(found, expected)


def _cells_that_lost_items(old, new, target):
    """Return the cells of the new grid in which an item of the old shape is none any more."""
    grid = [-(-size // step) for size, step in zip(new, target, strict=True)]
    items = itertools.product(*map(range, old))
    gone = [item for item in items if any(i >= size for i, size in zip(item, new, strict=True))]
    cells = {tuple(i // step for i, step in zip(item, target, strict=True)) for item in gone}
    return {cell for cell in cells if all(i < count for i, count in zip(cell, grid, strict=True))}


CUBE = {"shape": (2_000, 2, 2, 500), "chunk": (1_000, 2, 2, 1)}
BLOCKS = (100, 2, 2, 10)


def _grown(epochs=501):
    """Return a cube before and after it got longer, its marks, and the version served."""
    before = make_document(CUBE["shape"], CUBE["chunk"])
    after = make_document((*CUBE["shape"][:3], epochs), CUBE["chunk"])
    marks = dict.fromkeys(_keys("x", before), "1")
    now = dict.fromkeys(_keys("x", after), "1")
    served = make_document(CUBE["shape"], BLOCKS)
    wanted = with_version(make_document(after["shape"], BLOCKS), 1)
    return after, marks, now, served, wanted, before


def test_a_new_epoch_touches_the_last_block_of_each_object():
    """One epoch after 500 in blocks of 10: 20 objects of 1,020 are made, 1,000 are kept."""
    after, marks, now, served, wanted, before = _grown()
    found = touched_cells(_served(served, before, marks), "x", after, now, wanted)
    assert found.sum() == 20
    assert found[..., 50].all()
    kept = kept_boxes(_served(served, before, marks), {"x": after}, {"x": now}, {"x": wanted})
    assert sum(len(list(units_in(wanted, box))) for box in kept["x"]) == 1_000


def test_a_replaced_epoch_touches_its_block_alone():
    """A chunk of the source that bears another mark touches the objects that hold a part of it."""
    after, marks, now, served, wanted, before = _grown(500)
    now["x/c/0/0/0/123"] = "2"
    found = touched_cells(_served(served, before, marks), "x", after, now, wanted)
    assert [tuple(cell) for cell in np.argwhere(found)] == [(i, 0, 0, 12) for i in range(10)]


@pytest.mark.parametrize("gone", ["lost", "replaced", "unknown"])
def test_an_object_that_is_not_as_it_was_written_is_made_anew(gone):
    """An object of the version served that is missing, bears another mark or was never recorded is not kept."""
    after, marks, now, served, wanted, before = _grown(500)
    known = _served(served, before, marks)
    key = "x/c/3/0/0/7"
    if gone == "unknown":
        del known.trace.objects[key]
    elif gone == "lost":
        del known.marks["x"][key]
    else:
        known.marks["x"][key] = "another"
    found = touched_cells(known, "x", after, now, wanted)
    assert [tuple(cell) for cell in np.argwhere(found)] == [(3, 0, 0, 7)]


@pytest.mark.parametrize("change", ["chunks", "fill", "source", "new array"])
def test_nothing_is_kept_of_another_form(change):
    """Other chunks, another fill value, a source that is stored otherwise and a new array are made whole."""
    after, marks, now, served, wanted, before = _grown(500)
    known = _served(served, before, marks)
    if change == "chunks":
        wanted = make_document(after["shape"], (100, 2, 2, 20))
    elif change == "fill":
        wanted = {**wanted, "fill_value": 7.0}
    elif change == "source":
        after = {**after, "codecs": [*after["codecs"], {"name": "crc32c"}]}
    else:
        known.documents.clear()
    assert touched_cells(known, "x", after, now, wanted).all()
