"""One window costs two requests per array and little more than its own bytes, one once its shard's index is known."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import xarray as xr

from aggrade import WindowReader, append
from aggrade.opening import open_dataset
from aggrade.storage import OPENERS, open_storage
from aggrade.storage.counting import Counted
from aggrade.storage.shard_indexes import IndexedStore
from aggrade.storage.zarr_store import ReadStore

SHAPES = [
    pytest.param({"eeg": (64, 1000), "fnirs": (40, 20)}, 70, id="64-channels"),
    pytest.param({"eeg": (8, 500), "fnirs": (8, 40)}, 300, id="8-channels"),
    pytest.param({"eeg": (32, 15_000)}, 12, id="30-s"),
]


def sessions(shapes, count):
    """Return a session of noise."""
    rng = np.random.default_rng(0)
    variables = {
        name: (
            ("session", "window", f"{name}_channel", f"{name}_sample"),
            rng.standard_normal((1, count, *shape)).astype("f4"),
        )
        for name, shape in shapes.items()
    }
    names = {
        f"{name}_channel": np.array([f"{name}{i}" for i in range(shape[0])], object)
        for name, shape in shapes.items()
    }
    return xr.Dataset(
        {**variables, "n_windows": ("session", np.array([count], "i4"))},
        {"session": np.array(["s"], object), **names},
    )


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Return a URL of a dataset root, and what is asked of it."""
    counts = Counter()
    monkeypatch.setitem(
        OPENERS, "counted", lambda url, _: Counted(open_storage(url.partition("://")[2]), counts)
    )
    return f"counted://{tmp_path}", counts


@pytest.mark.parametrize(("shapes", "count"), SHAPES)
def test_one_window_costs_little_more_than_its_own_bytes(counted, tmp_path, shapes, count):
    """Of a store as `append` lays it out, plain xarray reads a window with 2 requests per array and 1.2 times its bytes."""
    url, counts = counted
    truth = sessions(shapes, count)
    append(truth, str(tmp_path), grow=("window",))
    storage = open_storage(f"{url}/windows.zarr")
    for index in (0, count // 2, count - 1):
        plain = xr.open_zarr(ReadStore(storage), chunks=None)
        counts.clear()
        found = plain.isel(session=0, window=index)[list(shapes)].load()
        assert counts["GET"] <= 2 * len(shapes)
        assert counts["bytes_read"] <= 1.2 * sum(found[name].nbytes for name in shapes)
        for name in shapes:
            np.testing.assert_array_equal(found[name].values, truth[name].values[0, index])


def test_one_window_costs_one_request_once_the_index_is_known(counted, tmp_path):
    """The reader asks for the index of a shard once (of fNIRS, 32 windows are one); then each window of it is one request per array."""
    url, counts = counted
    shapes = {"eeg": (16, 500), "fnirs": (12, 40)}
    truth = sessions(shapes, 40)
    append(truth, str(tmp_path), grow=("window",))
    reader = WindowReader(url, 8)
    for index, requests in ((0, 4), (1, 2), (35, 3), (36, 2), (2, 2)):
        counts.clear()
        found = reader.window("s", index)
        np.testing.assert_array_equal(found["eeg"], truth["eeg"].values[0, index])
        np.testing.assert_array_equal(found["fnirs"], truth["fnirs"].values[0, index])
        assert counts["GET"] == requests, index
        assert counts["HEAD"] == counts["LIST"] == 0


def test_indexes_are_forgotten_beyond_the_limit(tmp_path):
    """With room for one index, the other one is read again; values stay right."""
    truth = sessions({"eeg": (16, 500)}, 70)
    append(truth, str(tmp_path), grow=("window",), shards={"eeg": (1, 32, 16, 500)})
    storage = Counted(open_storage(str(tmp_path / "windows.zarr")))
    dataset = open_dataset(storage, IndexedStore(storage, limit=32 * 16 + 4))
    for index, requests in ((0, 2), (1, 1), (40, 2), (41, 1), (2, 2)):
        storage.counts.clear()
        found = dataset["eeg"].variable[0, index].values
        np.testing.assert_array_equal(found, truth["eeg"].values[0, index])
        assert storage.counts["GET"] == requests, index


def test_the_root_stays_as_it_was_opened(tmp_path):
    """What others publish later isn't seen, nor by a pickled copy."""
    append(sessions({"eeg": (4, 100)}, 3), str(tmp_path), grow=("window",))
    storage = open_storage(str(tmp_path / "windows.zarr"))
    store = IndexedStore(storage)
    before = open_dataset(storage, store)
    append(
        sessions({"eeg": (4, 100)}, 3).assign_coords(session=np.array(["t"], object)),
        str(tmp_path),
        grow=("window",),
    )
    assert before.sizes["session"] == 1
    assert open_dataset(storage, store).sizes["session"] == 1
    copy = pickle.loads(pickle.dumps(store))
    assert open_dataset(storage, copy).sizes["session"] == 1
    assert open_dataset(storage).sizes["session"] == 2
