"""Which backups go with a layer, and what stays of them."""

from __future__ import annotations

import json

import pytest
from make_commits import add_rows, open_world_store, plan_rows, write_rows
from memory_storage import DiesAt, Hooks, Killed, MemoryStorage, Numbered

from aggrade.commit import Transaction, manifests, read_snapshot, recover_store
from aggrade.commit.backup import back_up, backups_beside, unfinished_backups
from aggrade.commit.layers import LayerRecord, keep_layer, layer_key
from aggrade.commit.plan import Erasure
from aggrade.commit.purging import first_generation, purge, to_purge
from aggrade.errors import Problem, Unavailable
from aggrade.restoring import restore_storage


@pytest.fixture
def storage():
    """Return a store of six rows from as many commits."""
    storage = open_world_store()
    for label in "abcdef":
        add_rows(storage, label)
    return storage


class SaysNothing(Hooks):
    """A server that does not answer where a key ends so."""

    def __init__(self, end):
        self.end = end

    def before(self, kind, key):
        """See `Hooks.before`."""
        if kind.startswith("GET") and key.endswith(self.end):
            raise Unavailable(Problem(key, "no answer", "one", "try again"))


def generations(storage, label, since):
    """Return the states of the backups that go with a layer that came with a generation."""
    erasure = Erasure(label=label, dim="row", since=since, purge=True)
    return [one.generation for one in to_purge(storage, erasure, read_snapshot(storage).documents)]


def bytes_of(world):
    """Return what lies in a world; the intent says who died."""
    return {key: data for key, (data, _) in world.objects.items() if not key.endswith("intent.json")}


def keep(storage, generation, **how):
    """Make a further backup of a state."""
    root = storage.read("zarr.json")
    return back_up(storage, f"{generation:08d}-own", (generation, "w"), "touched", {"zarr.json": root}, **how)


class TestFirstGeneration:
    """Since when a layer may be in backups."""

    @pytest.mark.parametrize(("label", "generation"), [("a", 1), ("c", 3), ("f", 6)])
    def test_its_record_tells(self, storage, label, generation):
        """The generation of the commit that brought it."""
        assert first_generation(storage, label) == generation

    def test_the_first_of_several(self, storage):
        """A label that came again counts from when it first came."""
        keep_layer(storage, LayerRecord(label="b", index=9, digest="d", write_id="w", generation=9))
        assert first_generation(storage, "b") == 2

    def test_a_record_that_only_a_backup_has(self, storage):
        """After a removal that was not purged, the backup's record tells."""
        key = layer_key("c")
        stored = storage.read(key)
        back_up(
            storage,
            "00000006-own",
            (6, "w"),
            "touched",
            {"zarr.json": storage.read("zarr.json"), key: stored},
            commit="remove",
        )
        storage.delete([key])
        assert first_generation(storage, "c") == 3

    def test_a_backup_that_holds_its_record_and_is_torn(self, storage):
        """It may have been there from the start, as far as anybody can tell."""
        key = layer_key("c")
        kept = {"zarr.json": storage.read("zarr.json"), key: storage.read(key)}
        back_up(storage, "00000006-own", (6, "w"), "touched", kept, commit="remove")
        parent, name = storage.above()
        parent.delete([f"{name}.backups/00000006-own/objects.zip"])
        assert first_generation(storage, "c") == 0

    def test_a_server_that_does_not_answer(self, storage):
        """It says nothing of a backup: no other backup is taken to hold a layer for that."""
        kept = {"zarr.json": storage.read("zarr.json"), layer_key("c"): storage.read(layer_key("c"))}
        back_up(storage, "00000006-own", (6, "w"), "touched", kept, commit="remove")
        silent = MemoryStorage(storage.world, storage.prefix, SaysNothing("objects.zip"))
        with pytest.raises(Unavailable):
            first_generation(silent, "c")
        with pytest.raises(Unavailable):
            generations(silent, "x", 6)

    def test_nothing_is_known(self, storage):
        """Without any record it may have been there from the start."""
        assert first_generation(storage, "unknown") == 0


