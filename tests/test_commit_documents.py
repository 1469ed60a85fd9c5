"""Array documents as plain arithmetic, compared with what zarr and xarray themselves do."""

from __future__ import annotations

import itertools
import json
import math

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document, open_document
from zarr.storage import MemoryStore, StorePath

from aggrade.commit import documents
from aggrade.commit.documents import describe, resized

quick = settings(deadline=None, max_examples=40)

ENCODINGS = {
    "default /": {"name": "default", "separator": "/"},
    "default .": {"name": "default", "separator": "."},
    "v2 .": {"name": "v2", "separator": "."},
    "v2 /": {"name": "v2", "separator": "/"},
}


@st.composite
def boxes(draw, most=3):
    """Draw shape, unit and half-open bounds within the shape, of one to `most` dimensions."""
    axes = draw(st.integers(1, most))
    shape = draw(st.lists(st.integers(1, 7), min_size=axes, max_size=axes))
    unit = draw(st.lists(st.integers(1, 4), min_size=axes, max_size=axes))
    edges = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return shape, unit, tuple((start, stop) for start, stop in edges)


def elements(bounds):
    """Return the index of every element of a box."""
    return list(itertools.product(*(range(*pair) for pair in bounds)))


def unit_holding(element, unit):
    """Return the index of the unit that an element lies in."""
    return tuple(place // size for place, size in zip(element, unit, strict=True))


def keys_of_zarr(document):
    """Return the keys of the objects that zarr itself writes when the array is filled."""
    memory = {}
    array = zarr.Array(zarr.AsyncArray(metadata=document, store_path=StorePath(MemoryStore(memory), "x")))
    array[...] = 1
    return set(memory)


class TestGrid:
    """Shapes, units and boxes."""

    def test_a_document_says_shape_unit_dimensions_and_grid(self):
        """A ragged edge counts as one more object."""
        document = make_document((5, 7), (2, 3), dims=("a", "b"))
        assert documents.shape_of(document) == (5, 7)
        assert documents.unit_of(document) == (2, 3)
        assert documents.dims_of(document) == ("a", "b")
        assert documents.grid_of(document) == (3, 3)

    def test_what_one_object_holds_is_the_shard(self):
        """In a sharded array the unit is the shard, not the inner chunk."""
        document = make_document((8, 8), (2, 2), (4, 8))
        assert documents.unit_of(document) == (4, 8)
        assert documents.grid_of(document) == (2, 1)

    def test_an_array_without_names_has_no_dimensions(self):
        """Dimension names are optional in Zarr."""
        document = make_document((2,), (1,))
        document.pop("dimension_names")
        assert documents.dims_of(document) == ()

    @pytest.mark.parametrize(
        ("index", "inside"),
        [((0, 0), True), ((2, 2), True), ((3, 0), False), ((0, 3), False), ((0,), False), ((0, 0, 0), False)],
    )
    def test_in_grid(self, index, inside):
        """An index lies in the grid if every number does, and there are as many as dimensions."""
        assert documents.in_grid(make_document((5, 7), (2, 3)), index) is inside

    def test_nothing_lies_in_the_grid_of_no_array(self):
        """An array that isn't there has no objects."""
        assert not documents.in_grid(None, (0,))

    @quick
    @given(boxes())
    def test_units_in_are_those_that_hold_an_element(self, box):
        """The objects of a box are those of its elements, each once, in C order."""
        shape, unit, bounds = box
        found = list(documents.units_in(make_document(shape, unit), bounds))
        assert found == sorted({unit_holding(element, unit) for element in elements(bounds)})

    @quick
    @given(boxes())
    def test_aligned_is_the_smallest_box_of_whole_units(self, box):
        """A widened box holds just the elements of the array that share a unit with the box."""
        shape, unit, bounds = box
        wide = documents.aligned(make_document(shape, unit), bounds)
        touched = {unit_holding(element, unit) for element in elements(bounds)}
        everything = elements([(0, size) for size in shape])
        if touched:
            wanted = [element for element in everything if unit_holding(element, unit) in touched]
            assert elements(wide) == wanted

    @quick
    @given(boxes())
    def test_aligning_twice_is_aligning_once(self, box):
        """A box of whole units stays as it is."""
        shape, unit, bounds = box
        document = make_document(shape, unit)
        once = documents.aligned(document, bounds)
        assert documents.aligned(document, once) == once


class TestKeys:
    """Names of objects."""

    @quick
    @given(
        st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), max_size=3), st.sampled_from([*ENCODINGS])
    )
    def test_keys_are_those_that_zarr_writes(self, axes, encoding):
        """Of any grid and key encoding, the keys are zarr's, and each is understood again."""
        shape, chunks = [size for size, _ in axes], [chunk for _, chunk in axes]
        document = make_document(shape, chunks, chunk_key_encoding=ENCODINGS[encoding])
        indices = list(documents.units_in(document, tuple((0, size) for size in shape)))
        keys = [documents.key_of("x", document, index) for index in indices]
        assert len(indices) == math.prod(documents.grid_of(document))
        assert set(keys) == {key for key in keys_of_zarr(document) if not key.endswith("zarr.json")}
        assert [documents.index_of("x", document, key) for key in keys] == indices

    def test_shards_have_the_keys_of_their_grid(self):
        """A shard is one object, named by its place among the shards."""
        document = make_document((8,), (2,), (4,))
        assert keys_of_zarr(document) == {"x/c/0", "x/c/1"}
        assert [documents.key_of("x", document, (i,)) for i in (0, 1)] == ["x/c/0", "x/c/1"]

    def test_the_separator_may_be_left_to_the_specification(self):
        """Without a configuration the default encoding separates by a slash and v2 by a dot."""
        document = make_document((2, 2), (1, 1))
        document["chunk_key_encoding"] = {"name": "default"}
        assert documents.key_of("x", document, (0, 1)) == "x/c/0/1"
        document["chunk_key_encoding"] = {"name": "v2"}
        assert documents.key_of("x", document, (0, 1)) == "x/0.1"

    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize(
        "key",
        [
            "x/zarr.json",
            "x/c",
            "x/c/0",
            "x/c/0/0/0",
            "x/c/0/-1",
            "x/c/0/a",
            "x/0",
            "x/0.0.0",
            "y/c/0/0",
            "xc/0/0",
            "x/d/0/0",
            "x/d.0.0",
            "",
            "x/",
            ".aggrade/intent.json",
        ],
    )
    def test_other_keys_are_nobodys(self, encoding, key):
        """What isn't the key of an object of the array has no index."""
        document = make_document((4, 4), (2, 2), chunk_key_encoding=ENCODINGS[encoding])
        assert documents.index_of("x", document, key) is None

    @pytest.mark.parametrize(("encoding", "key"), [("default /", "x/c"), ("v2 .", "x/0")])
    def test_a_scalar_has_one_object(self, encoding, key):
        """An array without dimensions has one key, understood as the empty index."""
        document = make_document((), (), chunk_key_encoding=ENCODINGS[encoding])
        assert documents.key_of("x", document, ()) == key
        assert documents.index_of("x", document, key) == ()
        assert list(documents.units_in(document, ())) == [()]


