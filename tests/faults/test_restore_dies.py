"""Restores that die, sleep or lose a reply, at every single request (DESIGN §4 and §10)."""

from __future__ import annotations

import threading

import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import DiesAt, Killed, LosesReply, MemoryStorage, Numbered, SleepsAt, World, open_world

import aggrade
from aggrade.commit import find_layer, read_intent, read_snapshot
from aggrade.errors import AggradeError
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # dead heartbeats

STORE = "world://data/windows.zarr"
KEPT = ["eeg", "label"]
FIRST, SECOND = (make_session(f"s{i}", windows, i)[KEPT] for i, windows in [(1, 3), (2, 5)])
OTHER, LATER = make_session("other", 2, 3)[KEPT], make_session("later", 4, 4)[KEPT]
CASES = ["stays", "grows", "moves"]
each_case = pytest.mark.parametrize("case", CASES)
each_step = pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long), 11], ids=["every", "every eleventh"]
)
"""Which requests: each of them in the long proofs, a sample else."""


def grow_store(options, *sessions):
    """Append sessions; return the last receipt."""
    for session in sessions:
        receipt = aggrade.append(
            session, STORE, grow=("window",), chunks={**CHUNKS, "session": 2}, storage_options=options
        )
    return receipt


def begin(options, case):
    """Make a store; return the backup to restore, what readers see before, and what they see after."""
    grow_store(options, FIRST)
    first = grow_store(options, SECOND).backup
    if case == "stays":
        return first, [FIRST, SECOND], [FIRST]
    second = aggrade.restore(STORE, first, storage_options=options).backup
    if case == "grows":
        return second, [FIRST], [FIRST, SECOND]
    grow_store(options, OTHER)
    return second, [FIRST, OTHER], [FIRST, SECOND]


def assert_state(world: World, sessions) -> None:
    """Assert that a bare reader sees exactly these sessions."""
    assert_holds(seen(world), sessions)


def seen(world: World) -> xr.Dataset:
    """Return what a bare reader sees."""
    return xr.open_zarr(ReadStore(MemoryStorage(world, "data/windows.zarr")), consolidated=True).load()


def shows(world: World, sessions) -> bool:
    """Tell whether a bare reader sees exactly these sessions."""
    try:
        assert_state(world, sessions)
    except AssertionError:
        return False
    return True


def worlds(open_world, case, step, *, content_etags=False):
    """Yield the number of every so many-th request that the restore sends, with a world in which it begins."""
    start = World(content_etags=content_etags)
    backup, before, after = begin(open_world(start), case)
    rehearsal, hooks = start.copy(), Numbered()
    plan = aggrade.restore(STORE, backup, dry_run=True, storage_options=open_world(rehearsal))
    assert case in plan.arrays.values()
    aggrade.restore(STORE, backup, storage_options=open_world(rehearsal, hooks))
    for place in range(1 + CASES.index(case) % step, hooks.count + 1, step):
        yield place, start.copy(), backup, before, after


def assert_whole(open_world, world, sessions, place):
    """Assert that the store shows these sessions, takes another one, and is what its receipts say."""
    options = open_world(world)
    assert_state(world, sessions)
    grow_store(options, LATER)
    assert_state(world, [*sessions, LATER])
    report = aggrade.verify(STORE, storage_options=options)
    assert report.ok, f"request {place}: {report}"
    assert read_intent(MemoryStorage(world, "data/windows.zarr"))[0].state == "free"


@pytest.mark.parametrize(
    ("after_it", "content_etags"), [(False, True), (True, False)], ids=["before", "after"]
)
@each_step
@each_case
def test_killed_at_every_request(open_world, case, step, after_it, content_etags):
    """Whatever the request it dies at, bare readers see old or new, and running it again leaves the new one."""
    outcomes = set()
    for place, world, backup, before, after in worlds(open_world, case, step, content_etags=content_etags):
        options = open_world(world, DiesAt(world, place, after=after_it))
        with pytest.raises(Killed):
            aggrade.restore(STORE, backup, storage_options=options)
        new = shows(world, after)
        outcomes.add(new)
        assert new or shows(world, before), f"request {place}"
        aggrade.recover(STORE, storage_options=open_world(world))
        assert shows(world, after if new else before), f"request {place}"
        aggrade.restore(STORE, backup, storage_options=open_world(world))
        assert_whole(open_world, world, after, place)
    assert False in outcomes
    assert True in outcomes or step > 1


