"""Two and three processes on one store, interleaved request by request (DESIGN §4)."""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr
from bare_reader import Reader, read_arrays
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world
from schedules import LEASE_SECONDS, TIME, AtRandom, Schedule, Turns, one_request_at_a_time

import aggrade
from aggrade.commit import read_intent
from aggrade.landing import land
from aggrade.staging import Staged, stage
from aggrade.storage import ConditionFailed
from aggrade.storage.zarr_store import ReadStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["open_world"]

ROOT, STORE = "world://data", "world://data/windows.zarr"
KEPT = ["eeg", "label"]
LABELS = {"one": "s1", "two": "s2", "other two": "s2", "three": "s3", "four": "s4", "last": "s9"}
LENGTHS = {"one": 1, "two": 3, "other two": 2, "three": 4, "four": 1, "last": 5}
WIDE = {"wide one": ("s1", 2), "wide three": ("s3", 40), "wide four": ("s4", 70), "wide last": ("s9", 3)}
"""Label and length of sessions of which each 32 windows are an object of their own."""
SESSIONS = {
    name: make_session(label, LENGTHS[name], seed)[KEPT] for seed, (name, label) in enumerate(LABELS.items())
}
SESSIONS |= {
    name: make_session(label, length, seed, samples=64)[KEPT]
    for seed, (name, (label, length)) in enumerate(WIDE.items(), len(LABELS))
}
LABELS |= {name: label for name, (label, _) in WIDE.items()}
READER = Reader(SESSIONS)
View = tuple[str, ...]


@dataclass(frozen=True)
class Operation:
    """Something that a process does, and what it does to what readers see, if anything."""

    name: str
    run: Callable[[Any, str], Any]
    effect: Callable[[View], View] = lambda view: view
    refusals: frozenset[str] = frozenset()


def appending(name: str) -> Operation:
    """Return the append of a session; a label that is there is left alone or refused."""

    def run(options: Any, _: str) -> None:
        _append(name, options)

    def effect(view: View) -> View:
        return view if LABELS[name] in {LABELS[one] for one in view} else (*view, name)

    return Operation(f"append {name}", run, effect, frozenset({"layer-differs"}))


def _append(name: str, options: Any, **more: Any) -> aggrade.Receipt:
    store, chunks = (ROOT, None) if name in WIDE else (STORE, {**CHUNKS, "session": 2})
    return aggrade.append(
        SESSIONS[name], store, grow=("window",), chunks=chunks, storage_options=options, **more
    )


def landing(name: str) -> Operation:
    """Return the landing of a staged session: its objects are copied before the lease is taken."""
    staged = Staged(session=LABELS[name], root=ROOT, name=LABELS[name], digest="", windows=0)
    return replace(
        appending(name),
        name=f"land {name}",
        run=lambda options, _: land(staged, STORE, storage_options=options),
        refusals=frozenset({"layer-differs", "staging-gone"}),
    )


def replacing(name: str) -> Operation:
    """Return the replacement of a session by another of the same label."""

    def effect(view: View) -> View:
        others = tuple(one for one in view if LABELS[one] != LABELS[name])
        return view if name in view else (*others, name)

    return Operation(
        f"replace {name}", lambda options, _: _append(name, options, on_conflict="replace"), effect
    )


def removing(label: str) -> Operation:
    """Return the removal of a session."""
    return Operation(
        f"remove {label}",
        lambda options, _: aggrade.remove(STORE, label, storage_options=options),
        lambda view: tuple(one for one in view if LABELS[one] != label),
        frozenset({"no-such-layer"}),
    )


def restoring(name: str = "one") -> Operation:
    """Return the restore of the state in which there was one session."""
    return Operation(
        "restore",
        lambda options, backup: aggrade.restore(STORE, backup, storage_options=options),
        lambda _: (name,),
    )


def recovering() -> Operation:
    """Return a recovery."""
    return Operation("recover", lambda options, _: aggrade.recover(STORE, storage_options=options))


