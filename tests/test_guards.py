"""Every guard of an append: once refusing, once letting pass."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from make_stores import write_zarr
from memory_storage import MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade import append_labels, attribute_guards, codec_guards, guards, meaning_guards, name_guards
from aggrade.errors import BadInput, Refused
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
_HOMES = (guards, append_labels, attribute_guards, codec_guards, meaning_guards, name_guards)


@pytest.fixture
def world():
    """Return an empty world."""
    return World()


@pytest.fixture
def append(open_world, world):
    """Return a function that appends to one store."""

    def append(dataset, **how):
        chunks = {name: size for name, size in CHUNKS.items() if name in {*dataset.variables, *dataset.sizes}}
        values = {"grow": ("window",), "chunks": chunks, "storage_options": open_world(world), **how}
        return aggrade.append(dataset, STORE, **values)

    return append


@pytest.fixture
def store(append):
    """Return the same function, for a store that has one session."""
    append(make_session("s1", 3, 1))
    return append


def refused(append, world, dataset, *codes, error=Refused, **how):
    """Assert that an append is refused for these reasons, that nothing is written, and return the problems."""
    before = dict(world.objects)
    with pytest.raises(error) as caught:
        append(dataset, **how)
    assert [problem.code for problem in caught.value.problems] == list(codes)
    assert all(problem.fix and problem.found and problem.expected for problem in caught.value.problems)
    assert world.objects == before
    return caught.value.problems


def new(**changes):
    """Return another session, changed."""
    return make_session("s2", 3, 2).assign(changes)


class TestNames:
    """Names that Zarr can hold."""

    @pytest.mark.parametrize(
        "name", ["a/b", ".hidden", "__private", "c", "zarr.json", "", "a\\b", "a\0b", "v" * 256, "ä" * 128]
    )
    def test_a_name_that_is_a_key(self, append, world, name):
        """A name that collides with Zarr's own keys is refused."""
        dataset = xr.Dataset({name: ("session", [1.0])}, {"session": ["s"]})
        (problem,) = refused(append, world, dataset, "name", grow=())
        assert repr(name) in problem.where

    def test_a_dimension_without_a_name(self, append, world):
        """So is a dimension that is none."""
        dataset = xr.Dataset({"a": (("session", ""), [[1.0]])}, {"session": ["s"]})
        (problem,) = refused(append, world, dataset, "name", grow=())
        assert problem.where == "dimension ''"

    def test_a_key_longer_than_s3_holds(self, open_world, world):
        """The longest key, with its prefix and within a backup, has 1024 bytes at most."""
        url = f"world://bucket/{'/'.join(['p' * 200] * 3)}/{'p' * 130}/x.zarr"
        how = {"dry_run": True, "storage_options": open_world(world)}
        long, short = (xr.Dataset({"v" * n: ("session", [1.0])}, {"session": ["s"]}) for n in (255, 200))
        with pytest.raises(Refused) as caught:
            aggrade.append(long, url, **how)
        assert [problem.code for problem in caught.value.problems] == ["key-length"]
        assert caught.value.problems[0].where == f"variable {'v' * 255!r}"
        assert "s" in {layer.label for layer in aggrade.append(short, url, **how).new}

    @pytest.mark.parametrize("name", ["a b", "ä", "eeg.raw", "C", "cc", "1", "a:b", "v" * 255])
    def test_any_other_name(self, append, world, name):
        """Spaces, dots and any script are fine."""
        append(xr.Dataset({name: ("session", [1.0])}, {"session": ["s"]}), grow=(), chunks={})
        assert any(key.startswith(f"data/windows.zarr/{name}/c") for key in world.objects)


class TestTypes:
    """Values that Zarr can hold."""

    @pytest.mark.parametrize(
        "values",
        [
            np.array([b"ab"]),
            np.array([None], object),
            np.array([{"a": 1}], object),
            np.array([1.0], np.longdouble),
            np.array([(1,)], [("a", "i4")]),
            np.array(["0001-01-01"], "M8[s]"),
        ],
    )
    @pytest.mark.parametrize("exists", [True, False])
    def test_what_it_cannot(self, append, world, values, exists):
        """Bytes, objects, long doubles, records and ancient times are refused on create and on append."""
        if exists:
            append(xr.Dataset({"v": ("session", [1.0])}, {"session": ["s1"]}), grow=())
        dataset = xr.Dataset({"v": ("session", values)}, {"session": ["s"]})
        refused(append, world, dataset, "type", grow=())

    def test_labels_as_bytes(self, append, world):
        """Bytes are no label either."""
        refused(append, world, xr.Dataset({"v": ("session", [1.0])}, {"session": [b"s"]}), "type", grow=())

    def test_types_of_pandas(self, append, open_world, world):
        """Text and categories of pandas are taken for what they stand for."""
        frame = pd.DataFrame(
            {"kind": pd.Categorical(["x"]), "t": ["y"]}, index=pd.Index(["s"], name="session")
        )
        append(frame.to_xarray(), grow=(), chunks={})
        found = aggrade.verify(STORE, storage_options=open_world(world))
        assert found.ok


