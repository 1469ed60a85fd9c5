"""Blocks of Dask that are not what they were said to be: refused, unless nothing of them is lost."""

from __future__ import annotations

import pickle

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from memory_storage import MemoryStorage, World, open_world

import aggrade
from aggrade.block_guards import as_declared, with_checked_blocks
from aggrade.commit import read_intent
from aggrade.errors import Refused
from aggrade.exactness import differing

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"


@pytest.fixture
def world():
    """Return an empty world."""
    return World()


@pytest.fixture
def shown(open_world, world):
    """Return a function that returns the values that readers see."""

    def shown():
        return aggrade.open_windows(STORE, storage_options=open_world(world))["v"].values.tolist()

    return shown


@pytest.fixture
def append(open_world, world):
    """Return a function that appends sessions of one variable."""

    def append(values, label, **how):
        dataset = xr.Dataset({"v": (("session", "x"), values)}, {"session": [label]})
        return aggrade.append(dataset, STORE, storage_options=open_world(world), **how)

    return append


def computed(block, dtype, *, size=4, step=2):
    """Return a row of Dask's that is said to be of a type, whatever `block` gives for each stretch of it."""
    zeros, meta = dask.array.zeros((1, size), chunks=(1, step), dtype=dtype), np.empty((0, 0), dtype)
    return zeros.map_blocks(block, dtype=dtype, meta=meta)


class Source:
    """An array that is read in slices, and notes them: of numbers of one type, whatever it says."""

    shape, dtype, ndim = (1, 200), np.dtype("f4"), 2

    def __init__(self, value):
        self.value, self.read = value, []

    def __getitem__(self, index):
        self.read.append(index)
        return np.full(self.shape, self.value)[index]


LYING = [
    ("f4", lambda block: block.astype("f8") + 1e300, "1e+300"),
    ("f4", lambda block: block.astype("f8") + 0.1, "0.1"),
    ("u1", lambda block: block.astype("i8") + 300, "300"),
    ("u1", lambda block: block.astype("i8") - 1, "-1"),
    ("i4", lambda block: block + 1.5, "1.5"),
    ("i4", lambda block: block + np.nan, "nan"),
    ("f8", lambda block: block.astype("i8") + 2**53 + 1, "9007199254740993"),
    ("f8", lambda block: block + 1j, "1j"),
    ("f8", lambda block: block.astype(str), "of <U"),
    ("f8", lambda block: block.astype(object), "of object"),
    ("f8", lambda block: block.astype("M8[s]"), "of datetime64[s]"),
    ("M8[ns]", lambda block: np.full(block.shape, np.datetime64("2970")), "of datetime64[Y]"),
    ("f8", lambda block: block[:, :1], "shape (1, 1)"),
    ("f8", lambda block: np.repeat(block, 2, 1), "shape (1, 4)"),
    ("f8", lambda block: block[0], "shape (2,)"),
    ("f8", lambda block: np.ma.masked_equal(block, 0), "masked values"),
]


class TestRefused:
    """What can't be kept."""

    @pytest.mark.parametrize(("dtype", "block", "found"), LYING)
    def test_on_create(self, append, world, dtype, block, found):
        """Values are refused with what was found before anything is written."""
        with pytest.raises(Refused, match=r"variable 'v': found block \(0, ") as caught:
            append(computed(block, dtype), "s1")
        assert found in str(caught.value)
        assert caught.value.code == "block"
        assert not world.objects

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_in_a_store_that_is_there(self, append, world, dry_run):
        """A later layer is refused in the same way, and so is the dry run."""
        append(np.zeros((1, 4), "f4"), "s1")
        before = dict(world.objects)
        with pytest.raises(Refused, match=r"of float64, with 1e\+300, expected values that float32 holds"):
            append(computed(lambda block: block + np.full((1, 2), 1e300), "f4"), "s2", dry_run=dry_run)
        assert world.objects == before

    def test_one_block_among_others(self, append, world):
        """Dask would cast it to the type of the first."""

        def wide_later(block, block_id):
            return block.astype("f8") + 1e300 if block_id == (0, 1) else block

        with pytest.raises(Refused, match=r"block \(0, 1\) of float64, with 1e\+300"):
            append(computed(wide_later, "f4"), "s1")
        assert not world.objects

    def test_what_does_not_grow(self, open_world, world):
        """What is computed only when it is written is rolled back: readers see nothing, and the store is free."""
        fixed = dask.array.zeros(4, chunks=2, dtype="f4").map_blocks(
            lambda block: block + np.full(2, 1e300), dtype="f4"
        )
        dataset = xr.Dataset({"v": ("session", [1.0]), "w": ("x", fixed)}, {"session": ["s1"]})
        with pytest.raises(Refused, match=r"variable 'w': found block \([01],\) of float64"):
            aggrade.append(dataset, STORE, storage_options=open_world(world))
        assert read_intent(MemoryStorage(world, "data/windows.zarr"))[0].state == "free"
        right = dataset.assign(w=("x", np.zeros(4, "f4")))
        aggrade.append(right, STORE, storage_options=open_world(world))
        assert aggrade.verify(STORE, storage_options=open_world(world)).ok

    def test_a_source_of_another_type(self, append, world):
        """An array that Dask reads in slices, and whose slices are not of its type, is noticed as well."""
        data = dask.array.from_array(Source(1e300), chunks=(1, 100), meta=np.empty((0, 0), "f4"))
        with pytest.raises(Refused, match=r"variable 'v': found values of float64, with 1e\+300"):
            append(data, "s1")
        assert not world.objects

    def test_a_length_that_nobody_knows(self, append):
        """Such arrays can't be planned for."""
        data = dask.array.zeros((1, 8), chunks=4)
        with pytest.raises(Refused, match="call compute_chunk_sizes"):
            append(data[:, data[0] > 0], "s1")

    def test_an_error_travels(self):
        """What a worker raises reaches the caller as it is."""
        with pytest.raises(Refused) as caught:
            as_declared([1.5], "v", np.dtype("i4"), (1,))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


