"""What a user hands over comes back as it was, or is known not to."""

from __future__ import annotations

import itertools
import json

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from make_arrays import random_values
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from aggrade import encoding
from aggrade.commit import describe
from aggrade.commit.snapshot import root_bytes
from aggrade.encoding import changed_values, encode, encodings, is_exact, layer_digest, type_problem

quick = settings(deadline=None, max_examples=40)

PACKED = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -32768}
DAYS = {"units": "days since 2020-01-01", "calendar": "standard", "dtype": "int64"}
SECONDS = {"units": "seconds", "dtype": "int64"}


def through_a_store(variable, documents=None):
    """Return what plain xarray reads after the variable was encoded and stored with plain zarr."""
    dataset = xr.Dataset({"v": variable})
    documents = documents or describe(dataset)
    known = encodings(documents)
    raw = encode(dataset, known)["v"]
    memory = {"zarr.json": Buffer.from_bytes(root_bytes({}, documents))}
    memory["v/zarr.json"] = Buffer.from_bytes(json.dumps(documents["v"]).encode())
    zarr.open_array(MemoryStore(memory), path="v", mode="r+")[...] = raw.values
    return xr.open_zarr(MemoryStore(memory), consolidated=True, chunks=None)["v"].load()


def same(one, other):
    """Tell whether two arrays hold the same values, missing ones alike."""
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind in "mM":
        return bool(((one == other) | (np.isnat(one) & np.isnat(other))).all())
    if one.dtype.kind in "OUT":
        return [str(item) for item in one.ravel()] == [str(item) for item in other.ravel()]
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


@st.composite
def variables(draw):
    """Draw a variable of any kind, with an encoding that a user may have given it."""
    shape = draw(hnp.array_shapes(max_dims=2, max_side=4))
    dims = [f"d{i}" for i in range(len(shape))]
    kind = draw(st.sampled_from(["f4", "f8", "i2", "i8", "u1", "?", "c16", "text", "M8", "m8"]))
    if kind == "text":
        return xr.Variable(
            dims, draw(hnp.arrays(object, shape, elements=st.text(st.characters(codec="utf-8"))))
        )
    if kind in {"M8", "m8"}:
        unit = draw(st.sampled_from(["s", "ms", "us", "ns", "D"]))
        size = {"s": 10**9, "ms": 10**12, "us": 10**15, "ns": 2**62, "D": 10**4}[unit]
        numbers = draw(hnp.arrays(np.int64, shape, elements=st.integers(-size, size)))
        asked = draw(st.sampled_from([{}, DAYS if kind == "M8" else SECONDS]))
        return xr.Variable(dims, numbers.view(f"{kind}[{unit}]"), {}, asked)
    values = draw(hnp.arrays(np.dtype(kind), shape))
    asked = (
        [{}, {"_FillValue": -9.0}, PACKED, {"dtype": "f4"}, {"dtype": "i4"}] if kind in {"f4", "f8"} else [{}]
    )
    if kind in {"i2", "i8"}:
        asked += [{"_FillValue": -1}, {"dtype": "i2"}]
    return xr.Variable(dims, values, {}, draw(st.sampled_from(asked)))


class TestRoundTrip:
    """Encode, store, open."""

    @settings(deadline=None, max_examples=80)
    @given(variables())
    @pytest.mark.filterwarnings("ignore")
    def test_values_come_back_or_are_named(self, variable):
        """Whatever the type, values and encoding: plain xarray reads what was handed over, or it is refused."""
        dataset = xr.Dataset({"v": variable})
        assume(type_problem("v", dataset["v"].variable) is None)
        documents = describe(dataset)
        changed = changed_values(dataset["v"].variable, "v", encodings(documents)["v"])
        if changed is None:
            assert same(through_a_store(dataset["v"].variable, documents).values, variable.values)
        else:
            assert not same(*changed)

    @pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "i2", "u4", "?", str])
    def test_by_default_every_type_comes_back(self, dtype):
        """Without an encoding of one's own nothing is ever changed."""
        variable = xr.Variable(("x", "y"), random_values((3, 4), dtype))
        assert changed_values(variable, "v", encodings(describe(xr.Dataset({"v": variable})))["v"]) is None
        found = through_a_store(variable)
        assert same(found.values, variable.values)
        assert found.dtype == variable.dtype

    @pytest.mark.parametrize(
        "values",
        [
            np.array(["2026-01-01T00:00:00.123456789", "NaT"], "M8[ns]"),
            np.array(["2026-01-01T12:00", "1999-12-31T23:59"], "M8[m]"),
            np.array(["1700-01-01", "1991-01-01"], "M8[D]"),
            np.array(["2261-01-01"], "M8[D]"),
            np.array([0, 1, -5], "m8[ns]"),
            np.array([86_400, 1], "m8[s]"),
        ],
    )
    def test_times_come_back_to_the_nanosecond(self, values):
        """Any instant, whatever the first one was."""
        variable = xr.Variable("x", values)
        assert same(through_a_store(variable).values, values)
        assert changed_values(variable, "v", encodings(describe(xr.Dataset({"v": variable})))["v"]) is None

    def test_attributes_are_those_of_the_store(self):
        """What the encoding keeps is not kept twice."""
        variable = xr.Variable("x", [0.5], {"units": "V", "scale_factor": 3.0})
        known = encodings(describe(xr.Dataset({"v": xr.Variable("x", [0.5], {"units": "V"}, PACKED)})))
        assert encode(xr.Dataset({"v": variable}), known)["v"].attrs["units"] == "V"


