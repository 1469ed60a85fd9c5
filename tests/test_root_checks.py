"""Roots that were changed by hand: `verify` names what contradicts other records, and nothing else."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from memory_storage import MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import read_intent
from aggrade.commit.intent import INTENT
from aggrade.commit.layers import receipt_key
from aggrade.errors import Damaged
from aggrade.repairing import repair

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"


def session(number):
    """Return a session of one number."""
    values = {"v": (("session", "x"), np.full((1, 2), float(number)))}
    return xr.Dataset(values, {"session": [f"s{number}"]}, {"unit": "V"})


class Store:
    """A store of three sessions, and what lies there."""

    def __init__(self, open_world):
        self.world = World()
        self.options = open_world(self.world)
        for number in range(3):
            self.append(session(number))
        self.storage = MemoryStorage(self.world, "data/windows.zarr")

    def append(self, dataset, **how):
        """Append."""
        return aggrade.append(dataset, STORE, storage_options=self.options, **how)

    def verify(self):
        """Return what is wrong."""
        return aggrade.verify(STORE, storage_options=self.options).problems

    def drop(self, key):
        """Lose an object."""
        del self.world.objects[f"data/windows.zarr/{key}"]

    def put(self, key, content):
        """Put JSON where something lies."""
        data = json.dumps(content).encode()
        self.world.objects[f"data/windows.zarr/{key}"] = (data, self.world.mark(data))

    def root(self):
        """Return the root document."""
        return json.loads(self.world.objects["data/windows.zarr/zarr.json"][0])

    def change(self, **fields):
        """Change what the root keeps for aggrade."""
        root = self.root()
        root["attributes"]["aggrade"] |= fields
        self.put("zarr.json", root)

    def forget(self):
        """Make the intent one of format 1, which does not tell of generations."""
        intent = json.loads(self.world.objects[f"data/windows.zarr/{INTENT}"][0])
        self.put(INTENT, {**intent, "format": 1, "generation": 0})


@pytest.fixture
def store(open_world):
    """Return a store of three sessions."""
    return Store(open_world)


class TestGeneration:
    """A root is no older than what commits left."""

    def test_older_than_the_intent_says(self, store):
        """The free intent tells the generation of the last commit."""
        store.change(generation=2)
        (problem,) = store.verify()
        assert "found a root of generation 2" in problem
        assert "expected the root of generation 3 or later" in problem
        assert "restore the newest backup" in problem

    def test_older_than_a_backup(self, store):
        """Where the intent does not tell, backups do: each was made of a state that the root has shown."""
        store.forget()
        assert store.verify() == ()
        newest = max(one.id for one in aggrade.list_backups(STORE, storage_options=store.options))
        store.change(generation=1)
        problem, record = store.verify()
        assert f"its root is of generation 1, and backup {newest} was made of a later one" in problem
        assert "restore the newest backup" in problem
        assert "expected the root of generation 3 or later" in record

    def test_backups_of_a_store_that_was_deleted(self, open_world):
        """A store of one session that is removed and brought again begins anew, beside the backups of before."""
        options, store = open_world(World()), "world://data/sessions/s0_windowed.zarr"
        for value in (0, 1):
            dataset = session(0).assign(v=lambda given, value=value: given["v"] + value)
            aggrade.append(dataset, store, on_conflict="replace", storage_options=options)
        aggrade.remove("world://data", "s0", storage_options=options)
        aggrade.append(session(0), store, storage_options=options)
        assert max(one.generation for one in aggrade.list_backups(store, storage_options=options)) == 2
        assert aggrade.verify("world://data", storage_options=options).problems == ()

    def test_other_folders_are_no_backups(self, store):
        """Only what bears a generation and the name of a commit is one."""
        store.forget()
        store.world.objects["data/windows.zarr.backups/20260101-mine/a"] = (b"", "x")
        assert store.verify() == ()

    def test_older_than_a_record(self, store):
        """Without backups the records of layers do."""
        store.forget()
        aggrade.prune_backups(STORE, keep=0, storage_options=store.options)
        assert store.verify() == ()
        store.change(generation=1)
        (problem,) = store.verify()
        assert "expected the root of generation 3 or later" in problem

    @pytest.mark.parametrize("backup", ["touched", "none"])
    def test_generations_that_are_left_out(self, store, backup):
        """Restores, removals, replacements and prunes leave roots that are young enough."""
        store.append(session(1).assign(v=lambda given: given["v"] + 1), on_conflict="replace", backup=backup)
        first = aggrade.list_backups(STORE, storage_options=store.options)[0]
        aggrade.remove(STORE, "s2", storage_options=store.options)
        assert store.verify() == ()
        aggrade.restore(STORE, first.id, storage_options=store.options)
        assert store.verify() == ()
        aggrade.prune_backups(STORE, keep=1, storage_options=store.options)
        store.forget()
        assert store.verify() == ()


class TestMaker:
    """The commit that the root names has ended."""

    def test_one_that_has_left_no_receipt(self, store):
        """A name that no receipt bears is named, with what to do whatever the reason is."""
        store.change(write_id="f" * 32)
        (problem,) = store.verify()
        assert f"its root says that write {'f' * 32} made it" in problem
        assert "restore the newest backup" in problem

    def test_the_receipt_of_a_removal_is_lost(self, store):
        """It is missed, though no layer names it; the next commit leaves one."""
        receipt = aggrade.remove(STORE, "s2", storage_options=store.options)
        assert store.verify() == ()
        store.drop(receipt_key(receipt.write_id))
        assert len(store.verify()) == 1
        store.append(session(4))
        assert store.verify() == ()

    def test_a_receipt_that_a_layer_names_is_missed_once(self, store):
        """What is said of the layer is enough."""
        newest = store.root()["attributes"]["aggrade"]["write_id"]
        store.drop(receipt_key(newest))
        (problem,) = store.verify()
        assert f"names receipt {newest}, which is gone" in problem

    def test_a_fence_has_none(self, store):
        """Whoever cleans up after a dead writer makes a root that no commit made."""
        store.change(write_id="fence-0123", generation=4)
        assert store.verify() == ()

    def test_a_commit_that_has_not_ended(self, store):
        """Its receipt is still to come; what is said is that it hasn't ended."""
        intent = read_intent(store.storage)[0].model_copy(update={"state": "held", "write_id": "e" * 32})
        store.put(INTENT, intent.model_dump(mode="json"))
        store.change(write_id="e" * 32, generation=4)
        (problem,) = store.verify()
        assert "is not finished" in problem

    def test_it_costs_next_to_nothing(self, store, open_world):
        """A root that a layer's commit made is checked with one listing of backups, whatever lies there."""
        hooks = Numbered()
        aggrade.verify(STORE, storage_options=open_world(store.world, hooks))
        newest = receipt_key(store.root()["attributes"]["aggrade"]["write_id"])
        assert sum(kind.endswith(newest) for kind in hooks.kinds) == 1


