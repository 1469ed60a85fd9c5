"""Appends that die, sleep or lose a reply, at every single request (DESIGN §4 and §10)."""

from __future__ import annotations

import json
import threading

import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import (
    Alone,
    DiesAt,
    Killed,
    LosesReply,
    MemoryStorage,
    Numbered,
    SleepsAt,
    World,
    open_world,
)

import aggrade
from aggrade.commit import read_intent
from aggrade.errors import AggradeError
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
KEPT = ["eeg", "label", "n_windows"]
OLD = [make_session("s1", 3, 1)[KEPT], make_session("s2", 7, 2)[KEPT]]
NEW = make_session("Sub 03/ä", 9, 3)[KEPT]
SHORT = make_session("s4", 1, 4)[KEPT]
CASES = {"create": [], "append": OLD}


def grow_store(options, sessions):
    """Append sessions as an undisturbed process does."""
    for session in sessions:
        aggrade.append(session, STORE, grow=("window",), chunks=CHUNKS, storage_options=options)


def seen(world: World) -> xr.Dataset | None:
    """Return what a bare reader sees, or None where there is no store yet."""
    storage = MemoryStorage(world, "data/windows.zarr")
    if storage.read("zarr.json") is None:
        return None
    found = xr.open_zarr(ReadStore(storage), consolidated=True)
    return found.load() if found.variables else None


def assert_state(world: World, sessions: list[xr.Dataset]) -> None:
    """Assert that a bare reader sees exactly these sessions."""
    found = seen(world)
    if not sessions:
        assert found is None
    else:
        assert found is not None
        assert_holds(found, sessions)


def worlds(open_world, before, step, *, content_etags=False):
    """Yield the numbers of requests that the append of NEW sends, the last included, each with a world for it."""
    start = World(content_etags=content_etags)
    grow_store(open_world(start), before)
    rehearsal, hooks = start.copy(), Numbered()
    grow_store(open_world(rehearsal, hooks), [NEW])
    for place in sorted({*range(1, hooks.count + 1, step), hooks.count}):
        yield place, start.copy()


each_step = pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long), 5], ids=["every", "every fifth"]
)
"""Which requests: each of them in the long proofs, a sample else."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # a dead heartbeat
@each_step
@pytest.mark.parametrize(("after", "content_etags"), [(False, True), (True, False)], ids=["before", "after"])
@pytest.mark.parametrize("case", CASES)
def test_killed_at_every_request(open_world, case, after, content_etags, step):
    """Whatever the request it dies at, readers see old or new, and running it again makes it whole, once."""
    before = CASES[case]
    outcomes = set()
    for place, world in worlds(open_world, before, step, content_etags=content_etags):
        with pytest.raises(Killed):
            grow_store(open_world(world, DiesAt(world, place, after=after)), [NEW])
        found = seen(world)
        published = found is not None and NEW["session"].values[0] in found["session"].values
        outcomes.add(published)
        assert_state(world, [*before, NEW] if published else before)
        aggrade.recover(STORE, storage_options=open_world(world))
        assert_state(world, [*before, NEW] if published else before)
        grow_store(open_world(world), [SHORT, NEW])
        assert_state(world, [*before, NEW, SHORT] if published else [*before, SHORT, NEW])
        report = aggrade.verify(STORE, storage_options=open_world(world))
        assert report.ok, f"request {place}: {report}"
        intent = read_intent(MemoryStorage(world, "data/windows.zarr"))
        assert intent is not None
        assert intent[0].state == "free"
        assert not intent[0].dirty
    assert outcomes == {False, True}


@each_step
@pytest.mark.parametrize("case", CASES)
def test_lost_reply_at_every_request(open_world, monkeypatch, case, step):
    """A lost reply ends in success or in a clear error, and running it again makes the store whole, once."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    before = CASES[case]
    for place, world in worlds(open_world, before, step):
        codes = []
        try:
            grow_store(open_world(world, LosesReply(place)), [NEW])
        except AggradeError as error:
            codes.append(error.code)
        assert codes in ([], ["unavailable"]), f"request {place}"
        grow_store(open_world(world), [NEW])
        assert_state(world, [*before, NEW])
        report = aggrade.verify(STORE, storage_options=open_world(world))
        assert report.ok, f"request {place}: {report}"


class Sleeper(threading.Thread):
    """A process that appends NEW and is suspended at one request until it is woken."""

    def __init__(self, options):
        super().__init__()
        self.options, self.failures = options, []

    def run(self):
        try:
            grow_store(self.options, [NEW])
        except AggradeError as error:
            self.failures.append(error)