def _within_itself():
    value = [1]
    return [*value, {"a": value}] if value.append(value) is None else value


FAULTY = {
    "within itself": _within_itself(),
    "deep": functools.reduce(lambda inner, _: [inner], range(2000), 1),
    "deep mappings": functools.reduce(lambda inner, _: {"a": inner}, range(101), 1),
    "large": -(10**5000),
    "large within": {"a": [10**4300]},
    "large as a name": {10**5000: 1},
    "in an array": np.array([[10**5000]], object),
}


class TestAttributes:
    """Attributes that JSON can hold."""

    @pytest.mark.parametrize("value", [{1, 2}, b"x", 1j, float("nan"), np.datetime64("2026-01-01"), object()])
    def test_what_it_cannot(self, append, world, value):
        """Sets, bytes, times and what is not finite are refused, of the dataset and of a variable."""
        dataset = new().assign_attrs(a=value)
        dataset["eeg"].attrs["b"] = value
        problems = refused(append, world, dataset, "attribute", "attribute")
        assert [problem.where for problem in problems] == ["dataset", "variable 'eeg'"]

    @pytest.mark.parametrize("value", FAULTY.values(), ids=FAULTY)
    @pytest.mark.parametrize("where", ["dataset", "variable 'eeg'"])
    @pytest.mark.parametrize("exists", [True, False])
    def test_what_nobody_reads(self, append, world, value, where, exists):
        """Such are refused on create and later, together with what else is wrong, whatever they are called."""
        if exists:
            append(make_session("s1", 3, 1))
        dataset = new(label=("session", [b"ab"]))
        carrier = dataset if where == "dataset" else dataset["eeg"]
        carrier.attrs |= {"a": value, "b": [1, 2], "eeg_rate": value}
        codes = (*["type", "attribute", "attribute"], *["dimensions", "rate"] * exists)
        codes = codes if where == "dataset" else codes[: 4 if exists else 3]
        problems = refused(append, world, dataset, *codes)
        assert {problem.where for problem in problems if problem.code == "attribute"} == {where}

    @pytest.mark.parametrize("value", FAULTY.values(), ids=FAULTY)
    def test_a_label_that_nobody_reads(self, append, world, value):
        """It is no label."""
        dataset = xr.Dataset({"v": ("x", [1.0])}, attrs={"session_id": value})
        refused(append, world, dataset, "label-missing", error=BadInput, grow=())

    def test_a_name_that_is_no_text(self, append, world):
        """Names of attributes are text."""
        refused(append, world, new().assign_attrs({1: "x"}), "attribute")

    def test_numpy_and_nesting(self, append, world):
        """Numbers and arrays of numpy, at any depth, become JSON."""
        append(new().assign_attrs(a=np.float32(0.5), b=np.arange(2), c={"d": (np.int8(1), None, True)}))
        root = json.loads(world.objects["data/windows.zarr/zarr.json"][0])
        assert {key: root["attributes"][key] for key in "abc"} == {
            "a": 0.5,
            "b": [0, 1],
            "c": {"d": [1, None, True]},
        }

    def test_what_is_just_readable(self, append, world):
        """A hundred lists within each other and 4,300 digits are read back by Python's own reader."""
        deep, large = functools.reduce(lambda inner, _: [inner], range(100), 1), 10**4300 - 1
        append(new().assign_attrs(a=deep, b=large, c=[[1], [1]]))
        root = json.loads(world.objects["data/windows.zarr/zarr.json"][0])["attributes"]
        assert (root["a"], root["b"], root["c"]) == (deep, large, [[1], [1]])

    def test_of_a_store_that_has_its_own(self, store, world):
        """Attributes of later layers aren't kept, and don't matter."""
        assert store(new().assign_attrs(a={1, 2})).layers == {"s2": 1}
        assert "a" not in json.loads(world.objects["data/windows.zarr/zarr.json"][0])["attributes"]