@each_step
@each_case
def test_growing_after_a_death(open_world, case, step):
    """An append finishes what a dead restore left, and shows nothing of what was not to be."""
    for place, world, backup, before, after in worlds(open_world, case, step):
        options = open_world(world, DiesAt(world, place, after=True))
        with pytest.raises(Killed):
            aggrade.restore(STORE, backup, storage_options=options)
        assert_whole(open_world, world, after if shows(world, after) else before, place)


@each_step
@each_case
def test_lost_reply_at_every_request(open_world, monkeypatch, case, step):
    """A lost reply ends in success or in a clear error, and running it again leaves the new state."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    for place, world, backup, _, after in worlds(open_world, case, step):
        failures: list[AggradeError] = []
        disturbed(open_world(world, LosesReply(place)), backup, failures)
        assert {error.code for error in failures} <= {"unavailable"}, f"request {place}: {failures}"
        aggrade.restore(STORE, backup, storage_options=open_world(world))
        assert_whole(open_world, world, after, place)


@each_step
@each_case
def test_sleeper_wakes_after_take_over(open_world, case, step):
    """A restore that slept through its lease changes nothing that its successors published."""
    for place, world, backup, before, after in worlds(open_world, case, step, content_etags=True):
        hooks = SleepsAt(world, place)
        failures: list[AggradeError] = []
        thread = threading.Thread(target=disturbed, args=(open_world(world, hooks), backup, failures))
        thread.start()
        assert hooks.asleep.wait(60)
        grow_store(open_world(world), LATER)
        published = [*(after if shows(world, [*after, LATER]) else before), LATER]
        assert_state(world, published)
        hooks.woken.set()
        thread.join(60)
        assert not thread.is_alive()
        assert all(isinstance(error, aggrade.Conflict) for error in failures), f"request {place}: {failures}"
        expected = published if shows(world, published) else after
        assert_state(world, expected)
        grow_store(open_world(world), make_session("last", 7, 9)[KEPT])
        report = aggrade.verify(STORE, storage_options=open_world(world))
        assert report.ok, f"request {place}: {report}"


def disturbed(options, backup, failures):
    """Restore in a process that is in for something, and keep the error it ends with."""
    try:
        aggrade.restore(STORE, backup, storage_options=options)
    except AggradeError as error:
        failures.append(error)


@each_step
@pytest.mark.parametrize("removed", [True, False], ids=["made again", "undone"])
def test_a_removal_undone_dies_at_every_request(open_world, removed, step):
    """Undone, or made again by undoing that: wherever it dies, the session is recorded where it shows, and only there."""
    start = World(content_etags=True)
    options = open_world(start)
    grow_store(options, FIRST, SECOND)
    backup = aggrade.remove(STORE, "s2", storage_options=options).backup
    if removed:
        backup = aggrade.restore(STORE, backup, storage_options=options).backup
    hooks = Numbered()
    aggrade.restore(STORE, backup, storage_options=open_world(start.copy(), hooks))
    for place in range(1, hooks.count + 1, step):
        world = start.copy()
        with pytest.raises(Killed):
            aggrade.restore(
                STORE, backup, storage_options=open_world(world, DiesAt(world, place, after=True))
            )
        aggrade.recover(STORE, storage_options=open_world(world))
        shown = aggrade.open_windows(STORE, storage_options=open_world(world))["session"].values.tolist()
        storage = MemoryStorage(world, "data/windows.zarr")
        record = find_layer(storage, "s2", read_snapshot(storage))
        assert (record is not None) is ("s2" in shown), f"request {place}"
        grow_store(open_world(world), SECOND)
        again = aggrade.open_windows(STORE, storage_options=open_world(world))["session"].values.tolist()
        assert again == ["s1", "s2"], f"request {place}"
        report = aggrade.verify(STORE, storage_options=open_world(world))
        assert report.ok, f"request {place}: {report}"
