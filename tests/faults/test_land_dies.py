"""Staged sessions that land by copies, killed, robbed of a reply or suspended at every request (DESIGN §4 and §10)."""

from __future__ import annotations

import threading

import pytest
from make_datasets import assert_holds, make_session
from memory_storage import DiesAt, Killed, LosesReply, Numbered, SleepsAt, World, open_world

import aggrade
from aggrade.errors import AggradeError, Conflict
from aggrade.landing import land
from aggrade.staging import stage

__all__ = ["open_world"]

ROOT, STORE = "world://data", "world://data/windows.zarr"
KEPT = ["eeg", "n_windows"]
OLD, NEW, SHORT = (
    make_session(label, windows, seed, samples=64)[KEPT]
    for seed, (label, windows) in enumerate([("old", 3), ("Sub 03/ä", 40), ("short", 2)])
)
INTENT = "data/windows.zarr/.aggrade/intent.json"
STEPS = [pytest.param(1, marks=pytest.mark.long), 0]
"""At every request; or at the copies, and the request behind them."""


def bring(staged, options):
    """Land as a process does."""
    return land(staged, STORE, storage_options=options)


@pytest.fixture(params=[64, 1], ids=["under the lease", "ahead of it"])
def at_once(request, monkeypatch):
    """Have as many requests under way; two copies are brought before the lease is taken where that is one."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", str(request.param))
    return request.param


@pytest.fixture
def begun(open_world, request, at_once):
    """Return what is staged, and the numbers of requests with a world each in which the landing begins."""
    start = World(content_etags=True)
    aggrade.append(OLD, ROOT, grow=("window",), storage_options=open_world(start))
    staged = [
        stage(session, ROOT, name, storage_options=open_world(start))
        for session, name in ((NEW, "new"), (SHORT, "short"))
    ]
    rehearsal = Numbered()
    bring(staged[0], open_world(start.copy(), rehearsal))
    copies = [place for place, kind in enumerate(rehearsal.kinds, 1) if kind.startswith("COPY")]
    assert len(copies) == 2
    takes = [place for place, kind in enumerate(rehearsal.kinds, 1) if kind == f"PUT {INTENT}"]
    assert (copies[1] < takes[-2]) == (at_once == 1)
    every = range(1, rehearsal.count + 1)
    chosen = every if request.param else [*copies, copies[-1] + 1]
    return *staged, [(place, start.copy()) for place in chosen]


def assert_whole(options, sessions, place):
    """Assert that exactly these sessions are shown, that their objects are right."""
    assert_holds(aggrade.open_windows(STORE, storage_options=options).load(), sessions)
    report = aggrade.verify(STORE, storage_options=options)
    assert report.ok, f"request {place}: {report}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # a dead heartbeat
@pytest.mark.parametrize("begun", STEPS, indirect=True, ids=["every", "copies"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed(open_world, begun, after):
    """Readers see old or new, and landing another session and this one again makes the store whole, each once."""
    new, short, worlds = begun
    for place, world in worlds:
        with pytest.raises(Killed):
            bring(new, open_world(world, DiesAt(world, place, after=after)))
        options = open_world(world)
        found = aggrade.open_windows(STORE, storage_options=options).load()
        published = found.sizes["session"] == 2
        assert_holds(found, [OLD, NEW] if published else [OLD])
        bring(short, options)
        bring(new, options)
        assert_whole(options, [OLD, NEW, SHORT] if published else [OLD, SHORT, NEW], place)


@pytest.mark.parametrize("begun", STEPS, indirect=True, ids=["every", "copies"])
def test_lost_reply(open_world, monkeypatch, begun):
    """A lost reply ends in success or in a clear error, and landing again makes the store whole, once."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    new, _, worlds = begun
    for place, world in worlds:
        try:
            bring(new, open_world(world, LosesReply(place)))
        except AggradeError as error:
            assert error.code == "unavailable", f"request {place}"  # noqa: PT017 - any error, of one kind
        bring(new, open_world(world))
        assert_whole(open_world(world), [OLD, NEW], place)


class Sleeper(threading.Thread):
    """A process that lands a session and is suspended at one request until it is woken."""

    def __init__(self, staged, options):
        super().__init__()
        self.staged, self.options, self.failures = staged, options, []

    def run(self):
        try:
            bring(self.staged, self.options)
        except AggradeError as error:
            self.failures.append(error)


@pytest.mark.parametrize("begun", STEPS, indirect=True, ids=["every", "copies"])
def test_sleeper_wakes_after_take_over(open_world, begun):
    """A copy that comes late overwrites nothing of its successor's."""
    new, short, worlds = begun
    for place, world in worlds:
        hooks = SleepsAt(world, place)
        sleeper = Sleeper(new, open_world(world, hooks))
        sleeper.start()
        assert hooks.asleep.wait(60)
        bring(short, open_world(world))
        hooks.woken.set()
        sleeper.join(60)
        assert not sleeper.is_alive()
        assert all(isinstance(error, Conflict) for error in sleeper.failures), f"request {place}"
        options = open_world(world)
        bring(new, options)
        labels = aggrade.open_windows(STORE, storage_options=options)["session"].values
        expected = [OLD, NEW, SHORT] if str(labels[1]) == "Sub 03/ä" else [OLD, SHORT, NEW]
        assert_whole(options, expected, place)