class TestLabels:
    """One label for every layer."""

    @pytest.mark.parametrize("label", ["", " ", "nan", "NaT", "None"])
    def test_an_empty_one(self, append, world, label):
        """What stands for nothing is no label."""
        refused(append, world, new(session=("session", [label])), "label-empty")

    def test_missing_numbers(self, append, world):
        """A NaN or a NaT is none either."""
        for missing in (np.array([np.nan]), np.array(["NaT"], "M8[ns]")):
            dataset = xr.Dataset({"v": ("session", [1.0])}, {"session": missing})
            refused(append, world, dataset, "label-empty", grow=())

    def test_the_same_twice(self, append, world):
        """One dataset brings each label once."""
        twice = xr.concat([make_session("s1", 3, 1), make_session("s1", 3, 2)], "session")
        (problem,) = refused(append, world, twice, "label-twice")
        assert problem.found == "s1 more than once"

    def test_none_at_all(self, append, world):
        """A dataset without layers is not a layer."""
        refused(append, world, new().isel(session=slice(0)), "label-missing")

    @pytest.mark.parametrize("label", ["Sub 03/ä", "..", "日本", "a\nb", "x" * 500])
    def test_any_text(self, store, world, open_world, label):
        """Spaces, slashes and any script are legal."""
        store(new(session=("session", np.array([label], object))))
        assert aggrade.verify(STORE, storage_options=open_world(world)).ok

    @pytest.mark.parametrize("labels", [np.array([7]), np.array(["2026-01-01T06"], "M8[s]"), np.array([2.5])])
    def test_numbers_and_times(self, append, world, open_world, labels):
        """Labels may be numbers and times, and are the same in whatever unit they come."""
        dataset = xr.Dataset({"v": ("session", [1.0])}, {"session": labels})
        first = append(dataset, grow=(), chunks={})
        if labels.dtype.kind == "M":
            dataset = dataset.assign_coords(session=labels.astype("M8[ms]"))
        assert append(dataset, grow=(), chunks={}) == first
        assert aggrade.verify(STORE, storage_options=open_world(world)).ok


class TestLabelsOfTheStoresType:
    """A label has one spelling: the store's own."""

    def row(self, label, value):
        """Return one row."""
        return xr.Dataset({"v": ("session", [value])}, {"session": label})

    @pytest.mark.parametrize(
        ("first", "again"),
        [
            (np.array([5]), np.array([5.0])),
            (np.array([1]), np.array([True])),
            (np.array([5.0]), np.array([5])),
            (np.array([0.1], "f4"), np.array([np.float32(0.1)], "f8")),
            (np.array([0.0]), np.array([-0.0])),
        ],
    )
    def test_the_same_in_another_type(self, append, world, open_world, first, again):
        """It is the same layer: a no-op with the same content, refused with another; `verify` is content."""
        receipt = append(self.row(first, 1.0), grow=(), chunks={})
        assert append(self.row(again, 1.0), grow=(), chunks={}) == receipt
        refused(append, world, self.row(again, 2.0), "layer-differs", grow=(), chunks={})
        assert aggrade.verify(STORE, storage_options=open_world(world)).ok

    @pytest.mark.parametrize(
        ("first", "other", "fits"),
        [
            (np.array([5]), np.array([5.5]), False),
            (np.array([5]), np.array([7.0]), True),
            (np.array([5.0]), np.array([2**53 + 1]), False),
            (np.array([5.0]), np.array([7]), True),
        ],
    )
    def test_another(self, append, world, open_world, first, other, fits):
        """What the store's type holds is a new layer, by the store's spelling; what it doesn't hold is refused."""
        append(self.row(first, 1.0), grow=(), chunks={})
        if not fits:
            refused(append, world, self.row(other, 2.0), "value-lost", grow=(), chunks={})
            return
        spelt = str(other.astype(first.dtype)[0])
        assert append(self.row(other, 2.0), grow=(), chunks={}).layers == {spelt: 1}
        assert aggrade.verify(STORE, storage_options=open_world(world)).ok


class TestForeignRows:
    """Stores that another tool made."""

    @pytest.fixture
    def foreign(self, tmp_path):
        """Return the URL of a store that xarray wrote, and its sessions."""
        text = {"session": {"dtype": np.dtypes.StringDType()}}
        dataset = xr.Dataset({"v": ("session", [1.0, 2.0])}, {"session": np.array(["a", "b"], object)})
        write_zarr(dataset, tmp_path / "x.zarr", encoding=text)
        root = json.loads((tmp_path / "x.zarr" / "zarr.json").read_bytes())
        del root["attributes"]["aggrade"]
        (tmp_path / "x.zarr" / "zarr.json").write_text(json.dumps(root))
        return str(tmp_path / "x.zarr")

    def row(self, label, value=3.0):
        """Return one row."""
        return xr.Dataset({"v": ("session", [value])}, {"session": np.array([label], object)})

    def test_a_label_that_is_there(self, foreign):
        """Nothing says what such a row holds: the same label is refused, even with the same content."""
        with pytest.raises(Refused) as caught:
            aggrade.append(self.row("b", 2.0), foreign)
        assert caught.value.code == "label-there"

    def test_new_labels(self, foreign):
        """They are added, the old rows stay and are not complained of; the guard holds after the first append too."""
        aggrade.append(self.row("c"), foreign)
        aggrade.append(self.row("d"), foreign)
        assert xr.open_zarr(foreign)["session"].values.tolist() == ["a", "b", "c", "d"]
        assert aggrade.verify(foreign).ok
        with pytest.raises(Refused, match="a row that was there before aggrade"):
            aggrade.append(self.row("a"), foreign)

    @pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
    def test_text_of_a_fixed_width(self, tmp_path):
        """What is longer than the store's text is refused; what fits is kept."""
        dataset = xr.Dataset({"t": ("session", np.array(["ab"])), "v": ("session", [1])}, {"session": [1]})
        write_zarr(dataset, tmp_path / "x.zarr")
        store = str(tmp_path / "x.zarr")
        with pytest.raises(Refused, match="abc") as caught:
            aggrade.append(dataset.assign(t=("session", ["abc"]), session=[2]), store)
        assert caught.value.code == "value-lost"
        aggrade.append(dataset.assign(t=("session", ["c"]), session=[2]), store)
        assert xr.open_zarr(store)["t"].values.tolist() == ["ab", "c"]
        assert aggrade.verify(store).ok


