"""The reading layout where nothing is asked for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document, open_document

from aggrade.errors import BadInput
from aggrade.rechunking.layouts import laid_out
from aggrade.rechunking.suggesting import suggested_layouts

MIB = 1 << 20
MOST = 32 * MIB


def _curves(objects, epochs):
    dims = ("object", "measurement", "value", "epoch")
    return {
        "lightcurves": make_document((objects, 2, 2, epochs), (50_000, 2, 2, 1), dims=dims),
        "status": make_document(
            (objects, 2, epochs), (50_000, 2, 1), dtype="uint8", dims=("object", *dims[1::2])
        ),
        "ra": make_document((objects,), (100,), dims=("object",), dtype="float64"),
        "epoch": make_document((epochs,), (1,), dims=("epoch",), dtype=str),
        "unit": make_document((2, 2), (1, 2), dims=("measurement", "value"), dtype=str),
    }


def test_light_curves_are_small_chunks_with_all_epochs():
    """Of the measured cube 16 objects with all epochs, 128 kB, are a chunk, and about 1,000 objects a shard."""
    found = suggested_layouts(_curves(200_000, 500))
    assert found["lightcurves"].chunk == (16, 2, 2, 500)
    assert found["lightcurves"].shard == (1056, 2, 2, 500)
    assert found["ra"].chunk == (65_536,)
    assert found["epoch"].chunk == (500,)
    assert found["unit"].chunk == (1, 2)


def test_a_small_cube_is_one_shard_no_larger_than_it():
    """51 objects do not make a shard for a thousand."""
    found = suggested_layouts(_curves(51, 59))
    assert found["lightcurves"].chunk == (128, 2, 2, 59)
    assert found["lightcurves"].shard == (128, 2, 2, 59)


def test_a_window_is_one_chunk():
    """A window of all channels is decoded alone; some 256 make a shard, over several sessions where they are short."""
    dims = ("session", "window", "eeg_channel", "eeg_sample")
    store = {
        "eeg": make_document((100, 300, 32, 1000), (1, 8, 32, 1000), dims=dims),
        "fnirs": make_document((100, 300, 8, 40), (1, 8, 8, 40), dims=dims),
        "label": make_document((100, 300), (1, 256), dims=dims[:2], dtype="int16"),
    }
    found = suggested_layouts(store)
    assert found["eeg"].chunk == (1, 1, 32, 1000)
    assert found["eeg"].shard == (1, 150, 32, 1000)
    assert found["fnirs"].chunk == (1, 1, 8, 40)
    assert found["fnirs"].shard == (21, 300, 8, 40)
    assert found["label"].chunk == (100, 300)
    assert found["label"].shard is None


def test_other_stores_must_say_what_they_want():
    """A store of neither kind is not guessed at."""
    with pytest.raises(BadInput, match="x, y") as caught:
        suggested_layouts({"v": make_document((4, 4), (2, 2), dims=("x", "y"))})
    assert caught.value.code == "chunks-needed"


LENGTHS = st.integers(0, 3000)


@settings(deadline=None)
@given(LENGTHS, LENGTHS)
def test_suggestions_for_light_curves_can_be_opened_and_are_bounded(objects, epochs):
    """Whatever the cube, zarr opens the layout, and a shard stays within the bound unless one object does not."""
    _check(_curves(objects, epochs), {"lightcurves": 16 * epochs, "status": 2 * epochs})


@settings(deadline=None)
@given(LENGTHS, LENGTHS, st.sampled_from([1, 7, 64]), st.sampled_from([1, 30, 2000]))
def test_suggestions_for_windows_can_be_opened_and_are_bounded(sessions, windows, channels, samples):
    """Whatever the windows, zarr opens the layout, and a shard stays within the bound unless one window does not."""
    dims = ("session", "window", "channel", "sample")
    store = {"eeg": make_document((sessions, windows, channels, samples), (1, 1, 1, 1), dims=dims)}
    _check(store, {"eeg": 4 * channels * samples})


def _check(store, rows):
    for name, layout in suggested_layouts(store).items():
        document = laid_out(store[name], layout)
        array = open_document(document)
        if name in rows:
            assert array.nchunks >= 0
            held = math.prod(layout.shard or layout.chunk) * array.dtype.itemsize
            assert held <= max(MOST, rows[name], array.dtype.itemsize)
