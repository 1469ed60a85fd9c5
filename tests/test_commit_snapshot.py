"""The state of a store, as its root shows it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
import zarr
from make_documents import make_document
from make_stores import write_zarr
from memory_storage import MemoryStorage, Numbered, World

from aggrade.commit import read_snapshot
from aggrade.commit.snapshot import Snapshot, root_bytes
from aggrade.errors import BadInput, Damaged, Refused
from aggrade.storage.local import LocalStorage

MARK = {"format": 1, "generation": 7, "write_id": "w7", "dim": "session"}


def storage_with(root, **hooks):
    """Return a storage whose root object holds these bytes."""
    storage = MemoryStorage(World(), "x.zarr", **hooks)
    if root is not None:
        storage.write("zarr.json", root)
    return storage


def a_root(**changes):
    """Return the root of a store with two arrays, as a value."""
    arrays = {
        "v": make_document((3, 5), (1, 5), dims=("session", "sample")),
        "session": make_document((3,), (4,), dims=("session",)),
    }
    return {**json.loads(root_bytes({"aggrade": MARK, "rate": 250.0}, arrays)), **changes}


class TestRead:
    """What one request tells."""

    def test_no_store(self):
        """Where there is no root there is no store."""
        assert read_snapshot(storage_with(None)) is None

    def test_a_store_of_aggrade(self):
        """Generation, write id, attributes, documents and sizes come from the root alone."""
        found = read_snapshot(storage_with(json.dumps(a_root()).encode()))
        assert (found.generation, found.write_id) == (7, "w7")
        assert found.mark == MARK
        assert found.attributes["rate"] == 250.0
        assert set(found.documents) == {"v", "session"}
        assert found.sizes == {"session": 3, "sample": 5}
        assert (found.length("session"), found.length("window")) == (3, 0)

    def test_it_costs_one_request(self):
        """A store is known after one read, whatever it holds."""
        hooks = Numbered()
        storage = storage_with(json.dumps(a_root()).encode(), hooks=hooks)
        hooks.kinds.clear()
        read_snapshot(storage)
        assert hooks.kinds == ["GET x.zarr/zarr.json"]

    def test_the_etag_is_the_roots(self):
        """A plan is made for the very object that was read."""
        storage = storage_with(json.dumps(a_root()).encode())
        assert read_snapshot(storage).etag == storage.stat("zarr.json").etag

    def test_a_store_of_another_tool(self, tmp_path):
        """A consolidated store that xarray wrote is a state of generation 0."""
        dataset = xr.Dataset({"v": ("x", np.arange(3.0))})
        write_zarr(dataset, tmp_path / "x.zarr")
        plain = json.loads((tmp_path / "x.zarr" / "zarr.json").read_bytes())
        del plain["attributes"]
        (tmp_path / "x.zarr" / "zarr.json").write_text(json.dumps(plain))
        found = read_snapshot(LocalStorage(str(tmp_path / "x.zarr")))
        assert (found.generation, found.write_id, found.mark, found.attributes) == (0, "", {}, {})
        assert found.sizes == {"x": 3}

    def test_groups_in_a_store_are_refused(self):
        """A group within the store would be lost from the root that the next commit writes."""
        root = a_root()
        root["consolidated_metadata"]["metadata"]["g"] = {"node_type": "group", "zarr_format": 3}
        with pytest.raises(Refused, match="groups within it, such as 'g'") as caught:
            read_snapshot(storage_with(json.dumps(root).encode()))
        assert caught.value.code == "nested-groups"

    @pytest.mark.parametrize(
        "root",
        [
            b"[]",
            b"null",
            b'"text"',
            b"{}",
            json.dumps(a_root(consolidated_metadata=None)).encode(),
            json.dumps(a_root(consolidated_metadata={})).encode(),
            json.dumps(a_root(consolidated_metadata={"metadata": [1]})).encode(),
            json.dumps(a_root(consolidated_metadata={"metadata": {"v": {}}})).encode(),
            json.dumps(a_root(attributes=[1])).encode(),
        ],
    )
    def test_not_a_root(self, root):
        """Whatever isn't a group with consolidated metadata is damage, said with what to do."""
        with pytest.raises(Damaged, match="consolidate it with") as caught:
            read_snapshot(storage_with(root))
        assert caught.value.code == "not-a-store"

    @pytest.mark.parametrize("data", [b"", b"{", json.dumps(a_root()).encode()[:-9], b"\xff"])
    def test_a_torn_root(self, data):
        """It has to go before a restore can bring the newest state back."""
        with pytest.raises(Damaged, match="delete it, then restore the newest backup") as caught:
            read_snapshot(storage_with(data))
        assert caught.value.code == "root-torn"

    def test_one_array(self):
        """Who names an array within a store is told to name the store."""
        root = json.dumps(make_document((3,), (1,))).encode()
        with pytest.raises(BadInput, match="name the store that it lies in") as caught:
            read_snapshot(storage_with(root))
        assert caught.value.code == "one-array"

    def test_a_store_without_consolidated_metadata(self, tmp_path):
        """What plain zarr leaves unconsolidated has no switch and is refused."""
        xr.Dataset({"v": ("x", [1.0])}).to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
        with pytest.raises(Damaged, match="consolidated"):
            read_snapshot(LocalStorage(str(tmp_path / "x.zarr")))

    @pytest.mark.parametrize("version", [0, 2, "next"])
    def test_another_format(self, version):
        """A store of a newer aggrade is not touched by an older one."""
        root = a_root(attributes={"aggrade": {**MARK, "format": version}})
        with pytest.raises(Refused, match="update aggrade") as caught:
            read_snapshot(storage_with(json.dumps(root).encode()))
        assert caught.value.code == "store-format"

    @pytest.mark.parametrize("consolidated", [True, False])
    def test_a_store_of_format_2(self, tmp_path, consolidated):
        """A store of Zarr format 2 is named as what it is: a new root beside it would hide its data."""
        xr.Dataset({"v": ("x", [1.0])}).to_zarr(tmp_path / "x.zarr", zarr_format=2, consolidated=consolidated)
        with pytest.raises(Refused, match="a store of Zarr format 2, expected Zarr format 3") as caught:
            read_snapshot(LocalStorage(str(tmp_path / "x.zarr")))
        assert caught.value.code == "zarr-format"