@each_step
@pytest.mark.parametrize("case", CASES)
def test_sleeper_wakes_after_take_over(open_world, case, step):
    """A writer that slept through its lease overwrites nothing of its successor's, whatever it wakes up to do."""
    before = CASES[case]
    for place, world in worlds(open_world, before, step, content_etags=True):
        hooks = SleepsAt(world, place)
        sleeper = Sleeper(open_world(world, hooks))
        sleeper.start()
        assert hooks.asleep.wait(60)
        grow_store(open_world(world), [SHORT])
        hooks.woken.set()
        sleeper.join(60)
        assert not sleeper.is_alive()
        assert all(isinstance(error, aggrade.Conflict) for error in sleeper.failures), f"request {place}"
        grow_store(open_world(world), [NEW])
        found = seen(world)
        assert found is not None
        order = [str(label) for label in found["session"].values]
        by_label = {str(s["session"].values[0]): s for s in [*before, NEW, SHORT]}
        assert sorted(order) == sorted(by_label), f"request {place}: {hooks.kinds[place - 1]}"
        assert_holds(found, [by_label[label] for label in order])
        report = aggrade.verify(STORE, storage_options=open_world(world))
        assert report.ok, f"request {place}: {report}"


@each_step
@pytest.mark.parametrize("case", CASES)
def test_sleeper_wakes_after_a_recovery(open_world, case, step):
    """A commit that was rolled back never shows, whatever its writer wakes up to do."""
    back = 0
    for place, world in worlds(open_world, CASES[case], step, content_etags=True):
        hooks = SleepsAt(world, place)
        sleeper = Sleeper(open_world(world, hooks))
        sleeper.start()
        assert hooks.asleep.wait(60)
        receipt = aggrade.recover(STORE, storage_options=open_world(world))
        hooks.woken.set()
        sleeper.join(60)
        assert not sleeper.is_alive()
        assert all(isinstance(error, aggrade.Conflict) for error in sleeper.failures), f"request {place}"
        if receipt is not None and receipt.details["rolled"] == "back":
            back += 1
            root = json.loads(world.objects["data/windows.zarr/zarr.json"][0])
            assert root["attributes"]["aggrade"]["write_id"] != receipt.write_id, f"request {place}"
        grow_store(open_world(world), [NEW])
        assert_state(world, [*CASES[case], NEW])
    assert back


class Overtaken(Alone):
    """Somebody else does something once this process has looked at the root twice, before it looks for records."""

    def __init__(self, kind, overtake):
        self.kind, self.overtake = kind, overtake
        self.looked, self.times = threading.Event(), 0

    def before(self, kind, key):
        """See `Hooks.before`."""
        if kind == self.kind and key.startswith("data/windows.zarr/.aggrade/layers/"):
            self.times += 1
            if self.times == 1:
                assert self.looked.wait(60)
                self.overtake()

    def after(self, kind, key):
        """See `Hooks.after`."""
        if (kind, key) == ("HEAD", "data/windows.zarr/zarr.json"):
            self.looked.set()


def test_a_store_that_is_made_meanwhile_is_not_lost(open_world):
    """Records that are younger than the root that was read say nothing of it: it is planned again."""
    world = World()
    hooks = Overtaken("LIST", lambda: grow_store(open_world(world), [SHORT]))
    grow_store(open_world(world, hooks), [NEW])
    assert hooks.times
    assert_state(world, [SHORT, NEW])


def test_a_record_that_is_removed_meanwhile_is_not_lost(open_world):
    """A layer that was there, and whose record is gone with it, is planned again, and appended."""
    world = World()
    grow_store(open_world(world), [*OLD, NEW])
    label = str(NEW["session"].values[0])
    hooks = Overtaken("GET", lambda: aggrade.remove(STORE, label, storage_options=open_world(world)))
    receipt = aggrade.append(
        NEW, STORE, grow=("window",), chunks=CHUNKS, storage_options=open_world(world, hooks)
    )
    assert hooks.times
    assert receipt.layers == {label: 3}
    found = seen(world)
    assert found is not None
    assert_holds(found.isel(session=[0, 1, 3]), [*OLD, NEW])


def test_dies_behind_the_switch_and_runs_again(open_world):
    """A writer that dies with its layer showing and no record of it is run again at once: the layer is there once."""
    start = World()
    grow_store(open_world(start), OLD)
    rehearsal = Numbered()
    grow_store(open_world(start.copy(), rehearsal), [NEW])
    switch = 1 + rehearsal.kinds.index("PUT data/windows.zarr/zarr.json")
    for place in range(switch, rehearsal.count + 1):
        world = start.copy()
        with pytest.raises(Killed):
            grow_store(open_world(world, DiesAt(world, place, after=True)), [NEW])
        grow_store(open_world(world), [NEW, NEW])
        assert_state(world, [*OLD, NEW])
        report = aggrade.verify(STORE, storage_options=open_world(world))
        assert report.ok, f"request {place}: {report}"