SCENARIOS = {
    "append the same": (appending("three"), appending("three")),
    "append others": (appending("three"), appending("four")),
    "append and remove": (appending("three"), removing("s1")),
    "append what is removed": (appending("two"), removing("s2")),
    "append and restore": (appending("three"), restoring()),
    "append and replace": (appending("three"), replacing("other two")),
    "append and recover": (appending("three"), recovering()),
    "append thrice": (appending("three"), appending("four"), appending("three")),
    "append, append and remove": (appending("three"), appending("four"), removing("s1")),
    "append, restore and append": (appending("three"), restoring(), appending("four")),
    "append, replace and recover": (appending("three"), replacing("other two"), recovering()),
}
LANDINGS = {
    "land and append": (landing("wide three"), appending("wide four")),
    "land the same": (landing("wide three"), landing("wide three")),
    "land others": (landing("wide three"), landing("wide four")),
    "land and remove": (landing("wide three"), removing("s1")),
    "land and restore": (landing("wide three"), restoring("wide one")),
    "land, land and append": (landing("wide three"), landing("wide four"), appending("wide three")),
    "land, land and remove": (landing("wide three"), landing("wide four"), removing("s4")),
}
PAIRS = [name for name, operations in SCENARIOS.items() if len(operations) == 2]


@dataclass
class Play:
    """One schedule of some operations, with what readers saw after every step.

    What readers see changes by one operation at a time, in a step of the process that does it, and by each once.
    """

    world: World
    backup: str
    operations: dict[str, Operation]
    choose: Any
    mortal: set[str] = field(default_factory=set)
    fenced: bool = False
    steps: list[str] = field(default_factory=list)
    view: View = ()
    pending: dict[str, Operation] = field(default_factory=dict)

    def run(self, open_world: Any) -> Schedule:
        """Run it; what is in the way of one process is no failure of it, anything else is."""
        self.view, self.pending = READER.sees(self.world), dict(self.operations)
        schedule = Schedule(self.choose, self.look, mortal=self.mortal, steps=self.steps)
        for name, operation in self.operations.items():
            schedule.add(name, lambda me, do=operation: do.run(open_world(self.world, me), self.backup))
        schedule.run()
        return schedule

    def look(self, process: str) -> None:
        """Look at the store after a step of a process."""
        now = READER.sees(self.world)
        self.fenced |= "fenced" in read_arrays(self.world)[1]
        if now != self.view:
            operation = self.pending.pop(process, None)
            assert operation, f"{process} changed {self.view} to {now} once more"
            assert now == operation.effect(self.view), f"{operation.name} made {now} of {self.view}"
            self.view = now


def serial_views(operations: dict[str, Operation], view: View) -> set[View]:
    """Return what readers may see at the end: the operations one after another, in any order."""
    found = set()
    for order in itertools.permutations(operations.values()):
        now = view
        for operation in order:
            now = operation.effect(now)
        found.add(now)
    return found


def assert_whole(open_world, play, start) -> None:
    """Assert that all took place, each once; that xarray sees the same; and that the store takes one more."""
    options = open_world(play.world)
    assert play.view in serial_views(play.operations, start)
    assert READER.sees(play.world) == play.view
    last = "wide last" if start[0] in WIDE else "last"
    assert undisturbed(lambda me: _append(last, open_world(play.world, me))) is None
    assert_holds(shown(play.world), [SESSIONS[name] for name in (*play.view, last)])
    report = aggrade.verify(STORE, storage_options=options)
    assert report.ok, str(report)
    intent = read_intent(MemoryStorage(play.world, "data/windows.zarr"))
    assert intent is not None
    assert intent[0].state == "free"


def shown(world: World) -> xr.Dataset:
    """Return the rows that xarray sees and no root hides."""
    found = xr.open_zarr(ReadStore(MemoryStorage(world, "data/windows.zarr")), consolidated=True).load()
    hidden = found.attrs["aggrade"].get("superseded", [])
    return found.isel(session=[row for row in range(found.sizes["session"]) if row not in hidden])


@pytest.fixture
def begin(open_world, monkeypatch) -> Iterator[Callable[[], tuple[World, str]]]:
    """Give worlds in which a store holds two sessions, with the backup of its first state."""
    start = World(content_etags=True)
    _append("one", open_world(start))
    receipt = _append("two", open_world(start))
    shown(start)
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", str(LEASE_SECONDS))
    monkeypatch.setenv("AGGRADE_WAIT_SECONDS", str(20 * LEASE_SECONDS))
    with one_request_at_a_time(monkeypatch):
        yield lambda: (start.copy(), receipt.backup)


@pytest.fixture
def begin_wide(open_world, monkeypatch) -> Iterator[Callable[[], tuple[World, str]]]:
    """Give worlds in which a store holds one session, and two more are staged, with the backup of its first state."""
    start = World(content_etags=True)
    _append("wide one", open_world(start))
    receipt = _append("wide last", open_world(start))
    aggrade.restore(STORE, receipt.backup, storage_options=open_world(start))
    for name in ("wide three", "wide four"):
        stage(SESSIONS[name], ROOT, LABELS[name], storage_options=open_world(start))
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", str(LEASE_SECONDS))
    monkeypatch.setenv("AGGRADE_WAIT_SECONDS", str(20 * LEASE_SECONDS))
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", "1")
    with one_request_at_a_time(monkeypatch):
        yield lambda: (start.copy(), receipt.backup)


