"""Windows that are kept are those of the store, number by number, and are read one by one."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.backends import BackendArray
from xarray.core import indexing

from aggrade import append, open_windows
from aggrade.keeping import keep_windows

RNG = np.random.default_rng(41)


class Watched(BackendArray):
    """An array that notes what is read of it."""

    def __init__(self, values):
        self.values, self.read = values, []
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._outer
        )

    def _outer(self, key):
        asked = [np.atleast_1d(np.arange(size)[item]) for size, item in zip(self.shape, key, strict=True)]
        self.read.append(len(asked[0]) * len(asked[1]))
        scalars = tuple(0 if isinstance(item, (int, np.integer)) else slice(None) for item in key)
        return self.values[np.ix_(*asked)][scalars]


def _dataset(counts=(4, 2, 5)):
    n, windows = len(counts), max(counts)
    values = RNG.normal(size=(n, windows, 2, 3)).astype("f4")
    dims = ("session", "window", "eeg_channel", "eeg_sample")
    watched = Watched(values)
    return (
        values,
        watched,
        xr.Dataset(
            {
                "eeg": (dims, indexing.LazilyIndexedArray(watched)),
                "label": (
                    ("session", "window"),
                    RNG.integers(0, 9, (n, windows)).astype("i2"),
                    {},
                    {"fill_value": -1},
                ),
                "n_windows": ("session", np.array(counts, "i4"), {"long_name": "windows"}),
                "mood": ("mood_of", np.arange(3.0)),
            },
            {
                "session": np.array([f"s{i}" for i in range(n)], object),
                "eeg_channel": np.array(["A", "B"], object),
            },
            {"title": "windows"},
        ),
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), part=st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_what_is_kept_is_what_was_there(seed, part):
    """For any choice each session has its chosen windows in their order, then fill, and none is left empty."""
    values, _, dataset = _dataset()
    chosen = np.random.default_rng(seed).random((3, 5)) < part
    found = keep_windows(dataset, chosen)
    expected = {f"s{s}": [w for w in range(count) if chosen[s, w]] for s, count in enumerate((4, 2, 5))}
    expected = {name: windows for name, windows in expected.items() if windows}
    assert found["session"].values.tolist() == list(expected)
    assert found["n_windows"].values.tolist() == [len(windows) for windows in expected.values()]
    assert found.sizes["window"] == max(map(len, expected.values()), default=0)
    for row, (name, windows) in enumerate(expected.items()):
        eeg = found["eeg"].values[row]
        assert np.array_equal(eeg[: len(windows)], values[int(name[1:])][windows])
        assert np.isnan(eeg[len(windows) :]).all()
        labels = found["label"].values[row]
        assert labels[: len(windows)].tolist() == dataset["label"].values[int(name[1:])][windows].tolist()
        assert (labels[len(windows) :] == -1).all()
    assert found.attrs == dataset.attrs
    assert found["n_windows"].attrs == {"long_name": "windows"}
    assert found["mood"].identical(dataset["mood"])


def test_nothing_is_read_until_it_is_asked_for():
    """Choosing reads no sample; one window, a channel of it, and a few of several sessions read just those."""
    values, watched, dataset = _dataset()
    chosen = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [1, 0, 0, 1, 1]], bool)
    found = keep_windows(dataset, chosen)
    assert found["session"].values.tolist() == ["s0", "s2"]
    assert not watched.read
    assert np.array_equal(found["eeg"][1, 2].values, values[2, 4])
    assert np.array_equal(found["eeg"][0, 1, 0, 1:].values, values[0, 3, 0, 1:])
    assert watched.read == [1, 1]
    some = found["eeg"].isel(session=[1, 0], window=[1, 0]).values
    assert np.array_equal(some, values[[2, 0]][[[0], [1]], [[3, 0], [3, 1]]])
    assert sum(watched.read) == 6


def test_it_can_be_appended_to_a_store_of_its_own(tmp_path):
    """What is kept is a dataset like any other: appended elsewhere, it is read back as it was."""
    _, _, dataset = _dataset()
    kept = keep_windows(dataset.drop_vars("mood"), np.arange(15).reshape(3, 5) % 2 == 0)
    append(kept, str(tmp_path / "windows.zarr"), grow=("window",))
    back = open_windows(str(tmp_path))
    for name in ("eeg", "label", "n_windows", "session"):
        assert np.array_equal(back[name].values, kept[name].values, equal_nan=name == "eeg")


@pytest.mark.parametrize(
    "index", [(slice(None), -1), (0, slice(None, None, 2)), (slice(0, 0), 0), ([0, 0], [1, 0, 1])]
)
def test_any_index_gives_what_numpy_gives(index):
    """Negative indices, steps, empty ranges and repeated ones are read as from an array in memory."""
    _, _, dataset = _dataset()
    kept = keep_windows(dataset, np.ones((3, 5), bool))
    whole = kept["eeg"].load()
    lazy = keep_windows(dataset, np.ones((3, 5), bool))["eeg"]
    assert np.array_equal(lazy[index].values, whole[index].values, equal_nan=True)