class TestShape:
    """The same variables with the same dimensions."""

    def test_another_dimension_than_the_stores(self, store, world):
        """A store grows along one dimension for life."""
        dataset = make_session("s2", 3, 2).assign_coords(window=np.arange(3))
        codes = [p.code for p in _problems(store, dataset, dim="window", grow=())]
        assert codes[0] == "dimension"
        assert world.objects

    def test_a_missing_variable(self, store, world):
        """A hole that looks like data is refused."""
        (problem,) = refused(store, world, new().drop_vars("label"), "missing-variable")
        assert problem.where == "variable 'label'"

    def test_an_extra_variable(self, store, world):
        """What the store doesn't have has no place in it; a likely name is offered."""
        renamed = new().rename(window_start="windows_start")
        problems = refused(store, world, renamed, "extra-variable", "missing-variable")
        assert problems[0].fix == "rename it to 'window_start'"
        (problem,) = refused(store, world, new(zzz=("session", [1.0])), "extra-variable")
        assert problem.fix == "drop it, or start a new store"

    def test_transposed(self, store, world):
        """Dimensions keep their order."""
        turned = new().transpose("session", "window", "eeg_sample", "eeg_channel")
        refused(store, world, turned, "dimensions")

    def test_ragged_where_it_must_not_be(self, store, world):
        """What was not declared to grow has the store's size."""
        refused(store, world, make_session("s2", 3, 2, samples=6), "size")

    def test_ragged_where_it_may_be(self, store):
        """More windows and fewer windows are fine, and the store remembers that they may differ."""
        assert store(make_session("s2", 9, 2)).layers == {"s2": 1}
        assert store(make_session("s3", 1, 3), grow=()).layers == {"s3": 2}

    def test_windows_that_were_not_declared(self, append, world):
        """Without `grow` nothing but the layers grows, which is said once, with all the variables that it concerns."""
        append(make_session("s1", 3, 1), grow=())
        (problem,) = refused(append, world, make_session("s2", 4, 2), "size", grow=())
        assert problem.where == "variables 'eeg', 'window_start', 'label'"
        assert (problem.found, problem.expected) == ("window of 4", "3, as in the store")
        assert "grow=('window',)" in problem.fix


class TestFixedValues:
    """What doesn't grow is equal."""

    def test_channels_in_another_order(self, store, world):
        """Old data would be relabelled."""
        turned = new().isel(eeg_channel=[1, 0])
        (problem,) = refused(store, world, turned, "channels")
        assert (problem.found, problem.expected) == ("2: E1, E0 (in another order)", "the store's 2: E0, E1")

    def test_channels_of_another_name(self, store, world):
        """One name is enough; both lists are told, and what only one of them has."""
        (problem,) = refused(store, world, new(eeg_channel=("eeg_channel", ["E0", "Fp1"])), "channels")
        assert problem.found == "2: E0, Fp1 (only here: Fp1; only in the store: E1)"
        assert problem.expected == "the store's 2: E0, E1"

    def test_more_channels(self, store, world):
        """Lists of other lengths are told side by side, once, with what to do."""
        (problem,) = refused(store, world, make_session("s2", 3, 2, channels=3), "channels")
        assert problem.found == "3: E0, E1, E2 (only here: E2)"
        assert problem.expected == "the store's 2: E0, E1"
        assert "by eeg_channels of the window specification" in problem.fix
        assert "channels='union'" in problem.fix

    @pytest.mark.parametrize("channels", ["refuse", "union"])
    def test_units_of_channels(self, append, world, channels):
        """A channel has one unit, compared by name; both are told, of those that differ."""
        units = {"eeg_channel_unit": ("eeg_channel", ["µV", "V"])}
        append(make_session("s1", 3, 1).assign_coords(units))
        other = make_session("s2", 3, 2).assign_coords(units).isel(eeg_channel=[1, 0])
        other = other.assign_coords(eeg_channel_unit=("eeg_channel", ["mV", "µV"]))
        codes = ["channels"] * (channels == "refuse") + ["channel-values"]
        problem = refused(append, world, other, *codes, channels=channels)[-1]
        assert (problem.found, problem.expected) == ("E1 mV", "E1 V, as in the store")

    def test_a_name_that_two_channels_bear(self, store, world):
        """Channels that can't be told apart are not united."""
        twice = new().assign_coords(eeg_channel=("eeg_channel", ["E0", "E0"]))
        (problem,) = refused(store, world, twice, "channel-twice", channels="union")
        assert problem.found == "E0 more than once"

    def test_a_rule_that_there_is_not(self, store, world):
        """What is to become of other channels has two answers."""
        refused(store, world, new(), "channels-rule", error=BadInput, channels="merge")

    def test_numbers(self, append, world):
        """Numbers are compared exactly, NaN equal to NaN."""
        dataset = new(gain=("eeg_channel", [1.0, np.nan]))
        append(dataset)
        append(dataset.assign(session=("session", ["s3"])))
        other = dataset.assign(session=("session", ["s4"]), gain=("eeg_channel", [1.0 + 1e-15, np.nan]))
        refused(append, world, other, "channel-values")

    def test_labels_of_a_dimension_that_grows(self, append, world):
        """Old labels stay, new ones are added."""
        append(make_session("s1", 3, 1).assign_coords(window=[0, 1, 2]))
        append(make_session("s2", 5, 2).assign_coords(window=[0, 1, 2, 3, 4]))
        append(make_session("s3", 2, 3).assign_coords(window=[0, 1]))
        other = make_session("s4", 3, 4).assign_coords(window=[0, 1, 7])
        refused(append, world, other, "growing-values")