class TestWhich:
    """Backups that hold a layer, or need one that does."""

    @pytest.mark.parametrize(("since", "gone"), [(1, [1, 2, 3, 4, 5]), (4, [4, 5]), (6, [])])
    def test_those_of_states_that_show_it(self, storage, since, gone):
        """Backups of states from before it came are free of it."""
        assert generations(storage, "x", since) == gone

    def test_where_nothing_is_known_all_go(self, storage):
        """A layer that may always have been there is in every backup."""
        assert generations(storage, "x", 0) == [1, 2, 3, 4, 5]

    def test_what_a_dead_writer_left_in_it(self, storage):
        """A backup that holds something beyond its own state may hold anything."""
        world = storage.world
        rehearsal, hooks = world.copy(), Numbered()
        add_rows(MemoryStorage(rehearsal, storage.prefix, hooks), "dead")
        place = 1 + hooks.kinds.index("PUT data/s.zarr/zarr.json")
        with pytest.raises(Killed):
            add_rows(MemoryStorage(world, storage.prefix, DiesAt(world, place, after=False)), "dead")
        recover_store(storage)
        add_rows(storage, "g")
        holding = manifests(storage)[-1].generation
        assert holding in generations(storage, "dead", since=99)
        assert generations(storage, "dead", since=99) == [holding]

    def test_copies_may_be_anybody_s(self, storage):
        """What a restore has given up is not looked into: such a backup goes."""
        keep(storage, 3, copied=[storage.stat("x/c/2/0")])
        assert generations(storage, "x", 6) == [3]

    @pytest.mark.parametrize("commit", ["restore", "remove"])
    def test_older_ones_go_with_one_that_they_need(self, storage, commit):
        """What such a commit has kept, no other backup has; without it older states are not whole."""
        keep(storage, 4, commit=commit, copied=[storage.stat("x/c/2/0")])
        found = generations(storage, "x", 6)
        assert {1, 2, 3, 4} <= set(found)
        assert 5 not in found

    def test_another_key_space(self, storage):
        """A state in a key space that the store has left is not restorable once that is emptied."""
        documents = json.loads(json.dumps(read_snapshot(storage).documents))
        documents["x"]["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "."}}
        erasure = Erasure(label="x", dim="row", since=6)
        assert len(to_purge(storage, erasure, documents)) == 5

    def test_a_backup_that_can_t_be_read(self, storage):
        """Nobody knows what is in it: it goes."""
        parent, name = storage.above()
        first = manifests(storage)[0]
        parent.delete([f"{name}.backups/{first.id}/objects.zip"])
        assert generations(storage, "x", 6) == [1]

    def test_full_ones(self, storage):
        """A full backup of a state from before a layer is free of it, the intent of its own commit being left out."""
        with Transaction(storage, plan_rows(storage, "g", backup="full")) as transaction:
            transaction.publish(write_rows(transaction))
        assert 6 not in generations(storage, "g", 7)
        assert 6 in generations(storage, "g", 6)


class TestPurge:
    """Emptying them."""

    def test_only_the_manifest_stays(self, storage):
        """It says that it was purged, and of what it held nothing."""
        doomed = manifests(storage)[1:3]
        purge(storage, doomed)
        for one in manifests(storage):
            was = one.id in {each.id for each in doomed}
            keys = [key for key in storage.world.objects if one.id in key]
            assert one.purged is was
            assert len(keys) == (1 if was else 2)
            assert bool(one.objects) is not was

    def test_twice_is_once(self, storage):
        """Whoever goes on with a purge that died finishes it, also of what has its manifest marked only."""
        doomed = manifests(storage)[:2]
        once = storage.world.copy()
        purge(MemoryStorage(once, storage.prefix), doomed)
        hooks = Numbered()
        purge(MemoryStorage(storage.world.copy(), storage.prefix, hooks), doomed)
        for place in range(1, hooks.count + 1):
            world = storage.world.copy()
            with pytest.raises(Killed):
                purge(MemoryStorage(world, storage.prefix, DiesAt(world, place, after=False)), doomed)
            own = MemoryStorage(world, storage.prefix)
            purge(own, [one for one in manifests(own) if one.id in {each.id for each in doomed}])
            assert bytes_of(world) == bytes_of(once)

    def test_states_after_it_are_still_whole(self, storage):
        """Newer backups do not need older ones."""
        purge(storage, manifests(storage)[:3])
        receipt = restore_storage(storage, manifests(storage)[3].id)
        assert receipt.kind == "restore"
        assert read_snapshot(storage).length("row") == 4

    def test_what_has_no_manifest_is_deleted(self, storage):
        """Nobody can tell whose it is; whole backups that are not to be emptied stay."""
        beside = backups_beside(storage)
        beside.write("00000009-dead/objects/x/c/0", b"somebody's")
        whole = [one.id for one in manifests(storage)]
        purge(storage, [])
        assert unfinished_backups(storage) == []
        assert [one.id for one in manifests(storage) if one.is_whole] == whole
        assert beside.folders() == whole
