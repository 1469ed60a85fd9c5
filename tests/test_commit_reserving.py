"""Objects that come before the lease is taken: on record first, and nobody's harm whoever comes in between."""

from __future__ import annotations

import pytest
from make_datasets import assert_holds, make_session
from memory_storage import Alone, DiesAt, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import read_intent
from aggrade.commit.intent import INTENT, Intent, Lease, Owner
from aggrade.commit.looking import look
from aggrade.commit.plan import CommitPlan, Region, Target
from aggrade.commit.reserving import demand_reserved, mark_left, regions_ahead, reserve
from aggrade.errors import Conflict
from aggrade.landing import land
from aggrade.staging import stage

__all__ = ["open_world"]

ROOT, STORE = "world://data", "world://data/windows.zarr"
OLD, LONG, OTHER, SHORT = (
    make_session(label, windows, seed, samples=64)
    for seed, (label, windows) in enumerate([("old", 3), ("long", 100), ("other", 70), ("short", 2)])
)
FIRST = "data/windows.zarr/eeg/c/1/0/0/0"
COPIES = 4
"""Shards of 32 windows of the long session."""


@pytest.fixture(autouse=True)
def two_at_once(monkeypatch):
    """Have few requests under way at once, so that a landing of a few objects is worth a reservation."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", "2")


@pytest.fixture
def world(open_world):
    """Return a world in which a store holds one session."""
    world = World(content_etags=True)
    aggrade.append(OLD, ROOT, grow=("window",), storage_options=open_world(world))
    return world


def staged(open_world, world, session=LONG):
    """Stage a session."""
    return stage(session, ROOT, str(session["session"].values[0]), storage_options=open_world(world))


def dead_at_a_copy(open_world, world, number=1):
    """Have a landing die before one of its copies."""
    one = staged(open_world, world)
    rehearsal = Numbered()
    land(one, STORE, storage_options=open_world(world.copy(), rehearsal))
    copies = [place for place, kind in enumerate(rehearsal.kinds, 1) if kind.startswith("COPY")]
    assert len(copies) == COPIES
    with pytest.raises(Killed):
        land(one, STORE, storage_options=open_world(world, DiesAt(world, copies[number - 1], after=False)))
    return one


def intent_of(world):
    """Return the intent that lies there."""
    found = read_intent(MemoryStorage(world, "data/windows.zarr"))
    assert found is not None
    return found[0]


def assert_whole(open_world, world, sessions):
    """Assert that just these sessions are shown, and that nothing is wrong."""
    options = open_world(world)
    assert_holds(aggrade.open_windows(STORE, storage_options=options).load(), sessions)
    report = aggrade.verify(ROOT, storage_options=options)
    assert report.ok, str(report)
    assert intent_of(world).state == "free"


class TestWorth:
    """Which regions come before the lease is taken."""

    def plan(self, count):
        """Return a commit of so many objects."""
        document = {
            "shape": [1, count],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        }
        regions = (Region(variable="x", bounds=((0, 1), (0, count))),)
        return CommitPlan(kind="append", store="s", documents={"x": document}, regions=regions)

    @pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 0), (3, 1), (100, 1)])
    def test_more_than_come_at_once(self, world, count, expected):
        """As many as come at once are brought as fast under the lease."""
        seen = look(MemoryStorage(world, "data/windows.zarr"))
        assert len(regions_ahead(self.plan(count), seen, {"x"})) == expected
        assert regions_ahead(self.plan(count), seen, {"y"}) == ()

    def test_not_in_a_new_store(self):
        """Where nobody can have written yet, nobody waits."""
        assert regions_ahead(self.plan(100), look(MemoryStorage(World(), "new.zarr")), {"x"}) == ()

    def test_not_beside_left_overs(self, open_world, world):
        """What others left is looked at under the intent."""
        dead_at_a_copy(open_world, world)
        seen = look(MemoryStorage(world, "data/windows.zarr"))
        assert regions_ahead(self.plan(100), seen, {"x"}) == ()


class TestReserve:
    """The record."""

    region = Target(
        variable="eeg",
        bounds=((1, 2), (0, 1)),
        unit=(1, 1),
        key_encoding={"name": "default", "configuration": {"separator": "/"}},
    )

    def test_the_intent_stays_free_and_names_the_regions(self, world):
        """Nobody waits for it, and whoever comes knows."""
        storage = MemoryStorage(world, "data/windows.zarr")
        seen = reserve(storage, look(storage), (self.region,))
        assert intent_of(world).state == "free"
        assert intent_of(world).dirty == (self.region,)
        assert seen.is_calm
        assert not look(storage).is_calm
        demand_reserved(storage, seen)

    def test_somebody_was_faster(self, world):
        """Then what was read holds no longer."""
        storage = MemoryStorage(world, "data/windows.zarr")
        before = look(storage)
        reserve(storage, before, (self.region,))
        with pytest.raises(Conflict) as caught:
            reserve(storage, before, (self.region,))
        assert caught.value.code == "moved-on"

    def test_somebody_came_in_between(self, world):
        """A second record under another name takes the place of the first."""
        storage = MemoryStorage(world, "data/windows.zarr")
        seen = reserve(storage, look(storage), (self.region,))
        reserve(storage, seen, (self.region,))
        with pytest.raises(Conflict, match="run it again"):
            demand_reserved(storage, seen)

    def lease(self, storage):
        """Take the intent of a store whose region is on record."""
        intent = Intent(
            state="held", write_id="w", owner=Owner.here(), lease_seconds=30, dirty=(self.region,)
        )
        return Lease.take(storage, intent, replacing=look(storage).intent[1])

    def test_a_mark_is_given_for_what_is_on_record_alone(self, world):
        """An object elsewhere is nobody's to replace."""
        storage = MemoryStorage(world, "data/windows.zarr")
        lease = self.lease(storage)
        keys = ("eeg/c/1/0", "eeg/c/0/0", "label/c/1/0")
        marks = {key: storage.write(key, b"late").etag for key in keys}
        assert [mark_left(storage, lease, key) for key in keys] == [marks["eeg/c/1/0"], None, None]
        lease.stop()

    def test_no_mark_for_whom_somebody_took_over(self, world):
        """What lies there may be the successor's."""
        storage = MemoryStorage(world, "data/windows.zarr")
        lease = self.lease(storage)
        storage.write("eeg/c/1/0", b"late")
        storage.write(INTENT, b"somebody else's", replacing=storage.stat(INTENT).etag)
        with pytest.raises(Conflict):
            mark_left(storage, lease, "eeg/c/1/0")
        lease.stop()