class TestResized:
    """Another length, all else as it was."""

    def test_named_dimensions_change_and_nothing_else(self):
        """The shape changes where it was named; chunks, codecs and the document handed in stay."""
        before = make_document((3, 4), (2, 2), dims=("session", "window"))
        after = resized(before, {"session": 9, "other": 1})
        assert after["shape"] == [9, 4]
        assert before["shape"] == [3, 4]
        assert {**after, "shape": before["shape"]} == before

    def test_the_copy_shares_nothing(self):
        """Changing the copy's attributes leaves the original alone."""
        before = make_document((3,), (2,))
        resized(before, {})["codecs"].clear()
        assert before["codecs"]

    def test_zarr_opens_it_with_the_new_shape(self):
        """What was resized is still a document of Zarr."""
        assert open_document(resized(make_document((3,), (2,)), {"d0": 11})).shape == (11,)


class TestDescribe:
    """Documents of a new store, by xarray's own encoder."""

    def stored(self, variable, **layout):
        """Return the document of one variable."""
        return describe(xr.Dataset({"v": variable}), **layout)["v"]

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            (np.zeros(2, "f4"), "float32"),
            (np.zeros(2, "i2"), "int16"),
            (np.zeros(2, "u8"), "uint64"),
            (np.zeros(2, "?"), "bool"),
            (np.zeros(2, "c8"), "complex64"),
            (np.array(["a", "bcd"]), "string"),
            (np.array(["a", "bcd"], object), "string"),
            (np.array(["a", "bcd"], np.dtypes.StringDType()), "string"),
            (np.array(["2026-01-01", "2026-01-02"], "M8[D]"), "int64"),
            (np.array([1, 2], "m8[s]"), "int64"),
        ],
    )
    def test_data_types(self, values, dtype):
        """Numbers keep their type, text is of variable length, times are integers."""
        assert self.stored(("x", values))["data_type"] == dtype

    def test_times_hold_any_instant_whatever_the_first_is(self):
        """Units are nanoseconds since 1970 even where the first value is a whole day."""
        attributes = self.stored(("x", np.array(["2026-01-01"], "M8[ns]")))["attributes"]
        assert attributes["units"] == "nanoseconds since 1970-01-01"
        assert self.stored(("x", np.array([86400], "m8[s]")))["attributes"]["units"] == "nanoseconds"

    def test_units_that_were_asked_for_are_kept(self):
        """A variable's own encoding goes before the default."""
        asked = {"units": "hours since 2020-01-01", "calendar": "standard", "dtype": "int32"}
        document = self.stored(("x", np.array(["2026-01-01"], "M8[ns]"), {}, asked))
        assert (document["attributes"]["units"], document["data_type"]) == (asked["units"], "int32")

    def test_packing_is_kept(self):
        """Scale, offset and stored type follow the variable's encoding."""
        packed = {"dtype": "int16", "scale_factor": 0.1, "add_offset": 5.0, "_FillValue": -1}
        document = self.stored(("x", np.zeros(2), {}, packed))
        assert document["data_type"] == "int16"
        assert (document["attributes"]["scale_factor"], document["attributes"]["add_offset"]) == (0.1, 5.0)

    def test_layout_of_another_store_is_not_kept(self):
        """Chunks and codecs that a dataset brings from where it was opened decide nothing."""
        brought = {"chunks": (1,), "preferred_chunks": {"x": 1}, "compressors": None}
        assert documents.unit_of(self.stored(("x", np.zeros(4), {}, brought))) == (4,)

    def test_fill_of_an_integer(self):
        """An integer's fill is what the encoding says, 0 if nothing does."""
        assert self.stored(("x", np.zeros(2, "i2"), {}, {"fill_value": -1}))["fill_value"] == -1
        assert self.stored(("x", np.zeros(2, "i2")))["fill_value"] == 0

    def test_fill_of_a_float(self):
        """A float that was not observed is NaN."""
        assert np.isnan(open_document(self.stored(("x", np.zeros(2, "f4")))).fill_value)

    def test_attributes_and_dimension_names_are_kept(self):
        """Units and names come along."""
        document = self.stored((("a", "b"), np.zeros((1, 2)), {"units": "V"}))
        assert document["attributes"]["units"] == "V"
        assert documents.dims_of(document) == ("a", "b")

    def test_every_variable_has_a_document(self):
        """Coordinates, scalars and data variables are arrays alike."""
        dataset = xr.Dataset({"v": ("x", [1.0]), "s": 3}, {"x": ["a"], "y": ("x", [2])})
        found = describe(dataset)
        assert set(found) == {"v", "s", "x", "y"}
        assert found["s"]["shape"] == []

    def test_without_a_wish_an_array_is_one_chunk(self):
        """What isn't named is one chunk, unsharded; an empty dimension has chunks of one."""
        assert documents.unit_of(self.stored((("a", "b"), np.zeros((3, 5))))) == (3, 5)
        assert documents.unit_of(self.stored((("a", "b"), np.zeros((3, 0))))) == (3, 1)

    def test_chunks_by_dimension_and_by_variable(self):
        """A tuple for the variable goes before a number for a dimension."""
        dataset = xr.Dataset({"v": (("a", "b"), np.zeros((4, 6))), "w": (("a", "b"), np.zeros((4, 6)))})
        found = describe(dataset, chunks={"a": 1, "w": (2, 2)})
        assert [documents.unit_of(found[name]) for name in "vw"] == [(1, 6), (2, 2)]

    def test_chunks_larger_than_the_array(self):
        """A chunk may have room for what comes later."""
        assert documents.unit_of(self.stored(("a", np.zeros(2)), chunks={"a": 100})) == (100,)

    def test_shards_are_whole_chunks(self):
        """A shard that isn't a whole number of chunks is made larger."""
        document = self.stored(("a", np.zeros(8)), chunks={"a": 3}, shards={"a": 5})
        assert documents.unit_of(document) == (6,)
        assert document["codecs"][0]["configuration"]["chunk_shape"] == [3]

    def test_only_what_is_asked_for_is_sharded(self):
        """Shards of one variable leave the others plain."""
        dataset = xr.Dataset({"v": ("a", np.zeros(8)), "w": ("a", np.zeros(8))})
        found = describe(dataset, chunks={"a": 2}, shards={"v": (4,)})
        assert [found[name]["codecs"][0]["name"] for name in "vw"] == ["sharding_indexed", "bytes"]

    def test_large_values_are_not_looked_at(self):
        """Lazy data are described without being computed."""

        def computed(block):
            raise AssertionError(f"{block.shape} was computed")

        lazy = dask.array.zeros((64, 1 << 16), chunks=(1, 1 << 16)).map_blocks(
            computed, dtype="f8", meta=np.zeros((0, 0))
        )
        assert documents.shape_of(self.stored((("a", "b"), lazy))) == (64, 1 << 16)

    def test_blocks_of_lazy_data_decide_nothing(self):
        """Small or large, in blocks that fit the chunks or not, lazy data are described like eager ones."""
        eager = xr.Variable("a", np.zeros(9))
        lazy = xr.Variable("a", dask.array.zeros(9, chunks=2))
        assert self.stored(lazy, chunks={"a": 3}) == self.stored(eager, chunks={"a": 3})

    @pytest.mark.parametrize(
        ("encoding", "fill"),
        [
            ({"dtype": "i2", "scale_factor": 0.5, "_FillValue": -9999}, -9999),
            ({"dtype": "i2", "scale_factor": 0.5, "_FillValue": -9999, "fill_value": 3}, 3),
            ({"dtype": "u1", "_FillValue": 255}, 255),
        ],
    )
    def test_whole_numbers_that_stand_for_a_missing_one_are_the_fill(self, encoding, fill):
        """So that a place that nobody wrote reads as missing, as it does of floats."""
        variable = xr.Variable("x", np.array([1.0, 2.0]), {}, encoding)
        assert describe(xr.Dataset({"v": variable}))["v"]["fill_value"] == fill

    def test_the_dataset_is_left_as_it_was(self):
        """Describing changes neither values, nor attributes, nor encodings."""
        dataset = xr.Dataset({"v": ("x", np.array([1, 2], "m8[s]"), {"a": 1}, {"dtype": "int64"})})
        before = dataset.copy(deep=True)
        describe(dataset, chunks={"x": 1})
        assert dataset.identical(before)
        assert dataset["v"].encoding == {"dtype": "int64"}

    @quick
    @given(st.sampled_from(["f4", "i2", "u1", "?", "c16", "M8[ns]", "m8[ms]", "U3", "T", "O"]))
    def test_what_xarray_opens_has_the_values_type(self, dtype):
        """A store of these documents opens in xarray as the type that was handed over, text as text."""
        kind = np.dtypes.StringDType() if dtype == "T" else np.dtype(dtype)
        values = np.array(["a", "b"], kind) if kind.kind in "UTO" else np.zeros(2, kind)
        memory = {
            f"{name}/zarr.json": zarr.core.buffer.cpu.Buffer.from_bytes(_json(document))
            for name, document in describe(xr.Dataset({"v": ("x", values)})).items()
        }
        memory["zarr.json"] = zarr.core.buffer.cpu.Buffer.from_bytes(b'{"zarr_format":3,"node_type":"group"}')
        opened = xr.open_zarr(MemoryStore(memory), consolidated=False, zarr_format=3, chunks=None)["v"]
        assert opened.dtype.kind == {"U": "T", "O": "T"}.get(kind.kind, kind.kind)
        assert opened.dtype.kind in "mMT" or opened.dtype == kind