class TestConsolidation:
    """The switch stays what it is."""

    def test_a_root_that_had_it(self, store):
        """Without consolidated metadata readers see arrays as they change; an append makes it whole."""
        root = store.root()
        del root["consolidated_metadata"]
        store.put("zarr.json", root)
        (problem,) = store.verify()
        assert "its root had consolidated metadata and has none now" in problem
        assert "zarr.consolidate_metadata" in problem
        store.append(session(4))
        assert store.verify() == ()

    def test_another_tools_store_never_had_it(self, tmp_path):
        """What was not ours is not damaged; the first append consolidates."""
        store = str(tmp_path / "a.zarr")
        session(0).to_zarr(store, consolidated=False, zarr_format=3)
        assert aggrade.verify(store).ok
        aggrade.append(session(1), store)
        assert aggrade.verify(store).ok


class TestRows:
    """Rows that the root tells of."""

    @pytest.mark.parametrize(
        ("fields", "told"),
        [({"superseded": [0, 7]}, "row 7 is said to be withdrawn"), ({"adopted": 4}, "row 3")],
    )
    def test_that_are_not_there(self, store, fields, told):
        """They are named with the length that there is."""
        store.change(**fields)
        problems = [problem for problem in store.verify() if told in problem]
        assert len(problems) == 1
        assert "session is 3 long; restore the newest backup" in problems[0]

    def test_that_are(self, store):
        """The last one may be withdrawn."""
        store.append(session(2).assign(v=lambda given: given["v"] + 1), on_conflict="replace")
        aggrade.remove(STORE, "s2", storage_options=store.options)
        assert store.root()["attributes"]["aggrade"]["superseded"] == [2, 3]
        assert store.verify() == ()