@st.composite
def of_another_sign(draw):
    """Draw integers, and how a store holds them: in which type, and of which sign readers are told they are."""
    held = np.dtype(draw(st.sampled_from(["i1", "u1", "i4", "u4", "i8", "u8"])))
    told = {"_Unsigned": draw(st.sampled_from(["true", "false"]))}
    if draw(st.booleans()):
        told["_FillValue"] = held.type(draw(st.integers(0, 3)))
    handed = np.dtype(draw(st.sampled_from(["i1", "u1", "i2", "i4", "u4", "i8", "u8"])))
    around = st.integers(-3, 3).map(lambda n: n % 2**held.itemsize if handed.kind == "u" else n)
    limits = np.iinfo(handed)
    values = draw(hnp.arrays(handed, 3, elements=st.integers(limits.min, limits.max) | around))
    return values, xr.Dataset({"v": ("x", np.zeros(3, held), told)})


class TestUnsigned:
    """The attribute ``_Unsigned``, by which readers take integers for such of another sign."""

    @quick
    @given(of_another_sign())
    @pytest.mark.filterwarnings("ignore::xarray.SerializationWarning")
    def test_what_passes_is_what_readers_get(self, drawn):
        """Values come back by plain xarray, or they are said to change: neither more nor less."""
        values, dataset = drawn
        documents = describe(dataset)
        variable = xr.Variable("x", values)
        changed = changed_values(variable, "v", encodings(documents)["v"])
        assert (changed is None) == all(
            int(one) == other
            for one, other in zip(values, through_a_store(variable, documents).values, strict=True)
        )

    def test_the_type_of_readers_is_the_one_that_fits(self):
        """A byte of 200 lies there as -56, and both spellings are judged by what comes out."""
        documents = describe(xr.Dataset({"v": ("x", np.zeros(1, "i1"), {"_Unsigned": "true"})}))
        known = encodings(documents)["v"]
        assert changed_values(xr.Variable("x", np.array([200], "u1")), "v", known) is None
        assert changed_values(xr.Variable("x", np.array([-6], "i1")), "v", known) == (-6, 250)

    def test_attributes_of_a_later_layer_do_not_count(self):
        """Readers go by the store's."""
        known = encodings(describe(xr.Dataset({"v": ("x", np.zeros(1, "i4"))})))["v"]
        told = xr.Variable("x", np.array([-5], "i2"), {"_Unsigned": "true", "scale_factor": 2.0})
        assert changed_values(told, "v", known) is None