def play(open_world, begin, scenario, choose, *, mortal=()):
    """Run one schedule of a scenario, have those that failed run again, and assert that all is well."""
    cast = {**SCENARIOS, **LANDINGS}[scenario]
    operations = {chr(ord("A") + i): operation for i, operation in enumerate(cast)}
    world, backup = begin()
    one = Play(world, backup, operations, choose, set(mortal))
    start = READER.sees(world)
    schedule = one.run(open_world)
    try:
        run_again(open_world, one, schedule)
        assert_whole(open_world, one, start)
    except AssertionError as error:
        error.add_note("\n".join(schedule.steps))
        raise
    return one


def run_again(open_world, one, schedule):
    """Run again, undisturbed and in order, what died or what somebody else was in the way of."""
    for name, operation in one.operations.items():
        failure = schedule.processes[name].failure
        if isinstance(failure, (aggrade.Conflict, Killed)):
            one.pending[name] = operation
            failure = undisturbed(lambda me, do=operation: do.run(open_world(one.world, me), one.backup))
            one.look(name)
        if failure is not None and getattr(failure, "code", None) not in operation.refusals:
            raise failure


def undisturbed(work: Callable[[Any], Any]) -> BaseException | None:
    """Have one process do something, with nobody beside it; return the error that it ends with."""
    schedule = Schedule(lambda _, options: options[0])
    process = schedule.add("alone", work)
    schedule.run()
    return process.failure


@contextlib.contextmanager
def told(what):
    """Say in which schedule something failed."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(4), id="few"),
        pytest.param(range(1000, 1910), id="many", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_at_random(open_world, begin, scenario, seeds):
    """However requests, heartbeats, time and a death interleave, readers see whole states, each operation once."""
    for seed in seeds:
        with told(f"{scenario}, seed {seed}"):
            play(open_world, begin, scenario, AtRandom(seed), mortal=[set(), {"A"}, {"B"}][seed % 3])


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(2), id="few"),
        pytest.param(range(1000, 1400), id="many", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
@pytest.mark.parametrize("scenario", LANDINGS)
def test_landings_at_random(open_world, begin_wide, scenario, seeds):
    """The same where objects come before the lease is taken, whoever takes it first."""
    for seed in seeds:
        with told(f"{scenario}, seed {seed}"):
            play(open_world, begin_wide, scenario, AtRandom(seed), mortal=[set(), {"A"}, {"B"}][seed % 3])


def until_unused(make, step=1, start=0):
    """Yield what `make` makes of growing numbers of requests, until there are no requests left."""
    for count in itertools.count(start, step):
        turns = make(count)
        yield turns
        if turns.unused:
            return


every = pytest.mark.parametrize(
    "step",
    [pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(3600)]), 14],
    ids=["every", "every fourteenth"],
)


@every
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="suspended"),
        pytest.param({"frozen": True}, id="frozen"),
        pytest.param({"lively": True}, id="slow", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("scenario", PAIRS)
def test_one_switch(open_world, begin, scenario, how, step):
    """Suspended before any request until the other has ended, a writer wakes and does no harm."""
    fenced = []
    for first, second in itertools.permutations("AB"):
        for turns in until_unused(
            lambda k, a=first, b=second: Turns([(a, k)], [b, a], **how),
            step,
            PAIRS.index(scenario) % step,
        ):
            with told(f"{scenario}, {turns}"):
                fenced.append(play(open_world, begin, scenario, turns).fenced)
    assert "lively" in how or step > 1 or any(fenced) or scenario == "append what is removed"


STRIDES = {"append and remove": 9, "append what is removed": 9, "append and restore": 4}
"""Where a pair has many requests, every so many-th place of a switch."""


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", PAIRS)
def test_two_switches(open_world, begin, scenario):
    """The one is suspended anywhere, the other then anywhere, and the first ends before the second does."""
    stride = STRIDES.get(scenario, 2)
    for first, second in itertools.permutations("AB"):
        unused: set[str] = set()
        for count in itertools.takewhile(lambda _, a=first, u=unused: a not in u, itertools.count(0, stride)):
            for turns in until_unused(
                lambda k, a=first, b=second, n=count: Turns([(a, n), (b, k)], [a, b]), stride
            ):
                with told(f"{scenario}, {turns}"):
                    play(open_world, begin, scenario, turns)
                unused |= turns.unused


class Amid:
    """A's machine is frozen after so many requests, until B stands before its switch; then A ends before B goes on."""

    def __init__(self, count: int) -> None:
        self.left, self.met, self.writing = count, False, set[str]()

    def __call__(self, schedule: Schedule, options: list[str]) -> str:
        """Choose."""
        first, second = (schedule.processes[name] for name in "AB")
        if self.left and not first.ended:
            self.left -= "A" in options
            self._watch(first)
            return next(one for one in ("A", "A beats", TIME) if one in options)
        self._watch(second)
        at_switch = "B" in self.writing and second.at == ("PUT", "data/windows.zarr/zarr.json")
        self.met |= second.ended or at_switch
        if self.met:
            first.thaw()
        else:
            first.freeze()
        options = schedule.options()
        now = "A" if self.met and not first.ended else "B"
        return next(one for one in (now, f"{now} beats", TIME) if one in options)

    def _watch(self, process: Any) -> None:
        """Note who has begun to write chunks."""
        if process.at and process.at[0] == "PUT" and "/c/" in process.at[1]:
            self.writing.add(process.name)


