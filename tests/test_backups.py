"""Backups of a dataset: listed, and pruned without taking what somebody needs."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from make_commits import add_rows, plan_rows, write_rows
from memory_storage import DiesAt, Hooks, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import Transaction, manifests, read_intent
from aggrade.commit.purging import purge
from aggrade.commit.snapshot import read_snapshot
from aggrade.errors import BadInput, Damaged, Problem, Unavailable

__all__ = ["open_world"]

ROOT = "world://data"


@pytest.fixture
def world():
    """Return a world with two stores, of five and of two commits."""
    world = World()
    for name, labels in {"s.zarr": "abcde", "windows/t.zarr": "xy"}.items():
        for label in labels:
            add_rows(MemoryStorage(world, f"data/{name}"), label)
    return world


@pytest.fixture
def storage(world):
    """Return the storage of the first store."""
    return MemoryStorage(world, "data/s.zarr")


@pytest.fixture
def prune(open_world, world):
    """Return a function that prunes backups."""

    def prune(keep, store=f"{ROOT}/s.zarr", *, hooks=None, **how):
        return aggrade.prune_backups(store, keep, storage_options=open_world(world, hooks), **how)

    return prune


def generations(storage):
    """Return the states that backups of a store keep."""
    return [manifest.generation for manifest in manifests(storage)]


def prune_in(open_world, world, hooks=None):
    """Delete all backups of the first store in a world."""
    return aggrade.prune_backups(f"{ROOT}/s.zarr", 0, storage_options=open_world(world, hooks))


class TestList:
    """Which backups there are."""

    def test_of_one_store(self, open_world, world):
        """Oldest first; the create has none."""
        found = aggrade.list_backups(f"{ROOT}/s.zarr", storage_options=open_world(world))
        assert [manifest.generation for manifest in found] == [1, 2, 3, 4]
        assert {manifest.store for manifest in found} == {"world://data/s.zarr"}

    def test_of_a_dataset(self, open_world, world):
        """Store by store."""
        found = aggrade.list_backups(ROOT, storage_options=open_world(world))
        assert [(manifest.store[13:], manifest.generation) for manifest in found] == [
            *(("s.zarr", generation) for generation in (1, 2, 3, 4)),
            ("windows/t.zarr", 1),
        ]

    def test_of_nothing(self, open_world):
        """Where no store lies there are no backups."""
        assert aggrade.list_backups(ROOT, storage_options=open_world(World())) == []


class TestPrune:
    """Deleting old ones."""

    def test_the_newest_are_kept(self, prune, storage):
        """As many as were asked for; what goes is returned."""
        assert [manifest.generation for manifest in prune(2)] == [1, 2]
        assert generations(storage) == [3, 4]

    @pytest.mark.parametrize("keep", [4, 5, 100])
    def test_enough_room(self, prune, storage, keep):
        """With no more than that there is nothing to do."""
        assert prune(keep) == []
        assert generations(storage) == [1, 2, 3, 4]

    def test_none_is_kept(self, prune, storage, world):
        """Every object of every backup is gone, and nothing of the store."""
        before = {key for key in world.objects if ".backups/" not in key}
        assert len(prune(0)) == 4
        assert generations(storage) == []
        assert {key for key in world.objects if "s.zarr.backups/" in key} == set()
        assert {key for key in world.objects if ".backups/" not in key} == before

    def test_of_each_store_by_itself(self, prune, world):
        """The number is per store."""
        prune(1, ROOT)
        assert generations(MemoryStorage(world, "data/s.zarr")) == [4]
        assert generations(MemoryStorage(world, "data/windows/t.zarr")) == [1]

    def test_a_dry_run(self, prune, world):
        """What would go is returned, and nothing is sent that changes anything."""
        before, hooks = dict(world.objects), Numbered()
        assert len(prune(1, dry_run=True, hooks=hooks)) == 3
        assert world.objects == before
        assert {kind.split()[0] for kind in hooks.kinds} <= {"GET", "HEAD", "LIST"}

    def test_a_negative_number(self, prune):
        """Fewer than none can't be kept."""
        with pytest.raises(BadInput, match="say how many backups to keep"):
            prune(-1)

    def test_full_ones(self, prune, storage, world):
        """Copies of a whole store go as well, object by object."""
        add_rows(storage, "f", backup="full")
        prune(0)
        assert not [key for key in world.objects if "s.zarr.backups/" in key]

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_half_of_one_is_none(self, open_world, world, after):
        """Whoever dies while pruning, at any request, leaves no backup that looks whole, and nothing to be missed."""
        for request in itertools.count(1):
            there = world.copy()
            try:
                prune_in(open_world, there, DiesAt(there, request, after=after))
                break
            except Killed:
                pass
            for manifest in manifests(MemoryStorage(there, "data/s.zarr")):
                folder = f"data/s.zarr.backups/{manifest.id}/"
                assert manifest.purged or f"{folder}objects.zip" in there.objects
            report = aggrade.verify(f"{ROOT}/s.zarr", storage_options=open_world(there))
            assert not [one for one in report.problems if "backup" in one], report
            prune_in(open_world, there)
            assert not [key for key in there.objects if "s.zarr.backups/" in key]
        assert request > 12

    def test_where_nothing_can_be_written(self, prune, world):
        """A full disk is what backups are pruned for."""
        assert len(prune(0, hooks=Full())) == 4
        assert not [key for key in world.objects if "s.zarr.backups/" in key]