class TestChanged:
    """Values that would not come back."""

    @pytest.mark.parametrize(
        ("values", "known", "found"),
        [
            ([1.1], {"dtype": "f4"}, (1.1, np.float32(1.1))),
            ([1e300], {"dtype": "f4"}, (1e300, np.inf)),
            ([70_000], {"dtype": "i2"}, (70_000, 4464)),
            ([300], {"dtype": "i1"}, (300, 44)),
            ([1.7], {"dtype": "i2"}, (1.7, 2)),
            ([-1, 3], {"dtype": "i2", "_FillValue": -1}, (-1, np.nan)),
            ([-9.0], {"dtype": "f8", "_FillValue": -9.0}, (-9.0, np.nan)),
            ([1.0, -9.0], {"dtype": "f8", "_FillValue": np.nan, "missing_value": -9.0}, (-9.0, np.nan)),
            ([0.25], PACKED, (0.25, 0.2)),
            ([1e6], PACKED, (1e6, None)),
            (np.array(["2026-01-01T06"], "M8[h]"), DAYS, (np.datetime64("2026-01-01T06"), None)),
            (np.array([1500], "m8[ms]"), SECONDS, (np.timedelta64(1500, "ms"), None)),
            (["abc"], {"dtype": "U2"}, ("abc", "ab")),
        ],
    )
    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_the_first_is_named_with_what_it_would_become(self, values, known, found):
        """Overflow, rounding, a value that means missing, half a day, cut text."""
        known = {**known, "dtype": np.dtype(known["dtype"])}
        handed, back = changed_values(xr.Variable("x", values), "v", known)
        assert handed == found[0]
        if found[1] is not None:
            assert same(back, found[1])

    @pytest.mark.parametrize(
        ("values", "known"),
        [
            ([1.5, np.nan, -np.inf], {"dtype": "f4"}),
            ([1, 127], {"dtype": "i1"}),
            ([1.0, 2.0], {"dtype": "i2"}),
            ([1.0, np.nan], {"dtype": "i2", "_FillValue": -1}),
            ([0, 3], {"dtype": "i2", "_FillValue": -1}),
            ([1.0, np.nan], {"dtype": "f8", "_FillValue": -9.0}),
            ([1.0, np.nan], {"dtype": "f8", "_FillValue": np.nan, "missing_value": -9.0}),
            ([0.5, np.nan], {**PACKED, "scale_factor": 0.5}),
            (np.array(["2026-01-01", "NaT"], "M8[s]"), DAYS),
            (np.array([3000], "m8[ms]"), SECONDS),
            (["ab", ""], {"dtype": "U2"}),
            (["any length"], {"dtype": "O"}),
            ([True, False], {"dtype": "?"}),
        ],
    )
    def test_what_fits_is_taken(self, values, known):
        """What the store's type holds exactly may be of another type."""
        known = {**known, "dtype": np.dtype(known["dtype"])}
        assert changed_values(xr.Variable("x", values), "v", known) is None

    def test_a_missing_integer(self):
        """A NaN has no place among integers without a fill."""
        with np.errstate(invalid="ignore"):
            changed = changed_values(xr.Variable("x", [np.nan]), "v", {"dtype": np.dtype("i2")})
        assert changed is not None

    def test_large_values_are_compared_block_by_block(self, monkeypatch):
        """A change in the last block is found."""
        monkeypatch.setattr(encoding, "BLOCK_BYTES", 64)
        values = np.arange(100.0)
        values[99] = 0.5
        assert changed_values(xr.Variable("x", values), "v", {"dtype": np.dtype("i4")})[0] == 0.5

    def test_of_a_scalar(self):
        """A variable without dimensions is compared too."""
        assert changed_values(xr.Variable((), 1.5), "v", {"dtype": np.dtype("i4")})[0] == 1.5

    def test_exact_data_are_not_looked_at(self):
        """Where nothing can change, lazy data stay lazy."""

        def computed(block):
            raise AssertionError(f"{block.shape} was computed")

        lazy = dask.array.zeros(8, chunks=4).map_blocks(computed, dtype="f8", meta=np.zeros(0))
        variable = xr.Variable("x", lazy)
        assert is_exact(variable, {"dtype": np.dtype("f8"), "_FillValue": np.nan})
        assert changed_values(variable, "v", {"dtype": np.dtype("f8")}) is None

    def test_lazy_data_stay_lazy_when_encoded(self):
        """Encoding computes nothing."""
        variable = xr.Variable("x", dask.array.zeros(8, chunks=4))
        raw = encode(xr.Dataset({"v": variable}), {"v": {**PACKED, "dtype": np.dtype("i2")}})["v"]
        assert dask.is_dask_collection(raw.data)
        assert raw.values.tolist() == [0] * 8