def after_a_death(open_world, begin):
    """Return a world in which a writer has died before its switch, with all its chunks written, and a backup."""
    world, backup = begin()
    rehearsal = Numbered()
    _append("last", open_world(world.copy(), rehearsal))
    place = 1 + rehearsal.kinds.index("PUT data/windows.zarr/zarr.json")
    with pytest.raises(Killed):
        _append("last", open_world(world, DiesAt(world, place, after=False)))
    return world, backup


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 4], ids=["every", "every fourth"])
def test_woken_amid_its_successors_commit(open_world, begin, step):
    """What a writer reads once it has been taken over is not its own to replace, left-overs of a third included."""
    for count in itertools.count(1, step):
        turns = Amid(count)
        with told(f"after {count} requests"):
            play(open_world, lambda: after_a_death(open_world, begin), "append others", turns)
        if turns.left or "A" in turns.writing:
            return


def test_the_same_seed_is_the_same_schedule(open_world, begin):
    """A seed tells every step, so that what failed once can be made to fail again."""
    traces = [play(open_world, begin, "append and replace", AtRandom(5)).steps for _ in range(2)]
    assert names_left_out(traces[0]) == names_left_out(traces[1])


def names_left_out(steps):
    """Return steps without the random names of commits."""
    return [re.sub(r"[0-9a-f]{24}", "…", step) for step in steps]


def test_readers_that_see_a_mixture_are_noticed(begin):
    """A row that holds something else than the session it names fails a schedule."""
    world, _ = begin()
    key = "data/windows.zarr/eeg/c/1/0/0/0"
    world.objects[key] = (world.objects["data/windows.zarr/eeg/c/0/0/0/0"][0], "torn")
    with pytest.raises(AssertionError, match="none of the sessions"):
        READER.sees(world)


def test_a_lost_update_is_found():
    """Of two processes that add one without a guard, a switch between reading and writing loses one addition."""
    totals = set()
    for turns in until_unused(lambda k: Turns([("A", k)], ["B", "A"])):
        world = World()
        schedule = Schedule(turns)
        for name in "AB":
            schedule.add(name, lambda me, there=world: add_one(MemoryStorage(there, hooks=me)))
        schedule.run()
        totals.add(world.objects["total"][0])
    assert totals == {b"1", b"2"}


def add_one(storage):
    """Add one to a number, whatever has become of it meanwhile."""
    found = storage.read("total")
    while True:
        now = storage.stat("total")
        try:
            storage.write(
                "total", b"%d" % (int(found.data if found else 0) + 1), replacing=now.etag if now else None
            )
        except ConditionFailed:
            continue
        return


def test_a_second_change_by_the_same_process_is_noticed(open_world, begin):
    """An operation that changes twice what readers see fails a schedule."""

    def twice(options, _):
        _append("three", options)
        _append("four", options)

    world, backup = begin()
    bad = Play(world, backup, {"A": replace(appending("three"), run=twice)}, AtRandom(1))
    with pytest.raises(AssertionError, match="once more"):
        bad.run(open_world)


def test_time_passes_only_where_the_schedule_says(open_world, begin):
    """A writer that waits for another one's lease takes over after just that much virtual time."""
    world, backup = begin()
    one = Play(
        world,
        backup,
        dict(zip("AB", SCENARIOS["append others"], strict=True)),
        Turns([("A", 11)], ["B", "A"]),
    )
    schedule = one.run(open_world)
    assert one.fenced
    assert LEASE_SECONDS <= schedule.now <= 2 * LEASE_SECONDS
