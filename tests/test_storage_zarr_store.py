"""Opening what lies in a storage with zarr and xarray, lazily and read-only."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from aggrade.errors import Problem, Unavailable
from aggrade.storage import open_storage
from aggrade.storage.counting import Counted
from aggrade.storage.local import LocalStorage
from aggrade.storage.s3 import S3Storage
from aggrade.storage.zarr_store import ReadStore

DATA = np.arange(64 * 32, dtype="float32").reshape(64, 32)
PROTOTYPE = default_buffer_prototype()


def write_dataset(store):
    """Write a sharded dataset with zarr's and xarray's own means."""
    dataset = xr.Dataset(
        {"x": (("row", "column"), DATA), "name": (("row",), [f"é {row}" for row in range(64)])},
        coords={"row": np.arange(64) * 0.5},
        attrs={"title": "test"},
    )
    dataset["name"] = dataset["name"].astype(np.dtypes.StringDType())
    encoding = {"x": {"chunks": (4, 8), "shards": (16, 32), "compressors": None}}
    with warnings.catch_warnings(action="ignore"):  # that version 3 does not specify consolidation yet
        dataset.to_zarr(store, encoding=encoding, zarr_format=3, consolidated=True)


@pytest.fixture(scope="module", params=["local", pytest.param("s3", marks=pytest.mark.e2e)])
def storage(request, tmp_path_factory):
    """Return a storage that holds a dataset which aggrade did not write."""
    if request.param == "local":
        folder = str(tmp_path_factory.mktemp("store"))
        write_dataset(folder)
        return LocalStorage(folder)
    url, options = "s3://shared/zarr-store", request.getfixturevalue("s3_server").storage_options
    write_dataset(zarr.storage.FsspecStore.from_url(url, storage_options=options))
    return S3Storage(url, options)


@pytest.fixture
def local(tmp_path):
    """Return a local storage that holds a few objects."""
    storage = LocalStorage(str(tmp_path / "raw"))
    for key in ("zarr.json", "a/zarr.json", "a/c/0", "a/c/1", "ab/zarr.json"):
        storage.write(key, b"0123456789")
    return storage


def collect(iterator):
    """Return what an asynchronous iterator yields."""

    async def run():
        return [item async for item in iterator]

    return asyncio.run(run())


def mean_of_x(storage, rows):
    """Open the dataset and average some rows of x."""
    with xr.open_zarr(ReadStore(storage), chunks=None) as dataset:
        return float(dataset["x"].isel(row=rows).mean())


@pytest.mark.parametrize("chunks", [None, {}])
def test_xarray_reads_the_same(storage, chunks):
    """Through the store xarray sees exactly what was written, with dask and without."""
    with xr.open_zarr(ReadStore(storage), chunks=chunks) as dataset:
        assert dataset.attrs == {"title": "test"}
        np.testing.assert_array_equal(dataset["x"].values, DATA)
        np.testing.assert_array_equal(dataset["row"].values, np.arange(64) * 0.5)
        assert dataset["name"].values[63] == "é 63"
        assert (dataset["x"].chunks is None) == (chunks is None)


def test_zarr_reads_the_same(storage):
    """Through the store zarr opens the group and its arrays, consolidated or not."""
    for consolidated in (True, False):
        group = zarr.open_group(ReadStore(storage), mode="r", use_consolidated=consolidated)
        np.testing.assert_array_equal(group["x"][10:20, 3:9], DATA[10:20, 3:9])
        assert sorted(group.array_keys()) == ["name", "row", "x"]


def test_inner_chunks_are_read_by_range(storage):
    """One inner chunk of a shard costs the shard's index and the chunk, not the shard."""
    counted = Counted(storage)
    array = zarr.open_array(ReadStore(counted), path="x", mode="r")
    counted.counts.clear()
    np.testing.assert_array_equal(array[5:6, 9:10], DATA[5:6, 9:10])
    shard = 16 * 32 * 4
    assert counted.counts["GET"] == 2
    assert counted.counts["bytes_read"] < shard / 2


def test_opening_is_lazy(storage):
    """Opening a dataset reads documents and the coordinates that index it, and no other chunk."""
    counted = Counted(storage)
    with xr.open_zarr(ReadStore(counted), chunks={}) as dataset:
        assert counted.counts["bytes_read"] < DATA.nbytes
        before = counted.counts["GET"]
        dataset["x"].isel(row=slice(0, 4)).load()
    assert counted.counts["GET"] > before


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_other_processes(storage, method):
    """A pickled store reads in another process, also in one forked after the threads had started."""
    assert mean_of_x(storage, [1, 2]) == DATA[1:3].mean()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(mean_of_x, storage, [1, 2]).result() == DATA[1:3].mean()