class TestTypes:
    """What can't be stored at all."""

    @pytest.mark.parametrize(
        ("values", "found"),
        [
            (np.array([b"ab"]), "bytes"),
            (np.array([None], object), "objects that are not text"),
            (np.array(["a", np.nan], object), "objects that are not text"),
            (np.array([1, 2], object), "objects that are not text"),
            (np.array(["a", np.nan], np.dtypes.StringDType(na_object=np.nan)), "missing text"),
            (np.array(["a", None], np.dtypes.StringDType(na_object=None)), "missing text"),
            (np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), "type"),
            (np.array([1], np.longdouble), "type"),
            (np.array(["0001-01-01"], "M8[s]"), "times that nanoseconds can't hold"),
            (np.array([10**7], "m8[D]"), "times that nanoseconds can't hold"),
            (np.array(["1700-01-01", "2261-01-01"], "M8[ns]"), "times that nanoseconds can't hold"),
        ],
    )
    def test_each_is_named(self, values, found):
        """A type that has no place in Zarr is said, with what to do."""
        problem = type_problem("v", xr.Variable("x", values))
        assert (problem.where, problem.code) == ("variable 'v'", "type")
        assert problem.found.startswith(found)
        assert problem.fix

    @pytest.mark.parametrize(
        "dtype", ["f2", "f4", ">f8", "i1", "u8", "?", "c8", "U3", "T", "M8[ns]", "m8[s]"]
    )
    def test_all_others_are_fine(self, dtype):
        """Numbers of any order of bytes, text, times."""
        kind = np.dtypes.StringDType() if dtype == "T" else np.dtype(dtype)
        assert type_problem("v", xr.Variable("x", np.zeros(2, kind))) is None

    def test_text_that_could_be_missing_and_is_not_is_fine(self):
        """The word "nan" is text."""
        values = np.array(["a", "nan"], np.dtypes.StringDType(na_object=np.nan))
        assert type_problem("v", xr.Variable("x", values)) is None

    def test_missing_times_are_fine(self):
        """Not a time is a time."""
        assert type_problem("v", xr.Variable("x", np.array(["NaT", "2026-01-01"], "M8[D]"))) is None

    def test_pandas_types_become_numpys(self):
        """Categories and pandas' own text are taken as the values they stand for."""
        dataset = xr.Dataset(
            {"c": ("x", pd.Categorical(["a", "b"])), "s": ("x", pd.array(["u", "v"], dtype="string"))}
        )
        plain = encoding.plain_dataset(dataset)
        assert [plain[name].values.tolist() for name in "cs"] == [["a", "b"], ["u", "v"]]
        assert all(isinstance(plain[name].dtype, np.dtype) for name in "cs")

    def test_a_plain_dataset_keeps_everything(self):
        """Values, attributes, coordinates and encodings stay; numpy's numbers in attributes become Python's."""
        dataset = xr.Dataset(
            {"v": ("x", [1.0], {"range": np.array([0.0, 1.5])}, {"_FillValue": -1.0})},
            {"x": ["a"]},
            {"rate": np.float32(2.5), "nested": {"n": np.int64(3), "of": (np.int8(1), "t")}},
        )
        before = dataset.copy(deep=True)
        plain = encoding.plain_dataset(dataset)
        assert json.loads(json.dumps(plain.attrs)) == {"rate": 2.5, "nested": {"n": 3, "of": [1, "t"]}}
        assert plain["v"].attrs == {"range": [0.0, 1.5]}
        assert plain["v"].encoding == {"_FillValue": -1.0}
        assert plain["v"].equals(dataset["v"])
        assert dataset.identical(before)


class TestDigest:
    """What makes two layers the same."""

    def layers(self, **changes):
        """Return two rows."""
        values = {
            "v": xr.Variable(("session", "x"), np.arange(6.0).reshape(2, 3)),
            "t": xr.Variable("session", np.array(["a", "b"], np.dtypes.StringDType())),
            "fixed": xr.Variable("x", np.arange(3)),
        }
        return {**values, **changes}

    def test_rows_differ(self):
        """Each row has its own."""
        assert layer_digest(self.layers(), "session", 0) != layer_digest(self.layers(), "session", 1)

    def test_a_row_is_the_same_wherever_it_lies(self):
        """The digest depends on the row alone."""
        alone = {n: v.isel(session=[1]) if "session" in v.dims else v for n, v in self.layers().items()}
        assert layer_digest(alone, "session", 0) == layer_digest(self.layers(), "session", 1)

    def test_the_order_of_variables_does_not_count(self):
        """Names are sorted."""
        turned = dict(reversed(self.layers().items()))
        assert layer_digest(turned, "session", 0) == layer_digest(self.layers(), "session", 0)

    def test_what_does_not_grow_does_not_count(self):
        """Channel names belong to the store."""
        other = self.layers(fixed=xr.Variable("x", np.arange(3) + 1))
        assert layer_digest(other, "session", 0) == layer_digest(self.layers(), "session", 0)

    @pytest.mark.parametrize(
        "change",
        [
            {"v": xr.Variable(("session", "x"), np.arange(6.0).reshape(2, 3) + 1e-12)},
            {"v": xr.Variable(("session", "x"), np.arange(6.0, dtype="f4").reshape(2, 3))},
            {"v": xr.Variable(("session", "y"), np.arange(6.0).reshape(2, 3))},
            {"v": xr.Variable(("session", "x", "y"), np.arange(6.0).reshape(2, 3, 1))},
            {"t": xr.Variable("session", np.array(["", "b"], np.dtypes.StringDType()))},
            {"more": xr.Variable("session", np.array([1, 2]))},
        ],
    )
    def test_anything_else_counts(self, change):
        """Values, types, dimensions, shapes, names."""
        assert layer_digest(self.layers(**change), "session", 0) != layer_digest(self.layers(), "session", 0)

    def test_text_is_not_run_together(self):
        """Where one text ends and the next begins counts."""
        rows = [
            {"t": xr.Variable(("session", "x"), np.array([words], np.dtypes.StringDType()))}
            for words in (["ab", "c"], ["a", "bc"])
        ]
        assert layer_digest(rows[0], "session", 0) != layer_digest(rows[1], "session", 0)

    def test_lazy_and_eager_are_the_same(self, monkeypatch):
        """Values read a block at a time have the digest of the whole."""
        eager = layer_digest(self.layers(), "session", 1)
        monkeypatch.setattr(encoding, "BLOCK_BYTES", 8)
        lazy = self.layers(v=xr.Variable(("session", "x"), dask.array.arange(6.0, chunks=1).reshape(2, 3)))
        assert layer_digest(lazy, "session", 1) == eager

    def test_the_order_of_bytes_does_not_count(self):
        """The same numbers in either order of bytes are the same but for their type's name."""
        big = xr.Variable(("session", "x"), np.arange(6, dtype=">f8").reshape(2, 3))
        assert np.dtype(">f8") != np.dtype("<f8")
        assert layer_digest({"v": big.astype("<f8")}, "session", 0) == layer_digest(
            {"v": self.layers()["v"]}, "session", 0
        )