class TestOpen:
    """The data behind a state."""

    @pytest.fixture
    def storage(self, tmp_path):
        """Return the storage of a store with packed values."""
        dataset = xr.Dataset(
            {
                "v": (
                    "session",
                    np.array([0.5, np.nan, 2.0]),
                    {},
                    {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1},
                )
            },
            {"session": ["a", "b", "c"], "channel": [1, 2]},
        )
        encoding = {"session": {"dtype": np.dtypes.StringDType()}}
        write_zarr(
            dataset.assign_coords(session=np.array(["a", "b", "c"], object)),
            tmp_path / "x.zarr",
            encoding=encoding,
        )
        return LocalStorage(str(tmp_path / "x.zarr"))

    def test_values_as_users_see_them(self, storage):
        """Packed values are decoded."""
        opened = read_snapshot(storage).dataset(storage)
        np.testing.assert_array_equal(opened["v"].values, [0.5, np.nan, 2.0])

    def test_values_as_stored(self, storage):
        """On request they are left as they lie there."""
        opened = read_snapshot(storage).dataset(storage, decoded=False)
        assert opened["v"].values.tolist() == [1, -1, 4]

    def test_plain_zarr(self, storage):
        """The same store opens as a Zarr group."""
        group = read_snapshot(storage).open(storage)
        assert isinstance(group["v"], zarr.Array)
        assert group["v"][...].tolist() == [1, -1, 4]

    @pytest.mark.parametrize("decoded", [True, False])
    def test_opening_reads_no_values(self, tmp_path, decoded):
        """Not even labels are read before they are asked for, so that opening costs the same at any size."""
        world, hooks = World(), Numbered()
        write_zarr(xr.Dataset({"v": ("x", [1.0])}, {"x": [1]}), tmp_path / "x.zarr")
        storage = MemoryStorage(world, "x.zarr", hooks)
        for info in (disk := LocalStorage(str(tmp_path / "x.zarr"))).list():
            storage.write(info.key, disk.read(info.key).data)
        hooks.kinds.clear()
        snapshot = read_snapshot(storage)
        opened = snapshot.dataset(storage, decoded=decoded)
        assert not [kind for kind in hooks.kinds if "/c/" in kind]
        assert opened["x"].values.tolist() == [1]


def test_a_root_is_what_zarr_writes(tmp_path):
    """The root's bytes hold what zarr's own consolidation holds, so every reader takes them."""
    write_zarr(xr.Dataset({"v": ("x", [1.0]), "u": ("x", [2])}), tmp_path / "x.zarr")
    stored = json.loads((tmp_path / "x.zarr" / "zarr.json").read_bytes())
    arrays = stored["consolidated_metadata"]["metadata"]
    assert json.loads(root_bytes(stored["attributes"], arrays)) == stored


def test_an_empty_state_has_no_sizes():
    """A root that a fence made holds no arrays."""
    assert Snapshot("1").sizes == {}
    assert Snapshot("1").length("session") == 0
