"""Receipts that nobody can read are named, whosever they were, and a repair says that there was such a commit."""

from __future__ import annotations

import json

import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import MemoryStorage, World, open_world

import aggrade
from aggrade.commit import find_receipt, read_snapshot
from aggrade.commit.layers import LayerRecord, keep_layer, layer_key, receipt_key
from aggrade.errors import Refused
from aggrade.receipt_checks import receipt_problems, stand_ins
from aggrade.repairing import repair

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
TORN = [b"", b"{", b"[1]", b"[" * 100_000, b"\xff\xfe"]


class Store:
    """Three sessions, one of which was replaced and one removed and brought back: every kind of receipt."""

    def __init__(self, open_world):
        self.world = World()
        self.options = {"storage_options": open_world(self.world)}
        self.storage = MemoryStorage(self.world, "data/windows.zarr")
        self.done = {"replaced": self.append("a", 0)}
        self.done["living"] = self.append("b", 1)
        self.append("a", 2)
        self.done["removed"] = self.append("c", 3)
        self.done["removal"] = aggrade.remove(STORE, "c", **self.options)
        self.done["restore"] = aggrade.restore(STORE, self.done["removal"].backup, **self.options)

    def append(self, label, seed):
        """Append a session."""
        how = {"grow": ("window",), "chunks": CHUNKS, "on_conflict": "replace", **self.options}
        return aggrade.append(make_session(label, 3, seed), STORE, **how)

    def key(self, which):
        """Return where a receipt lies."""
        written = [info.key for info in self.storage.list(".aggrade/receipts/")]
        return next(key for key in written if self.done[which].write_id in key)

    def put(self, which, data):
        """Overwrite a receipt."""
        self.world.objects[f"data/windows.zarr/{self.key(which)}"] = (data, self.world.mark(data))

    def problems(self):
        """Return what verify complains of."""
        return aggrade.verify(STORE, **self.options).problems


@pytest.fixture
def store(open_world):
    """Return a sound store."""
    store = Store(open_world)
    assert store.problems() == ()
    return store


@pytest.mark.parametrize("torn", TORN, ids=["empty", "cut", "list", "deep", "bytes"])
@pytest.mark.parametrize("which", ["replaced", "restore"])
def test_it_is_named_and_mended(store, which, torn):
    """And nothing else is changed by that; whoever asks for the receipt gets one."""
    store.put(which, torn)
    (problem,) = store.problems()
    assert f"{store.key(which)}: found no JSON, expected a receipt; run verify --repair." in problem
    before = dict(store.world.objects)
    report = repair(STORE, **store.options)
    assert report.ok, report
    assert any("was torn" in done for done in report.done)
    changed = {key for key in before if store.world.objects[key] != before[key]}
    assert changed - {"data/windows.zarr/.aggrade/intent.json"} == {f"data/windows.zarr/{store.key(which)}"}
    found = find_receipt(store.storage, store.done[which].write_id)
    assert (found.kind, found.details) == ("unknown", {"completed_by": "repair"})


def test_that_of_a_living_layer_is_made_anew(store):
    """Its content proves what it said, so there is no need of another one."""
    before = find_receipt(store.storage, store.done["living"].write_id)
    store.put("living", b"{")
    assert any("receipt" in problem for problem in store.problems())
    assert repair(STORE, **store.options).ok
    found = find_receipt(store.storage, before.write_id)
    assert (found.kind, found.layers, found.digests) == ("append", before.layers, before.digests)


def test_one_of_a_newer_version_is_left(store):
    """It is named, with the advice to update, and a repair keeps its hands off."""
    told = json.loads(store.storage.read(store.key("removal")).data) | {"moon": "full"}
    store.put("removal", json.dumps(told).encode())
    (problem,) = store.problems()
    assert "update aggrade" in problem
    assert list(stand_ins(store.storage, read_snapshot(store.storage))) == []
    repair(STORE, **store.options)
    assert json.loads(store.storage.read(store.key("removal")).data) == told


@pytest.mark.parametrize("change", [{"moon": "full"}, {"format": 2}, {"objects": "many"}])
@pytest.mark.parametrize("which", ["living", "restore"])
def test_no_repair_makes_a_newer_one_anew(store, which, change):
    """A layer's own receipt isn't either, whose content could prove some of it; it is named once, and who asks is refused."""
    told = json.loads(store.storage.read(store.key(which)).data) | change
    store.put(which, json.dumps(told).encode())
    (problem,) = store.problems()
    assert problem.endswith("expected what this version knows; update aggrade, then try again.")
    report = repair(STORE, **store.options)
    assert report.report.problems == (problem,)
    assert json.loads(store.storage.read(store.key(which)).data) == told
    with pytest.raises(Refused, match="update aggrade"):
        find_receipt(store.storage, store.done[which].write_id)


@pytest.mark.parametrize("change", [{"moon": "full"}, {"digest": 7}])
def test_no_repair_makes_a_newer_record_anew(store, change):
    """Its layer is not said to have none; an append and a removal of it are refused, and nothing is written."""
    key = f"data/windows.zarr/{layer_key('b')}"
    data = json.dumps(json.loads(store.world.objects[key][0]) | change).encode()
    store.world.objects[key] = (data, store.world.mark(data))
    (problem,) = store.problems()
    assert layer_key("b") in problem
    assert problem.endswith("; update aggrade, then try again.")
    report = repair(STORE, **store.options)
    assert report.report.problems == (problem,)
    before = dict(store.world.objects)
    with pytest.raises(Refused, match="update aggrade"):
        aggrade.remove(STORE, "b", **store.options)
    with pytest.raises(Refused, match="update aggrade"):
        store.append("b", 7)
    with pytest.raises(Refused, match="update aggrade"):
        keep_layer(store.storage, LayerRecord(label="b", index=1, digest="", write_id="w", generation=99))
    assert store.world.objects == before
    assert store.world.objects[key][0] == data


def test_one_that_lacks_keys_is_torn(store):
    """It is mended, like what is no JSON."""
    store.put("removal", b'{"kind": "remove"}')
    (problem,) = store.problems()
    assert "found JSON that lacks keys, expected a receipt; run verify --repair." in problem
    assert repair(STORE, **store.options).ok


def test_what_is_looked_at_elsewhere_is_left_out(store):
    """Receipts that records name are told with their layers."""
    store.put("removal", b"{")
    write_id = store.done["removal"].write_id
    assert [problem.code for problem in receipt_problems(store.storage)] == ["receipt-torn"]
    assert list(receipt_problems(store.storage, {write_id})) == []
    assert receipt_key(write_id) in next(receipt_problems(store.storage)).where


def test_the_last_commit_keeps_its_generation(store):
    """What stands for the receipt of the state that shows says of which generation it is."""
    snapshot = read_snapshot(store.storage)
    store.put("restore", b"{")
    (found,) = stand_ins(store.storage, snapshot)
    assert (found.write_id, found.generation) == (snapshot.write_id, snapshot.generation)
