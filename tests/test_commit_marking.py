"""What a commit leaves in the root for aggrade."""

from __future__ import annotations

import numpy as np
import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import MemoryStorage, World, open_world

import aggrade
from aggrade.commit import Snapshot, read_snapshot
from aggrade.commit.chunks import Chunks
from aggrade.commit.marking import digests_of_common, gone_backups, mark_after
from aggrade.commit.plan import CommitPlan
from aggrade.commit.salting import object_digest
from aggrade.commit.writer import WrittenObject

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
LIST = {
    "shape": [4],
    "data_type": "int32",
    "dimension_names": ["channel"],
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
}
ROWS = {**LIST, "dimension_names": ["session"]}


def plan(kind="append", **how):
    """Return a plan that does nothing."""
    documents = {"my names": LIST, "rows": ROWS}
    return CommitPlan(kind=kind, store="s", dim="session", documents=documents, **how)


def written(key, sha256="a" * 64):
    """Return an object that was written."""
    return WrittenObject(key, 10, "etag", sha256)


class TestCommon:
    """Digests of what no layer has of its own."""

    def test_what_is_written_joins_what_was(self):
        """Objects of arrays that grow with the layers are their records' business."""
        base = Snapshot(
            "e", {"aggrade": {"dim": "session", "common": {"my names 0": "b", "my names 1": "c"}}}
        )
        done = [written("my names/c/1"), written("rows/c/0"), written("other/c/0")]
        mark = mark_after(plan(), base, (2, "w"), None, done)
        assert mark["common"] == {"my names 0": "b", "my names 1": "a" * 32}

    def test_an_array_that_is_gone(self):
        """Of its objects nothing is kept."""
        base = Snapshot("e", {"aggrade": {"dim": "session", "common": {"former 0": "b"}}})
        assert "common" not in mark_after(plan(), base, (2, "w"), None, [])

    def test_copies_and_other_places(self):
        """What was copied has no digest, and an object beyond the shape is none."""
        done = [written("my names/c/0", ""), written("my names/c/7")]
        assert list(digests_of_common({"my names": LIST}, done)) == []

    def test_a_restore_takes_them_from_the_state(self):
        """Its mark is that of the state, but for what is written."""
        base = Snapshot("e", {"aggrade": {"dim": "session", "common": {"my names 0": "later"}}})
        kept = {"dim": "session", "common": {"my names 0": "then"}}
        mark = mark_after(plan("restore", inherits=False, mark=kept), base, (5, "w"), None, [])
        assert mark["common"] == {"my names 0": "then"}

    @pytest.mark.parametrize("change", ["create", "union", "remove", "restore"])
    def test_they_are_of_what_lies_there(self, open_world, change):
        """Whatever a commit does, every object is the one whose digest the root has."""
        world = World()
        options, storage = open_world(world), MemoryStorage(world, "data/windows.zarr")
        aggrade.append(make_session("a", 2, 0), STORE, chunks=CHUNKS, storage_options=options)
        wide = make_session("b", 2, 1, channels=5)
        second = aggrade.append(wide, STORE, chunks=CHUNKS, channels="union", storage_options=options)
        if change == "remove":
            aggrade.remove(STORE, "b", storage_options=options)
        if change == "restore":
            aggrade.restore(STORE, second.backup, storage_options=options)
        if change == "create":
            aggrade.append(make_session("c", 2, 0), "world://data/new.zarr", storage_options=options)
            storage = MemoryStorage(world, "data/new.zarr")
        shown = read_snapshot(storage)
        document = shown.documents["eeg_channel"]
        count = -(-document["shape"][0] // document["chunk_grid"]["configuration"]["chunk_shape"][0])
        keys = {f"eeg_channel {i}": f"eeg_channel/c/{i}" for i in range(count)}
        assert shown.mark["common"] == {
            name: object_digest(storage, key, document)[:32] for name, key in keys.items()
        }

    def test_values_are_what_is_told_apart(self, open_world):
        """Names that change places change the digest."""
        world = World()
        options, storage = open_world(world), MemoryStorage(world, "data/windows.zarr")
        aggrade.append(make_session("a", 2, 0), STORE, storage_options=options)
        shown = read_snapshot(storage)
        data = Chunks(shown.documents["eeg_channel"]).bytes_of(np.array(["E1", "E0"], object))
        world.objects["data/windows.zarr/eeg_channel/c/0"] = (data, "other")
        digest = object_digest(storage, "eeg_channel/c/0", shown.documents["eeg_channel"])
        assert digest[:32] != shown.mark["common"]["eeg_channel 0"]


class TestNeeded:
    """Backups without which earlier states can't be shown."""

    @pytest.mark.parametrize(
        ("kind", "backup", "needed"),
        [
            ("append", "00000002-b", ["00000001-a"]),
            ("remove", "00000002-b", ["00000001-a", "00000002-b"]),
            ("restore", "00000002-b", ["00000001-a", "00000002-b"]),
            ("remove", None, ["00000001-a"]),
        ],
    )
    def test_those_of_commits_that_take_away(self, kind, backup, needed):
        """What the state before knew stays, of a restore too, whose mark is that of an earlier state."""
        base = Snapshot("e", {"aggrade": {"needed_backups": ["00000001-a"]}})
        mark = mark_after(plan(kind, inherits=kind != "restore"), base, (3, "w"), backup, [])
        assert mark["needed_backups"] == needed

    def test_where_the_root_was_lost(self):
        """The mark of the state that is restored is all there is."""
        kept = {"needed_backups": ["00000001-a"]}
        mark = mark_after(plan("restore", inherits=False, mark=kept), None, (3, "w"), None, [])
        assert mark["needed_backups"] == ["00000001-a"]

    def test_only_later_ones_are_missed(self, open_world):
        """States since do not need them."""
        storage = open_world and MemoryStorage(World(), "data/windows.zarr")
        shown = Snapshot("e", {"aggrade": {"needed_backups": ["00000001-a", "00000004-b", "00000006-c"]}})
        found = list(gone_backups(storage, shown, {"00000006-c"}, 4))
        assert [problem.where.rpartition("/")[2] for problem in found] == ["00000004-b"]
        assert {problem.code for problem in found} == {"backup-gone"}


def test_what_names_one_commit_is_no_part_of_the_digest():
    """Two stores of the same content bear the same one; another hidden row, unit, type or fixed length changes it."""
    mark = {"generation": 1, "write_id": "a", "needed_backups": ["1-a"], "superseded": [0], "dim": "session"}
    arrays = {"rows": ROWS, "names": LIST}
    one = Snapshot("e", {"aggrade": mark, "unit": "V"}, arrays)
    longer = {**arrays, "rows": {**ROWS, "shape": [9]}}
    same = Snapshot(
        "f", {"aggrade": {"superseded": [0], "generation": 9, "dim": "session"}, "unit": "V"}, longer
    )
    others = [
        Snapshot("e", {"aggrade": {**mark, "superseded": [1]}, "unit": "V"}, arrays),
        Snapshot("e", {"aggrade": mark, "unit": "mV"}, arrays),
        Snapshot("e", {"aggrade": mark, "unit": "V"}, {**arrays, "rows": {**ROWS, "data_type": "int64"}}),
        Snapshot("e", {"aggrade": mark, "unit": "V"}, {"rows": ROWS}),
        Snapshot("e", {"aggrade": mark, "unit": "V"}, {**arrays, "names": {**LIST, "shape": [3]}}),
    ]
    assert one.digest == same.digest
    assert len({one.digest, *(other.digest for other in others)}) == 6