class Full(Hooks):
    """No room for another object."""

    def before(self, kind, key):
        """See `Hooks.before`."""
        if kind == "PUT":
            raise Unavailable(Problem(key, "no space left", "room for it", "make room", "no-space"))


class TestAge:
    """Deleting by age as well as by number."""

    @pytest.fixture
    def aged(self, storage, world):
        """Say of the backups of the first store that they were made 40, 30, 20 and 10 days ago."""
        for days, manifest in zip((40, 30, 20, 10), manifests(storage), strict=True):
            made = (datetime.now(UTC) - timedelta(days=days)).isoformat()
            data = manifest.model_copy(update={"made": made}).model_dump_json().encode()
            world.objects[f"data/s.zarr.backups/{manifest.id}/manifest.json"] = (data, world.mark(data))

    @pytest.mark.parametrize(
        ("keep", "older_than", "left"),
        [
            (0, "25 days", [3, 4]),
            (3, "25 days", [2, 3, 4]),
            (1, timedelta(days=5), [4]),
            (0, timedelta(0), []),
            (0, "60 days", [1, 2, 3, 4]),
            (0, "1D", []),
        ],
    )
    @pytest.mark.usefixtures("aged")
    def test_both_have_to_hold(self, prune, storage, keep, older_than, left):
        """A backup goes if it is neither among the newest nor younger."""
        prune(keep, older_than=older_than)
        assert generations(storage) == left

    def test_a_new_backup_says_when_it_was_made(self, prune, storage):
        """Those that were made just now are younger than a minute."""
        assert prune(0, older_than="1 minute") == []
        assert len(generations(storage)) == 4

    @pytest.mark.usefixtures("aged")
    def test_no_gap_is_left(self, prune, storage, world):
        """A newer backup may need an older one's neighbours: whatever comes after a young one stays."""
        second = manifests(storage)[1]
        data = second.model_copy(update={"made": datetime.now(UTC).isoformat()}).model_dump_json().encode()
        world.objects[f"data/s.zarr.backups/{second.id}/manifest.json"] = (data, world.mark(data))
        prune(0, older_than="15 days")
        assert generations(storage) == [2, 3, 4]

    @pytest.mark.parametrize("age", ["soon", "-3 days", timedelta(days=-1), "", "NaT", 30, "30", 1.5])
    def test_no_length_of_time(self, prune, storage, age):
        """What can't be an age is bad input; nothing is deleted."""
        with pytest.raises(BadInput, match="a length of time"):
            prune(0, older_than=age)
        assert len(generations(storage)) == 4


class TestPurged:
    """Backups that a removal has emptied."""

    @pytest.fixture
    def purged(self, storage):
        """Empty the second backup of the first store."""
        purge(storage, [manifests(storage)[1]])

    @pytest.mark.usefixtures("purged")
    def test_they_are_listed_as_such(self, open_world, world):
        """The manifest stays and says that it can't be restored any more; nothing else of it does."""
        found = aggrade.list_backups(f"{ROOT}/s.zarr", storage_options=open_world(world))
        assert [one.purged for one in found] == [False, True, False, False]
        assert [key for key in world.objects if found[1].id in key] == [
            f"data/s.zarr.backups/{found[1].id}/manifest.json"
        ]

    @pytest.mark.usefixtures("purged")
    def test_they_do_not_count(self, prune, storage):
        """Of those that are whole, as many are kept as were asked for."""
        prune(3)
        assert generations(storage) == [1, 2, 3, 4]
        prune(2)
        assert generations(storage) == [3, 4]

    @pytest.mark.usefixtures("purged")
    def test_all_can_go(self, prune, world):
        """Asked to keep none, nothing is left of them either."""
        prune(0)
        assert not [key for key in world.objects if "s.zarr.backups/" in key]


def test_a_store_that_is_gone(open_world, world):
    """Of a store that was removed as a whole, the backups of the dataset still tell."""
    for key in [key for key in world.objects if key.startswith("data/windows/t.zarr/")]:
        del world.objects[key]
    found = aggrade.list_backups(ROOT, storage_options=open_world(world))
    assert [one.store for one in found][-1] == "world://data/windows/t.zarr"