class TestUnits:
    """Units and rates."""

    @pytest.mark.parametrize("unit", ["uV", "µV", None])
    def test_another_unit(self, store, world, unit):
        """Numbers would be off by factors."""
        dataset = new()
        dataset["eeg"].attrs = {"units": unit} if unit else {}
        (problem,) = refused(store, world, dataset, "unit")
        assert problem.expected == "'V'"

    def test_a_unit_where_there_was_none(self, store, world):
        """What had no unit has none."""
        dataset = new()
        dataset["n_windows"].attrs["units"] = "1"
        refused(store, world, dataset, "unit")

    def test_another_rate(self, store, world):
        """A rate stands in the store once, for all layers."""
        (problem,) = refused(store, world, new().assign_attrs(eeg_rate=500.0), "rate")
        assert (problem.found, problem.expected) == ("500.0", "250.0")

    @pytest.mark.parametrize("name", ["fs", "sfreq", "Sampling_Frequency", "SamplingRate", "eeg_hz", "srate"])
    @pytest.mark.parametrize("where", ["dataset", "variable"])
    def test_a_rate_of_any_name(self, append, world, name, where):
        """Whatever a rate is called, one that differs, or that one side lacks, is refused; the same one passes."""

        def session(label, value):
            dataset = make_session(label, 3, 1)
            carrier = dataset if where == "dataset" else dataset["eeg"]
            carrier.attrs |= {} if value is None else {name: value}
            return dataset

        append(session("s1", 250))
        refused(append, world, session("s2", 500), "rate")
        refused(append, world, session("s2", None), "rate")
        assert append(session("s2", 250.0)).layers == {"s2": 1}

    def test_a_rate_that_the_store_lacks(self, store, world):
        """A rate would get lost where the store has none, be it within a mapping."""
        (problem,) = refused(store, world, new().assign_attrs(eeg={"sfreq": 250}), "rate")
        assert (problem.where, problem.found, problem.expected) == ("attribute 'eeg.sfreq'", "250", "nothing")

    def test_another_spelling_of_a_name(self, store, world):
        """Names are the same in capitals."""
        dataset = new().drop_attrs(deep=False).assign_attrs(EEG_Rate=250)
        store(dataset)
        refused(store, world, dataset.assign(session=("session", ["s3"])).assign_attrs(EEG_Rate=1), "rate")

    def test_a_unit_in_the_singular(self, append, world):
        """The attribute may be called `unit`, too."""
        first, other = make_session("s1", 3, 1), new()
        first["eeg"].attrs["unit"], other["eeg"].attrs["unit"] = "V", "µV"
        append(first)
        (problem,) = refused(append, world, other, "unit")
        assert (problem.found, problem.expected) == ("unit 'µV'", "'V'")
        other["eeg"].attrs["unit"] = "V"
        append(other)

    def test_a_session_without_a_modality(self, append):
        """It lacks the rates of that modality, too, and is taken."""
        both = make_session("s1", 3, 1).assign(fnirs=(("session", "window"), np.ones((1, 3))))
        append(both.assign_attrs(fnirs_rate=10.0))
        assert append(make_session("s2", 3, 2)).layers == {"s2": 1}

    def test_other_attributes(self, append):
        """What isn't a unit or a rate may differ: it isn't kept, and plan and receipt say so."""
        append(make_session("s1", 3, 1).assign_attrs(subject="A", site="x"))
        dataset = new().assign_attrs(subject="B", site="x", eeg_rate=250)
        dataset["eeg"].attrs["reference"] = "Cz"
        named = ["attribute 'subject' of the dataset", "attribute 'reference' of variable 'eeg'"]
        plan = append(dataset, dry_run=True)
        assert list(plan.left_out) == named
        assert all(name in str(plan) for name in named)
        assert append(dataset).details == {"left_out": named}

    def test_nothing_to_note(self, store):
        """Where attributes are the store's there is no note."""
        assert "note" not in str(store(new(), dry_run=True))
        assert store(new()).details == {}


