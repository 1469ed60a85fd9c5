"""Removals that die, sleep or lose a reply, at every single request (DESIGN §4 and §10)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import DiesAt, Killed, LosesReply, MemoryStorage, Numbered, SleepsAt, World, open_world

import aggrade
from aggrade.commit import read_intent
from aggrade.errors import AggradeError, BadInput

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["open_world"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # dead heartbeats

ROOT = "world://data"
KEPT = ["eeg", "label"]
SESSIONS = [make_session(f"s{i}", windows, i)[KEPT] for i, windows in enumerate([3, 5, 2])]
GONE, STAY = SESSIONS[1], [SESSIONS[0], SESSIONS[2]]
LATER = make_session("later", 4, 4)[KEPT]
STORES = {
    "common": "windows.zarr",
    "purged": "windows.zarr",
    "per session": "sessions/{}_windowed.zarr",
}
each_case = pytest.mark.parametrize("case", STORES)
each_step = pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long), 11], ids=["every", "every eleventh"]
)
"""Which requests: each of them in the long proofs, a sample else."""


def label_of(session):
    """Return a session's id."""
    return str(session["session"].values[0])


def store_of(case, session):
    """Return the store that a session lies in."""
    return STORES[case].format(label_of(session))


def grow(options, case, *sessions):
    """Append sessions."""
    for session in sessions:
        url = f"{ROOT}/{store_of(case, session)}"
        aggrade.append(session, url, grow=("window",), chunks=CHUNKS, storage_options=options)


def remove(options, case):
    """Remove the session that goes."""
    return aggrade.remove(ROOT, label_of(GONE), purge_backups=case == "purged", storage_options=options)


def seen(world: World) -> xr.Dataset:
    """Return what readers see."""
    found = aggrade.open_windows(ROOT, storage_options={"world": world, "hooks": None}).load()
    return found.sortby("session")


def shows(world, sessions):
    """Tell whether readers see exactly these sessions, whole."""
    try:
        assert_holds(seen(world), sorted(sessions, key=label_of))
    except AssertionError:
        return False
    return True


def worlds(open_world, case, step, *, content_etags=False):
    """Yield the number of every so many-th request that the removal sends, with a world in which it begins."""
    start = World(content_etags=content_etags)
    grow(open_world(start), case, *SESSIONS)
    rehearsal, hooks = start.copy(), Numbered()
    remove(open_world(rehearsal, hooks), case)
    for place in range(1 + list(STORES).index(case) % step, hooks.count + 1, step):
        yield place, start.copy()


def naming(world, case):
    """Return the keys of all objects that name it, of backups only where they are emptied."""
    label = label_of(GONE)
    return [
        key
        for key, (data, _) in world.objects.items()
        if (label.encode() in data or label in key) and (case == "purged" or ".backups/" not in key)
    ]


def finish(open_world, world, case):
    """Remove it as whoever comes next would: there is nothing left to remove only where the first run was through."""
    failures: list[AggradeError] = []
    expected = set() if naming(world, case) else {"no-such-layer"}
    receipt = disturbed(open_world(world), case, failures)
    assert {error.code for error in failures} == expected
    assert expected or receipt.details["stores"] == 1
    return receipt


def assert_gone(open_world, world, case, place):
    """Assert that the others are there, whole, that nothing names the one, and that the stores take more."""
    assert shows(world, STAY), f"request {place}"
    named = naming(world, case)
    assert not named, f"request {place}: {named}"
    grow(open_world(world), case, LATER)
    assert shows(world, [*STAY, LATER]), f"request {place}"
    report = aggrade.verify(ROOT, storage_options=open_world(world))
    assert report.ok, f"request {place}: {report}"
    intent = read_intent(MemoryStorage(world, f"data/{store_of(case, LATER)}"))
    assert intent[0].state == "free"