def test_lazy_arrays_pickle(storage):
    """A lazy dataset goes through pickle and reads afterwards."""
    with xr.open_zarr(ReadStore(storage), chunks={}) as dataset:
        copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy["x"].isel(row=3).values, DATA[3])


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (None, b"0123456789"),
        (RangeByteRequest(2, 5), b"234"),
        (OffsetByteRequest(7), b"789"),
        (SuffixByteRequest(3), b"789"),
        (SuffixByteRequest(99), b"0123456789"),
    ],
)
def test_byte_ranges(local, request_, expected):
    """Each of zarr's ways to name a part of an object gives that part."""
    store = ReadStore(local)
    assert asyncio.run(store.get("a/c/0", PROTOTYPE, request_)).to_bytes() == expected
    assert asyncio.run(store.get("missing", PROTOTYPE, request_)) is None


def test_several_parts(local):
    """Parts of several objects come in the order asked, None where there is none."""
    wanted = [("a/c/1", RangeByteRequest(0, 1)), ("missing", None), ("a/c/0", SuffixByteRequest(2))]
    found = asyncio.run(ReadStore(local).get_partial_values(PROTOTYPE, wanted))
    assert [part and part.to_bytes() for part in found] == [b"0", None, b"89"]


def test_listing(local):
    """Listing gives zarr's three views: all keys, those of a prefix, the names in a folder."""
    store = ReadStore(local)
    assert collect(store.list()) == ["a/c/0", "a/c/1", "a/zarr.json", "ab/zarr.json", "zarr.json"]
    assert collect(store.list_prefix("a/c")) == ["a/c/0", "a/c/1"]
    assert collect(store.list_dir("")) == ["a", "ab", "zarr.json"]
    assert collect(store.list_dir("a")) == collect(store.list_dir("a/")) == ["c", "zarr.json"]
    assert collect(store.list_dir("nothing")) == []
    assert asyncio.run(store.exists("a/c/0"))
    assert not asyncio.run(store.exists("a/c"))


def test_writing_is_refused(local):
    """No way leads through the store to a write."""
    store = ReadStore(local)
    assert store.read_only
    assert not store.supports_writes
    assert not store.supports_deletes
    value = PROTOTYPE.buffer.from_bytes(b"x")
    for call in (lambda: store.set("k", value), lambda: store.delete("zarr.json")):
        with pytest.raises(NotImplementedError, match="guarded commit"):
            asyncio.run(call())
    with pytest.raises(NotImplementedError):
        store.with_read_only(read_only=False)
    assert store.with_read_only(read_only=True) is store
    with pytest.raises(ValueError, match="read"):
        zarr.create_array(store, name="new", shape=(1,), dtype="f4")
    assert len(list(local.list())) == 5


def test_identity(local, tmp_path):
    """Stores of one place are equal, and say where that is."""
    store = ReadStore(local)
    assert store == ReadStore(open_storage(local.url)) == pickle.loads(pickle.dumps(store))
    assert hash(store) == hash(ReadStore(open_storage(local.url)))
    assert store != ReadStore(LocalStorage(str(tmp_path)))
    assert str(store) == local.url
    assert local.url in repr(store)


class _Interrupted(BaseException):
    """Nothing may catch this and go on."""


class _Unreachable(LocalStorage):
    """Answers requests for whole objects and for indexes of shards, of eight chunks, alone."""

    failure: BaseException

    def read(self, key, *, start=0, stop=None):
        if (start, stop) not in {(0, None), (-132, None)}:
            raise self.failure
        return super().read(key, start=start, stop=stop)


@pytest.mark.parametrize(
    "failure",
    [Unavailable(Problem("key", "no reply", "a reply", "retry", "unavailable")), _Interrupted("no reply")],
)
def test_an_error_while_a_shard_is_read_comes_out_as_itself(tmp_path, failure):
    """Zarr reads the parts of a shard together and groups their errors; ours reach the caller ungrouped."""
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8,), chunks=(1,), shards=(8,), dtype="f8")
    array[...] = range(8)
    unreachable = _Unreachable(str(tmp_path / "a.zarr"))
    unreachable.failure = failure
    there = zarr.open_array(ReadStore(unreachable), mode="r")
    with pytest.raises(type(failure), match="no reply"):
        there[2:5]