class TestValues:
    """Values come back exactly, or are refused: what peers change in silence."""

    def other(self, append, world, first, then, *codes, **encoding):
        """Store one row of some type and append another; return the values as plain readers see them."""
        one = xr.Dataset({"v": xr.Variable("session", first, {}, encoding)}, {"session": ["a"]})
        two = xr.Dataset({"v": ("session", then)}, {"session": ["b"]})
        append(one, grow=(), chunks={})
        if codes:
            return refused(append, world, two, *codes, grow=(), chunks={})
        append(two, grow=(), chunks={})
        return None

    @pytest.mark.parametrize(
        ("first", "then", "encoding"),
        [
            (np.array([0.5], "f4"), np.array([0.1]), {}),
            (np.array([0.5], "f4"), np.array([1e300]), {}),
            (np.array([1], "i2"), np.array([70_000]), {}),
            (np.array([1], "i1"), np.array([300]), {}),
            (np.array([1], "i2"), np.array([1.7]), {}),
            (np.array([1], "i2"), np.array([np.nan]), {}),
            (np.array([1], "u2"), np.array([-1]), {}),
            (np.array([1.0]), np.array([2**53 + 1]), {}),
            (np.array([1.0]), np.array([2**64 - 1], "u8"), {}),
            (np.array([1.0], "f4"), np.array([2**24 + 1], "i4"), {}),
            (np.array([1]), np.array([2.0**63]), {}),
            (np.array([1]), np.array([2**64 - 1], "u8"), {}),
            (np.array([1], "u8"), np.array([-(2**63)]), {}),
            (np.array([1 + 1j]), np.array([2**53 + 1]), {}),
            (np.array([1.0]), np.array([1 + 2j]), {}),
            (np.array([1.0]), np.array([complex(np.nan, 1)]), {}),
            (np.array([0.5]), np.array([1e6]), {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
            (np.array([0.5]), np.array([0.3]), {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
            (np.array([0.5]), np.array([-0.5]), {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
            (np.array([1.0]), np.array([-9.0]), {"_FillValue": -9.0}),
            (
                np.array(["2026-01-01"], "M8[ns]"),
                np.array(["2026-01-01T06"], "M8[ns]"),
                {"units": "days since 2026-01-01", "dtype": "i8"},
            ),
            (np.array([1], "m8[s]"), np.array([1500], "m8[ms]"), {"units": "seconds", "dtype": "i8"}),
        ],
    )
    @pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
    @pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
    def test_what_would_be_lost(self, append, world, first, then, encoding):
        """Overflow, rounding, packing, missing integers, fills, half days and half seconds are refused."""
        (problem,) = self.other(append, world, first, then, "value-lost", **encoding)
        assert problem.found.startswith(str(then[0])) or "np." not in problem.found

    @pytest.mark.parametrize(
        ("first", "then", "encoding"),
        [
            (np.array([0.5], "f4"), np.array([0.25]), {}),
            (np.array([0.5], "f4"), np.array([np.nan]), {}),
            (np.array([0.5], "f4"), np.array([7], "i2"), {}),
            (np.array([1], "i8"), np.array([5], "i2"), {}),
            (np.array([1.0]), np.array([2**53]), {}),
            (np.array([1.0]), np.array([2**63], "u8"), {}),
            (np.array([1]), np.array([-(2.0**63)]), {}),
            (np.array([1], "u8"), np.array([2.0**63]), {}),
            (np.array([1 + 1j]), np.array([3]), {}),
            (np.array([1], "i2"), np.array([5.0]), {}),
            (np.array([0.5]), np.array([1.5]), {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
            (np.array([0.5]), np.array([np.nan]), {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
            (np.array(["2026-01-01"], "M8[ns]"), np.array(["1970-01-01T00:00:00.000000001"], "M8[ns]"), {}),
            (np.array(["2026-01-01"], "M8[D]"), np.array(["2026-01-01T06"], "M8[h]"), {}),
            (np.array([0], "m8[s]"), np.array([1], "m8[ns]"), {}),
            (np.array([86_400], "m8[s]"), np.array(["NaT"], "m8[s]"), {}),
            (np.array(["abc"]), np.array(["longer than abc"]), {}),
            (np.array(["abc"]), np.array(["日本"], object), {}),
            (np.array([True]), np.array([False]), {}),
        ],
    )
    def test_what_is_kept(self, append, world, first, then, encoding):
        """What the store's type holds exactly is taken, whatever type it comes in."""
        self.other(append, world, first, then, **encoding)
        opened = xr.open_zarr(ReadStore(MemoryStorage(world, "data/windows.zarr")), consolidated=True)["v"]
        for found, handed in zip(opened.values, [first[0], then[0]], strict=True):
            missing = found != found and handed != handed  # noqa: PLR0124 - NaN and NaT alone differ from themselves
            assert missing or found == handed

    @pytest.mark.parametrize(
        ("first", "then"),
        [
            (np.array([1.0]), np.array(["a"])),
            (np.array(["a"]), np.array([1.0])),
            (np.array([1.0]), np.array(["2026-01-01"], "M8[ns]")),
            (np.array(["2026-01-01"], "M8[ns]"), np.array([1.0])),
            (np.array([1], "m8[s]"), np.array([1])),
        ],
    )
    def test_another_kind(self, append, world, first, then):
        """Text, numbers and times don't mix, and what is expected is not what was found."""
        (problem,) = self.other(append, world, first, then, "dtype")
        assert problem.found != problem.expected

    def test_numbers_with_the_unit_of_a_time(self, append, world):
        """Readers would make times of them: refused with that reason; as times, or in plain days, they pass."""
        since = {"units": "days since 2000-01-01"}
        dataset = xr.Dataset({"v": ("session", [1.0], since)}, {"session": ["a"]})
        (problem,) = refused(append, world, dataset, "dtype", grow=(), chunks={})
        assert "since" in problem.found
        assert problem.expected.startswith("datetime64")
        dataset["v"].attrs["units"] = "d"
        append(dataset.assign(w=xr.decode_cf(xr.Dataset({"w": ("session", [1.0], since)}))["w"]), grow=())

    @pytest.mark.parametrize(
        ("values", "attributes", "encoding", "fix"),
        [
            (np.array([-5], "i1"), {"_Unsigned": "true"}, {}, "'_Unsigned' from its attributes.* as int8"),
            (np.array([200], "u1"), {"_Unsigned": "false"}, {}, "'_Unsigned' from its attributes.* as uint8"),
            (np.array([1], "i4"), {"missing_value": 1}, {}, "'missing_value' from its attributes.* as int32"),
            (np.array([200], "u1"), {}, {"_Unsigned": "true", "dtype": "i1", "_FillValue": -1}, "encoding"),
            (np.array([0.3]), {}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}, "encoding"),
        ],
    )
    def test_a_first_layer_that_says_itself_how_it_is_stored(
        self, append, world, values, attributes, encoding, fix
    ):
        """There is no store yet whose type it could be brought into: what helps is to say nothing."""
        dataset = xr.Dataset({"v": xr.Variable("session", values, attributes, encoding)}, {"session": ["a"]})
        (problem,) = refused(append, world, dataset, "value-lost", grow=(), chunks={})
        assert re.search(fix, problem.fix)
        dataset["v"].attrs = {}
        append(dataset.drop_encoding(), grow=(), chunks={})
        opened = xr.open_zarr(ReadStore(MemoryStorage(world, "data/windows.zarr")), consolidated=True)["v"]
        assert (opened.dtype, opened.values.tolist()) == (values.dtype, values.tolist())

    @pytest.mark.parametrize("dry_run", [True, False])
    @pytest.mark.parametrize(
        ("values", "attributes", "encoding"),
        [
            ([1.0], {"units": "fortnights since whenever"}, {}),
            (["a"], {"units": "days since 2000-01-01"}, {}),
            ([1.0], {"units": "days since 2000-01-01", "calendar": "noleap"}, {}),
            (np.array(["2026-01-01"], "M8[ns]"), {}, {"calendar": "noleap"}),
            (np.array(["2026-01-01"], "M8[ns]"), {}, {"calendar": 7, "units": "days since 2000-01-01"}),
        ],
    )
    def test_times_that_nobody_can_read(self, append, world, values, attributes, encoding, dry_run):
        """Units and calendars of which no times can be made are named, each variable with a remedy."""
        dataset = xr.Dataset(
            {
                "v": xr.Variable("session", values, attributes, encoding),
                "w": xr.Variable("session", values, attributes, encoding),
            },
            {"session": ["a"]},
        )
        found = refused(append, world, dataset, *["time-units"] * 2, grow=(), chunks={}, dry_run=dry_run)
        assert [problem.where for problem in found] == ["variable 'v'", "variable 'w'"]


class TestLayout:
    """Chunks are for life."""

    def test_other_chunks(self, store, world):
        """What isn't the store's is refused for each variable that it concerns."""
        problems = refused(store, world, new(), "chunks", chunks={"eeg": (1, 1, 2, 5)})
        assert "rechunk" in problems[0].fix

    def test_shards_where_there_are_none(self, store, world):
        """So are shards."""
        refused(store, world, new(), "chunks", shards={"eeg": (1, 4, 2, 5)})

    def test_the_same_again(self, append):
        """The arguments of the first append may be given each time; shards of 5 were once rounded to 6."""
        chunks = {"session": 1, "window": 2}
        for number, shard in enumerate((6, 6, 5)):
            how = {"chunks": chunks, "shards": {"window": shard}}
            assert append(make_session(f"s{number}", 3, number), **how).layers == {f"s{number}": number}

    def test_nothing_said(self, store):
        """What isn't named keeps the store's."""
        assert store(new(), chunks=None).layers == {"s2": 1}

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_a_first_wish_that_cannot_be_granted(self, append, world, dry_run):
        """Nothing is rounded, ignored or tried in vain: all that is wrong is said before the first byte."""
        how = {"chunks": {"windows": 2, "window": 2, "eeg": (10**7, 1, 2, 5)}, "shards": {"window": 5}}
        codes = ["chunk-size"] * 4
        found = refused(append, world, new(), *codes, error=BadInput, dry_run=dry_run, **how)
        places = {problem.where for problem in found}
        assert {"chunks['windows']", "shards of 'label'", "chunks of 'eeg'"} <= places
        append(new(), chunks={"window": 2, "eeg": (1, 1, 2, 5)}, shards={"window": 4})

    @pytest.mark.parametrize("dry_run", [True, False])
    @pytest.mark.parametrize("what", ["chunks", "shards"])
    @pytest.mark.parametrize("size", [{"windows": 2}, {"egg": (1, 1, 2, 5)}])
    def test_names_that_a_store_does_not_have(self, store, world, what, size, dry_run):
        """They would decide nothing: refused as on create, with all else that is wrong."""
        wrong = new().drop_vars("label")
        (name,) = size
        found = refused(
            store,
            world,
            wrong,
            "missing-variable",
            "chunk-size",
            **{"chunks": {}, what: size},
            dry_run=dry_run,
        )
        assert found[1].where == f"{what}[{name!r}]"

    def test_sizes_of_what_a_layer_lacks(self, append):
        """The names of the store are known, though this layer doesn't have them."""
        both = {"eeg": ("session", [1.0]), "fnirs": (("session", "f"), [[1.0]])}
        append(xr.Dataset(both, {"session": ["a"]}), chunks={})
        one = xr.Dataset({"eeg": ("session", [1.0])}, {"session": ["b"]})
        assert append(one, chunks={"f": 1}, dry_run=True).new

    def test_sizes_that_are_none(self, append, world):
        """A size of 0 is a wrong parameter."""
        refused(append, world, new(), "chunk-size", error=BadInput, chunks={"session": 0})


def _problems(append, dataset, **how):
    with pytest.raises(Refused) as caught:
        append(dataset, **how)
    return caught.value.problems


class TestAllAtOnce:
    """Every reason in one error."""

    def test_of_several_guards(self, store, world):
        """Someone who has to fix something learns of everything."""
        wrong = new(extra=("session", [1.0]), n_windows=("session", [2.5])).drop_vars("label")
        wrong = wrong.isel(eeg_channel=[1, 0]).assign_attrs(eeg_rate=500.0)
        wrong["eeg"].attrs["units"] = "uV"
        found = refused(
            store, world, wrong,
            *("extra-variable", "missing-variable", "channels", "unit", "rate", "value-lost", "chunks"),
            chunks={"eeg": (1, 1, 2, 5)},
        )  # fmt: skip
        assert len(found) == 7

    def test_on_create(self, append, world):
        """What can be said of a dataset alone is said at once too."""
        wrong = xr.Dataset({"a/b": ("session", [b"x"])}, {"session": [""]}, {"bad": {1}})
        refused(append, world, wrong, "name", "type", "attribute", "label-empty", grow=())

    def test_the_dry_run_says_the_same(self, store, world):
        """Guards are the same code in the dry run, and it writes nothing."""
        refused(store, world, new().drop_vars("label"), "missing-variable", dry_run=True)

    def test_guards_only_read(self, store, open_world, world):
        """A refused append sends no write."""
        hooks = Numbered()
        with pytest.raises(Refused):
            store(new().drop_vars("label"), storage_options=open_world(world, hooks))
        assert {kind.split()[0] for kind in hooks.kinds} <= {"GET", "HEAD"}

    def test_every_guard_is_listed(self):
        """A guard that isn't in the list would never be asked."""
        listed = {guard.__name__ for guard in guards.GUARDS}
        source = re.findall(r"^def (\w+)\(asked: Asked\) -> Iterator\[Problem\]", _source(), re.MULTILINE)
        assert "units_match" in source
        assert listed == set(source)
        assert set(guards.OWN_GUARDS) <= set(guards.GUARDS)


def _source():
    return "".join(Path(one.__file__).read_text("utf-8") for one in _HOMES)