class TestNeeded:
    """What a commit under way may need."""

    def test_the_backup_of_an_open_intent_is_kept(self, prune, storage):
        """A commit that isn't finished keeps the backup that it made, whatever is asked."""
        with Transaction(storage, plan_rows(storage, "f")) as transaction:
            assert [manifest.generation for manifest in prune(0)] == [1, 2, 3, 4]
            assert [manifest.id for manifest in manifests(storage)] == [
                read_intent(storage)[0].journal.backup
            ]
            transaction.publish(write_rows(transaction))
        assert [manifest.generation for manifest in prune(0)] == [5]

    def test_of_a_dead_writer_too(self, prune, storage, world):
        """Until it has been recovered, its backup stays."""
        rehearsal = Numbered()
        add_rows(MemoryStorage(world.copy(), storage.prefix, rehearsal), "f")
        place = 1 + rehearsal.kinds.index("PUT data/s.zarr/zarr.json")
        with pytest.raises(Killed):
            add_rows(MemoryStorage(world, storage.prefix, DiesAt(world, place, after=False)), "f")
        prune(0)
        assert generations(storage) == [5]
        aggrade.recover(f"{ROOT}/s.zarr", storage_options={"world": world})
        prune(0)
        assert generations(storage) == []

    def test_one_that_is_made_meanwhile_is_kept(self, prune, storage, world):
        """A commit that begins at any request of the pruning loses nothing."""
        rehearsal = Numbered()
        prune(0, dry_run=True, hooks=rehearsal)
        for place in range(1, rehearsal.count + 1):
            copy = world.copy()
            own = MemoryStorage(copy, storage.prefix)
            begun = Begins(own, place)
            aggrade.prune_backups(f"{ROOT}/s.zarr", 0, storage_options={"world": copy, "hooks": begun})
            assert [manifest.id for manifest in manifests(own)] == [begun.backup]
            begun.transaction.__exit__(None, None, None)


class Begins(Hooks):
    """Begins a commit before a request of somebody else."""

    def __init__(self, storage, place):
        self.storage, self.place, self.count = storage, place, 0
        self.transaction = self.backup = None

    def before(self, kind, key):  # noqa: ARG002
        """Begin at the place."""
        self.count += 1
        if self.count == self.place:
            self.transaction = Transaction(self.storage, plan_rows(self.storage, "meanwhile"))
            self.transaction.__enter__()
            self.backup = read_intent(self.storage)[0].journal.backup


class TestTornManifest:
    """One backup that can't be understood stands in the way of no other."""

    @pytest.fixture
    def torn(self, storage):
        """Tear the manifest of the second of four backups; return the ids of all."""
        ids = [manifest.id for manifest in manifests(storage)]
        storage.world.objects[f"data/s.zarr.backups/{ids[1]}/manifest.json"] = (b'{"id": ', "torn")
        return ids

    def restore(self, open_world, world, backup):
        """Restore the state of a backup."""
        return aggrade.restore(f"{ROOT}/s.zarr", backup, storage_options=open_world(world))

    def test_later_ones_are_restored(self, open_world, world, storage, torn):
        """A state is told by its backup and those after it."""
        self.restore(open_world, world, torn[2])
        assert read_snapshot(storage).length("row") == 3

    @pytest.mark.parametrize("which", [0, 1])
    def test_it_and_older_ones_are_not(self, open_world, world, storage, torn, which):
        """What it held can't be told: they are refused, the present state stays, and the sentence names it."""
        with pytest.raises(Damaged, match=f"{torn[1]}/manifest.json.*made later"):
            self.restore(open_world, world, torn[which])
        assert read_snapshot(storage).length("row") == 5

    def test_it_is_listed_and_pruned(self, storage, torn, prune):
        """It does not count among those that are kept, and goes with the older ones."""
        assert [one.unreadable for one in manifests(storage)] == [False, True, False, False]
        assert [one.id for one in prune(2)] == torn[:2]
        assert [one.id for one in manifests(storage)] == torn[2:]

    @pytest.mark.parametrize("purge", [False, True])
    def test_a_layer_is_removed(self, open_world, world, torn, purge):
        """Nobody knows what it holds: with the other backups it is emptied where backups are to be."""
        options = open_world(world)
        receipt = aggrade.remove(
            f"{ROOT}/s.zarr", "c", dim="row", purge_backups=purge, storage_options=options
        )
        assert set(torn) <= set(receipt.details["purged"]) if purge else not receipt.details["purged"]
        left = [key for key in world.objects if torn[1] in key]
        assert left == [f"data/s.zarr.backups/{torn[1]}/manifest.json"] if purge else len(left) > 1