class TestBlocks:
    """How a region is cut for writing."""

    @quick
    @given(st.data())
    def test_they_cover_the_box_once_and_share_no_unit(self, data):
        """Every element lies in one block, every unit in one as well, in C order."""
        axes = data.draw(st.integers(1, 3))
        unit = tuple(data.draw(st.integers(1, 4)) for _ in range(axes))
        bounds = tuple(tuple(sorted(data.draw(st.tuples(*[st.integers(0, 12)] * 2)))) for _ in range(axes))
        blocks = list(
            encoding.blocks_of(bounds, unit, data.draw(st.sampled_from([4, 1 << 20, 1 << 23, 1 << 25])))
        )
        elements = [
            e for block in blocks for e in itertools.product(*(range(p.start, p.stop) for p in block))
        ]
        assert sorted(elements) == list(itertools.product(*(range(*pair) for pair in bounds)))
        units = [
            {
                tuple(i // u for i, u in zip(e, unit, strict=True))
                for e in itertools.product(*(range(p.start, p.stop) for p in block))
            }
            for block in blocks
        ]
        assert sum(map(len, units)) == len(set().union(*units))

    def test_they_are_of_some_16_mb(self):
        """A large box is cut into blocks of whole units of about that size."""
        blocks = list(encoding.blocks_of(((0, 4), (0, 1000), (0, 1000)), (1, 10, 1000), 8))
        sizes = [np.prod([part.stop - part.start for part in block]) * 8 for block in blocks]
        assert max(sizes) <= encoding.BLOCK_BYTES
        assert sum(sizes) == 4 * 1000 * 1000 * 8
        assert len(blocks) == 2

    def test_a_unit_is_never_cut(self):
        """A unit larger than a block is a block."""
        assert len(list(encoding.blocks_of(((0, 2), (0, 1 << 23)), (1, 1 << 23), 8))) == 2

    def test_an_empty_box_has_none(self):
        """There is nothing to write."""
        assert list(encoding.blocks_of(((0, 4), (2, 2)), (1, 2), 8)) == []


def test_encodings_are_read_by_xarray():
    """The encoding of an array is what xarray itself finds in its document."""
    dataset = xr.Dataset(
        {
            "p": xr.Variable("x", [0.5], {}, PACKED),
            "t": xr.Variable("x", np.array([0], "M8[ns]")),
            "s": ("x", ["a"]),
        }
    )
    known = encodings(describe(dataset))
    assert (known["p"]["scale_factor"], known["p"]["_FillValue"]) == (0.1, -32768)
    assert known["p"]["dtype"] == np.dtype("i2")
    assert known["t"]["units"] == "nanoseconds since 1970-01-01"
    assert "units" not in known["s"]


def test_a_view_of_documents_has_no_values():
    """Dimensions, attributes and fill come from documents alone."""
    view = encoding.store_view(describe(xr.Dataset({"v": ("x", [1.0, 2.0], {"units": "V"})})), {"rate": 2})
    assert np.isnan(view["v"].values).all()
    assert (view.sizes, view["v"].attrs["units"], view.attrs) == ({"x": 2}, "V", {"rate": 2})
