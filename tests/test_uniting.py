"""Joined lazily, datasets equal what xarray makes of them in memory, and what does not fit is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.backends import BackendArray
from xarray.core import indexing

from aggrade.errors import BadInput
from aggrade.uniting import unite

RNG = np.random.default_rng(3)


class _Recording(BackendArray):
    """An array that notes what is read of it."""

    def __init__(self, values, log):
        self.values, self.log = values, log
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key):
        self.log.append(key)
        return self.values[
            np.ix_(*(np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)))
        ]


def _lazy(dims, values, log, fill=None):
    encoding = {} if fill is None else {"fill_value": fill}
    return xr.Variable(dims, indexing.LazilyIndexedArray(_Recording(values, log)), {}, encoding)


def _part(sessions, windows, channels=("a", "b"), log=None):
    log = [] if log is None else log
    n, c = len(sessions), len(channels)
    return xr.Dataset(
        {
            "eeg": _lazy(
                ("session", "window", "channel"), RNG.normal(size=(n, windows, c)).astype("f4"), log
            ),
            "label": _lazy(
                ("session", "window"), RNG.integers(0, 5, (n, windows)).astype("i2"), log, fill=-1
            ),
            "n": ("session", np.full(n, windows, "i4")),
        },
        {
            "session": ("session", np.array(sessions, object)),
            "channel": ("channel", np.array(channels, object)),
            "unit": ("channel", np.array(["V"] * c, object)),
        },
        {"title": "windows", "aggrade": {"generation": n}},
    )


def _by_hand(parts, windows, channels):
    """Return what the whole must be, copied value by value."""
    rows = [(part, row) for part in parts for row in range(part.sizes["session"])]
    eeg = np.full((len(rows), windows, len(channels)), np.nan, "f4")
    label = np.full((len(rows), windows), -1, "i2")
    for index, (part, row) in enumerate(rows):
        label[index, : part.sizes["window"]] = part["label"].values[row]
        for column, channel in enumerate(part["channel"].values):
            values = part["eeg"].values[row, :, column]
            eeg[index, : part.sizes["window"], channels.index(channel)] = values
    return eeg, label


@pytest.fixture
def parts():
    """Give three parts that differ in sessions, windows and channels."""
    return {
        "one": _part(["s1", "s2"], 3),
        "two": _part(["s3"], 5, ("b", "a")),
        "three": _part(["s4", "s5", "s6"], 2, ("a", "c")),
    }


def test_the_whole_equals_the_parts_copied_by_hand(parts):
    """Every value lies at its session, window and channel; what a part lacks is its fill, types unchanged."""
    whole = unite(parts, dim="session", ragged=("window",))
    eeg, label = _by_hand(parts.values(), 5, ["a", "b", "c"])
    assert list(whole["channel"].values) == ["a", "b", "c"]
    assert list(whole["session"].values) == ["s1", "s2", "s3", "s4", "s5", "s6"]
    np.testing.assert_array_equal(whole["eeg"].values, eeg)
    np.testing.assert_array_equal(whole["label"].values, label)
    assert whole["eeg"].dtype == np.dtype("f4")
    assert whole["label"].dtype == np.dtype("i2")
    assert list(whole["n"].values) == [3, 3, 5, 2, 2, 2]
    assert list(whole["unit"].values) == ["V", "V", "V"]


def test_attributes_on_which_all_agree_are_kept(parts):
    """What is the same wherever it is said stays; what differs and each store's bookkeeping are dropped."""
    parts["two"].attrs["fnirs_window_s"] = 2.0
    parts["one"].attrs["spec"], parts["two"].attrs["spec"] = {"a": 1}, {"a": 2}
    found = unite(parts, dim="session", ragged=("window",)).attrs
    assert found == {"title": "windows", "fnirs_window_s": 2.0}


def _slices(size):
    """Draw slices but for empty ones that run backwards, on which xarray itself fails."""
    return st.slices(size).filter(lambda item: (item.step or 1) > 0 or len(range(size)[item]) > 0)


@settings(max_examples=150, deadline=None)
@given(
    session=st.one_of(
        st.integers(0, 5),
        _slices(6),
        st.lists(st.integers(-6, 5), max_size=8).map(lambda items: np.array(items, int)),
    ),
    window=st.one_of(st.integers(0, 4), _slices(5)),
    channel=st.one_of(st.integers(-3, 2), _slices(3)),
)
def test_any_index_reads_what_numpy_reads(session, window, channel):
    """Indexing the whole lazily equals indexing it in memory, for any integers, slices and lists."""
    parts = {
        "one": _part(["s1", "s2"], 3),
        "two": _part(["s3"], 5, ("b", "a")),
        "three": _part(["s4", "s5", "s6"], 2, ("a", "c")),
    }
    whole = unite(parts, dim="session", ragged=("window",))
    memory = whole.copy(deep=True).load()
    lazy = unite(parts, dim="session", ragged=("window",))
    index = {"session": session, "window": window, "channel": channel}
    for name in ("eeg", "label"):
        mine = {dim: item for dim, item in index.items() if dim in lazy[name].dims}
        np.testing.assert_array_equal(lazy[name].isel(mine).values, memory[name].isel(mine).values)