@pytest.mark.parametrize("number", range(1, COPIES + 1))
@pytest.mark.parametrize("session", [SHORT, OTHER], ids=["short", "long"])
def test_what_a_dead_landing_left_shows_nowhere(open_world, world, session, number):
    """Another session takes the row, and so does the same one after it."""
    one = dead_at_a_copy(open_world, world, number)
    assert_whole(open_world, world, [OLD])
    aggrade.append(session, ROOT, grow=("window",), storage_options=open_world(world))
    assert_whole(open_world, world, [OLD, session])
    land(one, STORE, storage_options=open_world(world))
    assert_whole(open_world, world, [OLD, session, LONG])
    assert intent_of(world).dirty == ()


class Late(Alone):
    """A copy of somebody else's takes effect just before this process creates an object at the same key."""

    def __init__(self, world, key, data):
        self.world, self.key, self.data, self.came = world, key, data, False

    def before(self, kind, key):
        """See `Hooks.before`."""
        if (kind, key, self.came) == ("PUT", self.key, False):
            self.came = True
            self.world.objects[key] = (self.data, self.world.mark(self.data))


def test_a_copy_that_comes_late_is_replaced(open_world, world):
    """Who holds the lease need not give way to who has its regions on record."""
    dead_at_a_copy(open_world, world)
    data = world.objects["data/.aggrade/staging/long.zarr/eeg/c/0/0/0/0"][0]
    hooks = Late(world, FIRST, data)
    aggrade.append(OTHER, ROOT, grow=("window",), storage_options=open_world(world, hooks))
    assert hooks.came
    assert_whole(open_world, world, [OLD, OTHER])


def test_an_object_on_no_record_is_not_replaced(open_world, world):
    """It is somebody's, who knows whose: the append gives way."""
    hooks = Late(world, FIRST, b"somebody's")
    with pytest.raises(Conflict) as caught:
        aggrade.append(OTHER, ROOT, grow=("window",), storage_options=open_world(world, hooks))
    assert caught.value.code == "key-taken"
    assert world.objects[FIRST][0] == b"somebody's"


class Between(Alone):
    """Somebody else does something just before one of this process's copies."""

    def __init__(self, number, action):
        self.left, self.action, self.copies = number, action, 0

    def before(self, kind, key):
        """See `Hooks.before`."""
        if kind == "COPY" and key.startswith("data/windows.zarr/"):
            self.copies += 1
            self.left -= 1
            if self.left == 0:
                self.action()


@pytest.mark.parametrize("number", range(1, COPIES + 1))
def test_who_comes_in_between_goes_first(open_world, world, number):
    """The landing plans again behind it, and stops to copy as soon as it knows."""
    one = staged(open_world, world)
    options = open_world(world)
    hooks = Between(number, lambda: aggrade.append(SHORT, ROOT, grow=("window",), storage_options=options))
    receipt = land(one, STORE, storage_options=open_world(world, hooks))
    assert receipt.layers == {"long": 2}
    assert hooks.copies <= 2 * COPIES
    assert_whole(open_world, world, [OLD, SHORT, LONG])


class Eager(Alone):
    """Somebody else appends a session before each copy that is made while nobody holds the store."""

    def __init__(self, options, world):
        self.options, self.world, self.came = options, world, []

    def before(self, kind, key):
        """See `Hooks.before`."""
        if kind == "COPY" and key.startswith("data/windows.zarr/") and intent_of(self.world).state == "free":
            session = make_session(f"more {len(self.came)}", 1, len(self.came), samples=64)
            self.came.append(session)
            aggrade.append(session, ROOT, grow=("window",), storage_options=self.options)


def test_who_is_always_too_late_copies_under_the_lease(open_world, monkeypatch, world):
    """Others that come in between again and again don't keep a landing from its turn for ever."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", "1")
    one, hooks = staged(open_world, world), Eager(open_world(world), world)
    land(one, STORE, storage_options=open_world(world, hooks))
    assert 1 <= len(hooks.came) <= 2
    assert_whole(open_world, world, [OLD, *hooks.came, LONG])