def _json(document):
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, (8, 9)),
        ({"a": 2}, (2, 9)),
        ({"b": 3, "a": 1}, (1, 3)),
        ({"other": 3}, (8, 9)),
        ({"v": (5, 6), "a": 1}, (5, 6)),
        ({"v": [5, 6]}, (5, 6)),
    ],
)
def test_asked_sizes(wanted, expected):
    """Sizes come from the variable's tuple, else by dimension, else from the default."""
    assert documents.asked_sizes("v", ("a", "b"), wanted, (8, 9)) == expected


def test_a_dimension_may_bear_the_name_of_a_variable():
    """A number for a coordinate's name means its dimension, in every variable."""
    assert documents.asked_sizes("session", ("session",), {"session": 4}, (1,)) == (4,)
    assert documents.asked_sizes("eeg", ("session", "x"), {"session": 4}, (1, 1)) == (4, 1)


@pytest.mark.parametrize("dtype", ["U4", object, np.dtypes.StringDType()])
def test_text_is_stored_at_any_length(dtype):
    """Text of every kind becomes variable-length, value by value."""
    words = ["", "Ωm", "abcd"]
    stored = documents.storable(xr.Variable("x", np.array(words, dtype), {"a": 1}))
    assert stored.dtype == np.dtypes.StringDType()
    assert stored.values.tolist() == words
    assert stored.attrs == {"a": 1}


@pytest.mark.parametrize("values", [np.arange(3), np.zeros((2, 2), "f4"), np.array([True])])
def test_numbers_are_stored_as_they_are(values):
    """Whatever isn't text or time is left alone."""
    variable = xr.Variable([f"d{i}" for i in range(values.ndim)], values)
    assert documents.storable(variable) is variable