def test_nothing_is_read_before_it_is_asked_for():
    """Joining reads no values; one window reads one window of one part; a window beyond its end reads nothing."""
    logs = [[], []]
    parts = {"one": _part(["s1"], 3, log=logs[0]), "two": _part(["s2", "s3"], 5, log=logs[1])}
    whole = unite(parts, dim="session", ragged=("window",))
    assert logs == [[], []]
    whole["eeg"].isel(session=2, window=4).values  # noqa: B018
    assert logs[0] == []
    assert logs[1] == [(slice(1, 2, 1), slice(4, 5, 1), slice(0, 2, 1))]
    whole["eeg"].isel(session=0, window=4).values  # noqa: B018
    assert logs[0] == []


def test_a_variable_that_a_part_lacks_is_fill(parts):
    """A session without a modality shows NaN in its place, and the others are untouched."""
    parts["two"] = parts["two"].drop_vars("eeg")
    whole = unite(parts, dim="session", ragged=("window",))
    assert np.isnan(whole["eeg"].values[2]).all()
    np.testing.assert_array_equal(whole["eeg"].values[0, :3, :2], parts["one"]["eeg"].values[0])


def test_text_along_sessions_is_joined(parts):
    """Text per session stays text, and where a part has none it is empty."""
    parts["one"] = parts["one"].assign(source=("session", np.array(["x.xdf", "ü" * 40], object)))
    whole = unite(parts, dim="session", ragged=("window",))
    assert list(whole["source"].values) == ["x.xdf", "ü" * 40, "", "", "", ""]


def test_one_part_comes_back_as_it_is(parts):
    """There is nothing to join."""
    assert unite({"one": parts["one"]}, dim="session") is parts["one"]


def test_the_whole_can_be_pickled(parts):
    """A copy unpickled in another process reads the same values."""
    whole = unite({name: part.load() for name, part in parts.items()}, dim="session", ragged=("window",))
    xr.testing.assert_identical(pickle.loads(pickle.dumps(whole)).load(), whole.copy(deep=True).load())


def test_the_same_session_in_two_parts_is_refused(parts):
    """A label in two stores is refused by name, every one of them."""
    parts["three"] = _part(["s1", "s3"], 2)
    with pytest.raises(BadInput) as caught:
        unite(parts, dim="session", ragged=("window",))
    assert caught.value.code == "duplicate-label"
    assert [problem.where for problem in caught.value.problems] == ["session 's1'", "session 's3'"]
    assert "one and in three" in str(caught.value)
    assert "aggrade remove" not in str(caught.value)
    with pytest.raises(
        BadInput, match=r"such as aggrade remove --dim session -- 's3://a b/c/one' s1 \(given"
    ):
        unite(parts, dim="session", ragged=("window",), below="s3://a b/c")


def test_a_dimension_without_labels_must_agree(parts):
    """Windows of different length in samples do not fit into one array."""
    for name, samples in (("one", 4), ("two", 5)):
        n = parts[name].sizes["session"]
        parts[name] = parts[name].assign(x=(("session", "sample"), np.zeros((n, samples))))
    with pytest.raises(BadInput, match="dimension sample: found 4 in one and 5 in two") as caught:
        unite(parts, dim="session", ragged=("window",))
    assert caught.value.code == "stores-differ"


def test_other_units_are_refused(parts):
    """A channel in V in one store and µV in another is refused, never merged."""
    parts["two"] = parts["two"].assign_coords(unit=("channel", np.array(["V", "uV"], object)))
    with pytest.raises(BadInput, match="unit: found other values in two"):
        unite(parts, dim="session", ragged=("window",))


def test_other_attributes_are_refused_all_at_once(parts):
    """A label that means something else, and a variable with other dimensions: both are said."""
    parts["one"]["label"].attrs["mapping"] = {"rest": 0}
    parts["two"]["label"].attrs["mapping"] = {"rest": 1}
    parts["three"]["label"].attrs["mapping"] = {"rest": 0}
    parts["two"] = parts["two"].assign(n=(("window",), np.zeros(5, "i4")))
    with pytest.raises(BadInput) as caught:
        unite(parts, dim="session", ragged=("window",))
    assert [problem.where for problem in caught.value.problems] == ["attributes of label", "dimensions of n"]