class TestTypes:
    """What the root keeps is of the types that commits write."""

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({"generation": "3"}, "aggrade.generation of '3', expected a valid integer"),
            ({"generation": -1}, "aggrade.generation of -1"),
            ({"superseded": [1, "2"]}, "aggrade.superseded.1 of '2'"),
            ({"superseded": 5}, "aggrade.superseded of 5"),
            ({"undone": [[1]]}, "aggrade.undone.0"),
            ({"dim": 3, "grow": "window"}, "aggrade.grow of 'window'"),
            ({"write_id": None}, "aggrade.write_id of None"),
        ],
    )
    def test_of_a_field(self, store, fields, found):
        """A sentence for each field tells what is there, what should be, and what to do; nothing is raised."""
        store.change(**fields)
        problems = store.verify()
        assert problems
        assert sum(found in problem for problem in problems) == 1
        assert "zarr.json: found attribute aggrade" in problems[0]
        assert "restore the newest backup" in problems[0]

    @pytest.mark.parametrize("fields", [{"generation": "x"}, {"superseded": 5}])
    def test_nobody_goes_on_with_it(self, store, fields):
        """Whoever reads or writes is told the same: nothing is guessed, and nothing is written."""
        store.change(**fields)
        how, before = {"storage_options": store.options}, dict(store.world.objects)
        for work in (
            lambda: store.append(session(9)),
            lambda: store.append(session(9), dry_run=True),
            lambda: aggrade.remove(STORE, "s1", **how),
            lambda: aggrade.restore(STORE, aggrade.list_backups(STORE, **how)[-1], **how),
            lambda: aggrade.open_windows(STORE, **how),
        ):
            with pytest.raises(Damaged, match="found attribute aggrade"):
                work()
        assert store.world.objects == before

    def test_the_remedy_works(self, store):
        """Without that root, the newest backup brings the store back."""
        store.change(superseded=5)
        store.drop("zarr.json")
        how = {"storage_options": store.options}
        aggrade.restore(STORE, aggrade.list_backups(STORE, **how)[-1], **how)
        assert [str(name) for name in aggrade.open_windows(STORE, **how).session.values] == ["s0", "s1"]

    @pytest.mark.parametrize("mark", ["all", 5, [1]])
    def test_of_all(self, store, mark):
        """What is no mapping is named as well."""
        root = store.root()
        root["attributes"]["aggrade"] = mark
        store.put("zarr.json", root)
        (problem,) = store.verify()
        assert f"found attribute aggrade of {mark!r}, expected a mapping" in problem

    def test_what_a_later_version_adds(self, store):
        """Its type is nobody's business, only that the last commit did not write it."""
        store.change(later={"a": [1]})
        (problem,) = store.verify()
        assert "attributes or arrays that somebody has changed" in problem


CHANGES = {
    "an attribute": lambda root: root["attributes"].update(title="ours"),
    "a unit": lambda root: root["consolidated_metadata"]["metadata"]["v"]["attributes"].update(units="mV"),
    "a fill value": lambda root: root["consolidated_metadata"]["metadata"]["v"].update(fill_value=7.0),
    "a row that is hidden": lambda root: root["attributes"]["aggrade"].update(superseded=[1]),
    "a length": lambda root: root["consolidated_metadata"]["metadata"]["v"]["shape"].__setitem__(1, 1),
    "an array less": lambda root: root["consolidated_metadata"]["metadata"].pop("v"),
}


class TestChanged:
    """Arrays and attributes are what the last commit left, as its receipt tells."""

    @pytest.fixture(params=CHANGES)
    def changed(self, store, request):
        """Return a store whose root somebody has changed."""
        root = store.root()
        CHANGES[request.param](root)
        store.put("zarr.json", root)
        return store

    def test_it_is_named(self, changed):
        """With the commit that left something else, and what to do."""
        told = [problem for problem in changed.verify() if "that somebody has changed" in problem]
        write_id = changed.root()["attributes"]["aggrade"]["write_id"]
        assert f"expected what write {write_id} left there" in told[0]
        assert "restore the newest backup" in told[0]

    def test_nothing_is_mended_after_it(self, changed):
        """Documents and catalogue are not made to agree with what nobody has written."""
        before = dict(changed.world.objects)
        repairs = repair(STORE, storage_options=changed.options)
        assert "that somebody has changed" in repairs.failed[0]
        assert changed.world.objects == before

    def test_a_restore_brings_it_back(self, store):
        """What the newest backup holds, and what came since is brought again."""
        last = aggrade.list_backups(STORE, storage_options=store.options)[-1].id
        root = store.root()
        root["consolidated_metadata"]["metadata"]["v"]["attributes"]["units"] = "mV"
        store.put("zarr.json", root)
        aggrade.restore(STORE, last, storage_options=store.options)
        store.append(session(2))
        assert store.verify() == ()
        assert store.root()["consolidated_metadata"]["metadata"]["v"]["attributes"].get("units") != "mV"

    def test_the_next_commit_takes_it_over(self, store):
        """An attribute that was meant stays."""
        root = store.root()
        root["attributes"]["title"] = "ours"
        store.put("zarr.json", root)
        store.append(session(4))
        assert store.verify() == ()
        assert store.root()["attributes"]["title"] == "ours"

    def test_consolidating_changes_nothing(self, tmp_path):
        """Neither does another tool that appends and consolidates, but for lengths."""
        for number in range(2):
            aggrade.append(session(number), tmp_path / "own.zarr", storage_options=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(tmp_path / "own.zarr")
        report = aggrade.verify(tmp_path / "own.zarr")
        assert report.ok, report

    def test_receipts_of_earlier_versions_tell_nothing(self, store):
        """A commit that left no digest is not held against anybody."""
        root = store.root()
        key = receipt_key(root["attributes"]["aggrade"]["write_id"])
        told = json.loads(store.world.objects[f"data/windows.zarr/{key}"][0])
        del told["root_digest"]
        store.put(key, told)
        root["attributes"]["title"] = "ours"
        store.put("zarr.json", root)
        assert store.verify() == ()
