"""Columns of a table come out right however the table lies in the file, and never more of it than allowed."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.recordings.columns import Columns, made_up


class _Watched:
    """A table that notes the bytes of the largest piece that was asked of it."""

    def __init__(self, table):
        self._table, self.largest = table, 0
        self.shape, self.ndim, self.chunks, self.dtype = table.shape, table.ndim, table.chunks, table.dtype

    def __getitem__(self, key):
        piece = self._table[key]
        self.largest = max(self.largest, piece.nbytes)
        return piece


@pytest.fixture(params=[None, (7, 5), (40, 1), (1, 30)])
def table(request, tmp_path):
    """Return a table of 40 rows and 30 columns, in each of several layouts."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = np.arange(1200.0).reshape(40, 30)
        yield file.create_dataset("x", data=values, chunks=request.param), values


@pytest.mark.parametrize("picks", [[3], [0, 29], [29, 0, 7, 8], list(range(30)), [5, 4, 3]])
@pytest.mark.parametrize("rows", [slice(0, 40), slice(11, 12), slice(6, 33), slice(9, 9)])
def test_rows_and_columns_are_those_asked_for(table, picks, rows):
    """Any columns in any order, any rows: the values are those of the whole table."""
    stored, values = table
    read = Columns(stored, picks, "a.snirf")[rows]
    assert read.dtype == np.float32
    assert np.array_equal(read, values[rows][:, picks])


@settings(max_examples=40, deadline=None)
@given(
    chunks=st.sampled_from([None, (16, 8), (64, 64)]),
    picks=st.lists(st.integers(0, 63), min_size=1, max_size=20, unique=True),
    allowed=st.sampled_from([512, 4096, 1 << 20]),
)
def test_pieces_are_bounded(tmp_path_factory, chunks, picks, allowed):
    """No piece is larger than allowed, or than one chunk of the file where that is larger."""
    values = np.arange(128.0 * 64).reshape(128, 64)
    with h5py.File(tmp_path_factory.mktemp("t") / "a.h5", "w") as file:
        watched = _Watched(file.create_dataset("x", data=values, chunks=chunks))
        assert np.array_equal(Columns(watched, picks, "a", allowed)[0:128], values[:, picks])
        assert watched.largest <= max(allowed, np.prod(chunks or (1, 64)) * 8)


def test_a_table_of_one_column(tmp_path):
    """A flat dataset is a table of one column."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        columns = Columns(file.create_dataset("x", data=np.arange(9.0)), [0], "a")
        assert columns.shape == (9, 1)
        assert np.array_equal(columns[2:5], [[2], [3], [4]])


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}])
def test_an_index_of_chunks_that_was_damaged(tmp_path, options):
    """Zeros anywhere in a file with chunks: no number that is read lies in another place than it was written to."""
    values = 1.0 + np.arange(600.0).reshape(150, 4)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(8, 2), **options)
        assert made_up(file["x"]) == ""
    content, flaws = path.read_bytes(), 0
    for place in range(0, len(content), 48):
        path.write_bytes(content[:place] + bytes(min(64, len(content) - place)) + content[place + 64 :])
        try:
            with h5py.File(path) as file:
                flaw = made_up(file["x"])
                read = file["x"][()]
        except (OSError, RuntimeError, KeyError, ValueError):
            continue
        flaws += "index" in flaw
        assert flaw or not np.isin(read[read != values], values[values != 0]).any(), place
    assert flaws


def test_chunks_that_were_not_written(tmp_path):
    """They are counted, unless the fill value says what they are."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        zeros = file.create_dataset("x", (40, 4), "f4", chunks=(8, 2))
        nothing = file.create_dataset("y", (40, 4), "f4", chunks=(8, 2), fillvalue=np.nan)
        zeros[:8], nothing[:8] = 1, 1
        assert made_up(zeros) == "a dataset of which 8 of 10 chunks were never written"
        assert made_up(nothing) == ""
