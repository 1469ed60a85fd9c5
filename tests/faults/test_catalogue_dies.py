"""The catalogue of a dataset whose writers die, sleep or lose a reply: it tells what the stores show, or is made to."""

from __future__ import annotations

import functools
import itertools
import threading

import pandas as pd
import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import DiesAt, Killed, LosesReply, Numbered, SleepsAt, World, open_world

import aggrade
from aggrade.errors import AggradeError

__all__ = ["open_world"]

ROOT, ODD = "world://data", "Sub 01/ä b#?%"
KEPT = ["eeg", "label", "n_windows", "content_digest", "receipt"]
OLD = [make_session("s1", 2, 1)[KEPT], make_session(ODD, 3, 2)[KEPT]]
NEW, OTHER = make_session("s3", 1, 3)[KEPT], make_session("s1", 3, 4)[KEPT]


def append(session, options, **how):
    """Append to the dataset as an undisturbed process does."""
    return aggrade.append(session, ROOT, grow=("window",), chunks=CHUNKS, storage_options=options, **how)


@functools.cache
def grown(*, content_etags):
    """Return a world with two sessions, and the backup of the state with one."""
    world = World(content_etags=content_etags)
    append(OLD[0], {"world": world})
    return world, append(OLD[1], {"world": world}).backup


CASES = {
    "append": lambda options: append(NEW, options),
    "replace": lambda options: append(OTHER, options, on_conflict="replace"),
    "remove": lambda options: aggrade.remove(ROOT, ODD, storage_options=options),
    "restore": lambda options: aggrade.restore(ROOT, grown(content_etags=False)[1], storage_options=options),
    "rebuild": lambda options: aggrade.rebuild_catalogue(ROOT, storage_options=options),
}


def worlds(case, *, content_etags=False):
    """Yield the number of each request of a case from its switch on, with a world in which it begins."""
    start, _ = grown(content_etags=content_etags)
    rehearsal, hooks = start.copy(), Numbered()
    CASES[case]({"world": rehearsal, "hooks": hooks})
    puts = [at for at, kind in enumerate(hooks.kinds, start=1) if kind == "PUT data/windows.zarr/zarr.json"]
    for place in range(puts[0] if puts else 1, hooks.count + 1):
        yield place, start.copy()


def told(options):
    """Return the catalogue, and assert that it tells of just the sessions that readers see."""
    lines = aggrade.read_catalogue(ROOT, storage_options=options)
    shown = aggrade.open_windows(ROOT, storage_options=options)
    assert sorted(lines["session"]) == sorted(map(str, shown["session"].values))
    return lines


def assert_right(options, where):
    """Assert that the catalogue is what it is rebuilt to."""
    report = aggrade.verify(ROOT, storage_options=options)
    assert report.ok, f"{where}: {report}"
    lines = told(options)
    aggrade.rebuild_catalogue(ROOT, storage_options=options)
    pd.testing.assert_frame_equal(aggrade.read_catalogue(ROOT, storage_options=options), lines)


LONG = {("remove", False), ("remove", True), ("rebuild", True), ("replace", True), ("restore", True)}


@pytest.mark.parametrize(
    ("case", "after"),
    [
        pytest.param(case, after, marks=[pytest.mark.long] if (case, after) in LONG else [])
        for case in CASES
        for after in (False, True)
    ],
)
def test_killed_at_every_request(open_world, case, after):
    """A process that dies at a request from the switch on leaves a catalogue that recovery makes right."""
    for place, world in worlds(case):
        with pytest.raises(Killed):
            CASES[case](open_world(world, DiesAt(world, place, after=after)))
        aggrade.recover(ROOT, storage_options=open_world(world))
        assert_right(open_world(world), f"request {place}")


@pytest.mark.long
@pytest.mark.parametrize("case", ["append", "replace", "remove"])
def test_lost_reply_at_every_request(open_world, monkeypatch, case):
    """Where a reply is lost, recovery leaves the catalogue right."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    for place, world in worlds(case):
        codes = []
        try:
            CASES[case](open_world(world, LosesReply(place)))
        except AggradeError as error:
            codes.append(error.code)
        assert codes in ([], ["unavailable"]), f"request {place}"
        world.lose_owner()
        aggrade.recover(ROOT, storage_options=open_world(world))
        assert_right(open_world(world), f"request {place}")


class Sleeper(threading.Thread):
    """A process that appends NEW and is suspended at one request until it is woken."""

    def __init__(self, options):
        super().__init__()
        self.options, self.failures = options, []

    def run(self):
        try:
            append(NEW, self.options)
        except AggradeError as error:
            self.failures.append(error)


def test_sleeper_wakes_after_its_session_was_removed(open_world):
    """A writer that slept behind its switch does not bring back the line of a session that was removed meanwhile."""
    for place, world in itertools.islice(worlds("append", content_etags=True), 1, None):
        hooks, options = SleepsAt(world, place), open_world(world)
        sleeper = Sleeper(open_world(world, hooks))
        sleeper.start()
        assert hooks.asleep.wait(60)
        append(NEW, options)
        aggrade.remove(ROOT, "s3", storage_options=options)
        hooks.woken.set()
        sleeper.join(60)
        assert not sleeper.is_alive()
        assert all(isinstance(error, aggrade.Conflict) for error in sleeper.failures), f"request {place}"
        assert "s3" not in told(options)["session"].values, f"request {place}: {hooks.kinds[place - 1]}"
        assert_right(options, f"request {place}")
