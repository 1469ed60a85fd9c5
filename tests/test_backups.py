"""Backups of a dataset: listed, and pruned without taking what somebody needs."""

from __future__ import annotations

import pytest
from make_commits import add_rows, plan_rows, write_rows
from memory_storage import DiesAt, Hooks, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import Transaction, manifests, read_intent
from aggrade.errors import BadInput

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

    def test_half_of_one_is_none(self, prune, storage, world):
        """Whoever dies while pruning leaves no backup that looks whole."""
        rehearsal = Numbered()
        aggrade.prune_backups(
            f"{ROOT}/s.zarr", 0, dry_run=True, storage_options={"world": world, "hooks": rehearsal}
        )
        with pytest.raises(Killed):
            prune(0, hooks=DiesAt(world, rehearsal.count + 3, after=False))
        for manifest in manifests(storage):
            folder = f"data/s.zarr.backups/{manifest.id}/"
            assert f"{folder}objects.zip" in world.objects


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