def assert_told(receipt, world, case, place, *, gone):
    """Assert that the receipt of a run after one that died says whether that one's work was completed, and how."""
    assert shows(world, STAY), f"request {place}"
    if receipt is None:
        return
    assert ("completed" in receipt.details) == gone, f"request {place}"
    assert label_of(GONE) not in receipt.model_dump_json(), f"request {place}"
    assert receipt.details["rows"] == 1, f"request {place}"
    assert bool(receipt.undo) is (case == "common"), f"request {place}"
    assert bool(receipt.details["purged"]) is (case == "purged"), f"request {place}"


@each_step
@pytest.mark.parametrize(
    ("after_it", "content_etags"), [(False, True), (True, False)], ids=["before", "after"]
)
@each_case
def test_killed_at_every_request(open_world, case, step, after_it, content_etags):
    """Whatever the request it dies at, readers see it whole or not at all, and one more run takes it away."""
    for place, world in worlds(open_world, case, step, content_etags=content_etags):
        with pytest.raises(Killed):
            remove(open_world(world, DiesAt(world, place, after=after_it)), case)
        gone = shows(world, STAY)
        assert gone or shows(world, SESSIONS), f"request {place}"
        again = world.copy()
        aggrade.recover(ROOT, storage_options=open_world(world))
        assert shows(world, STAY if gone else SESSIONS), f"request {place}"
        finish(open_world, world, case)
        assert_gone(open_world, world, case, place)
        receipt = finish(open_world, again, case)
        assert_told(receipt, again, case, place, gone=gone)


@each_step
@each_case
def test_readers_at_every_step(open_world, case, step):
    """Before and after every request a reader sees all sessions whole, or all but the one."""
    world = World()
    grow(open_world(world), case, *SESSIONS)
    hooks = Looks(world, step)
    remove(open_world(world, hooks), case)
    assert hooks.seen[0] == "old"
    assert hooks.seen[-1] == "new"
    assert hooks.seen == sorted(hooks.seen, reverse=True)


class Looks(Numbered):
    """Looks at the store before every so many-th request."""

    def __init__(self, world, step):
        super().__init__()
        self.world, self.step, self.seen = world, step, []

    def before(self, kind, key):
        """See `Hooks.before`."""
        if self.number(kind, key) % self.step == 0 or "DELETE" in kind:
            state = (
                "old" if shows(self.world, SESSIONS) else "new" if shows(self.world, STAY) else "a mixture"
            )
            self.seen.append(state)


@each_step
@each_case
def test_lost_reply_at_every_request(open_world, monkeypatch, case, step):
    """A lost reply ends in success or in a clear error, and one more run takes it away."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    for place, world in worlds(open_world, case, step):
        failures: list[AggradeError] = []
        disturbed(open_world(world, LosesReply(place)), case, failures)
        assert {error.code for error in failures} <= {"unavailable"}, f"request {place}: {failures}"
        finish(open_world, world, case)
        assert_gone(open_world, world, case, place)


@each_step
@pytest.mark.parametrize("case", ["common", "purged"])
def test_sleeper_wakes_after_take_over(open_world, case, step):
    """A removal that slept through its lease leaves alone what came since, even under the same id."""
    for place, world in worlds(open_world, case, step, content_etags=True):
        hooks = SleepsAt(world, place)
        failures: list[AggradeError] = []
        thread = threading.Thread(target=disturbed, args=(open_world(world, hooks), case, failures))
        thread.start()
        assert hooks.asleep.wait(60)
        finish(open_world, world, case)
        grow(open_world(world), case, LATER, GONE)
        hooks.woken.set()
        thread.join(60)
        assert not thread.is_alive()
        expected = (aggrade.Conflict, BadInput)
        assert all(isinstance(error, expected) for error in failures), f"request {place}: {failures}"
        assert shows(world, [*SESSIONS, LATER]) or shows(world, [*STAY, LATER]), f"request {place}"
        report = aggrade.verify(ROOT, storage_options=open_world(world))
        assert report.ok, f"request {place}: {hooks.kinds[place - 1]}: {report}"
        grow(open_world(world), case, GONE)
        assert shows(world, [*SESSIONS, LATER]), f"request {place}"


def disturbed(options, case, failures):
    """Remove in a process that is in for something, and keep the error it ends with."""
    try:
        return remove(options, case)
    except AggradeError as error:
        failures.append(error)
        return None