class TestTaken:
    """What loses nothing."""

    @pytest.mark.parametrize(
        ("dtype", "block", "expected"),
        [
            ("f4", lambda block: block.astype("f8") + 0.5, 0.5),
            ("f4", lambda block: block.astype("f8") * np.nan, np.nan),
            ("u1", lambda block: block.astype("i8") + 255, 255),
            ("i4", lambda block: block + 2.0, 2),
            ("f8", lambda block: block.astype("i8") + 2**53, 2.0**53),
            ("f8", lambda block: block.astype(">f8") + 0j, 0),
            ("f8", lambda block: np.ma.masked_equal(block, 7), 0),
        ],
    )
    def test_numbers(self, append, open_world, world, shown, dtype, block, expected):
        """Numbers that the declared type holds exactly are cast to it."""
        append(computed(block, dtype), "s1")
        assert np.isclose(shown(), expected, rtol=0, atol=0, equal_nan=True).all()
        assert aggrade.verify(STORE, storage_options=open_world(world)).ok

    def test_text_wider_than_declared(self, append, shown):
        """Text is kept whole, whatever width was declared, and whatever that of the first block is."""

        def words(block, block_id):
            return np.full(block.shape, "ab" if block_id == (0, 0) else "abcdef")

        append(computed(words, "U3"), "s1")
        assert shown() == [["ab", "ab", "abcdef", "abcdef"]]

    @pytest.mark.parametrize("dtype", ["U3", "O"])
    def test_numbers_among_text_are_none(self, append, world, dtype):
        """They don't become words."""

        def mixed(block, block_id):
            return block.astype("U3") if block_id == (0, 0) else np.full(block.shape, 1.5)

        with pytest.raises(Refused, match="objects that are not text"):
            append(computed(mixed, dtype), "s1")
        assert not world.objects

    def test_times_of_another_resolution(self):
        """Seconds are nanoseconds."""
        seconds = np.array(["2026-01-02T03:04:05", "NaT"], "M8[s]")
        found = as_declared(seconds, "v", np.dtype("M8[ns]"), (2,))
        assert found.dtype == "M8[ns]"
        assert not differing(found, seconds).any()

    def test_a_number(self, open_world, world):
        """So is one without dimensions."""
        lazy = dask.array.from_delayed(dask.delayed(np.float32)(2), (), "f8")
        dataset = xr.Dataset({"v": ("session", [1.0]), "w": ((), lazy)}, {"session": ["s1"]})
        aggrade.append(dataset, STORE, storage_options=open_world(world))
        assert aggrade.open_windows(STORE, storage_options=open_world(world))["w"] == 2


class TestLazy:
    """The check costs no reading."""

    def test_slices_of_an_array_are_read_alone(self):
        """Dask goes on reading just what is asked for."""
        source = Source(np.float32(1))
        data = dask.array.from_array(source, chunks=(1, 200), meta=np.empty((0, 0), "f4"))
        variable = with_checked_blocks(xr.Variable(("a", "b"), data), "v")
        assert variable[:, 110:120].values.shape == (1, 10)
        assert source.read == [(slice(0, 1), slice(110, 120))]

    def test_nothing_is_computed_before(self):
        """What isn't asked for is not looked at, and the encoding stays."""

        def failing(block):
            raise AssertionError(block)

        encoding = {"dtype": "i2", "scale_factor": 0.5}
        variable = xr.Variable(("a", "b"), computed(failing, "f4"), {"units": "V"}, encoding)
        checked = with_checked_blocks(variable, "v")
        assert (checked.dtype, checked.chunks) == (variable.dtype, variable.chunks)
        assert (checked.attrs, checked.encoding) == ({"units": "V"}, encoding)

    def test_what_is_in_memory_stays_what_it_is(self):
        """Arrays of NumPy say what they hold."""
        variable = xr.Variable("x", [1.0])
        assert with_checked_blocks(variable, "v") is variable
