"""Every operation, disturbed in every way at every request, with readers at every step (DESIGN §4 and §10)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr
from bare_reader import Reader
from disturbances import KINDS, Disturbed, process
from make_datasets import CHUNKS, make_session
from memory_storage import Killed, MemoryStorage, World, open_world
from schedules import one_request_at_a_time

import aggrade
from aggrade.commit import read_intent
from aggrade.errors import AggradeError
from aggrade.storage.zarr_store import ReadStore

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["open_world"]

pytestmark = pytest.mark.usefixtures("open_world")

STORE = "world://data/windows.zarr"
SESSIONS = {
    name: make_session(label, windows, seed)[["eeg", "label"]]
    for seed, (name, label, windows) in enumerate(
        [
            ("one", "s1", 2),
            ("two", "s2", 4),
            ("other two", "s2", 3),
            ("three", "s3", 3),
            ("long", "s4", 7),
            ("dead", "s5", 5),
        ]
    )
}
READER = Reader(SESSIONS)


def append(name: str, options: Any, **more: Any) -> aggrade.Receipt:
    """Append a session."""
    session, chunks = SESSIONS[name], {**CHUNKS, "session": 2}
    return aggrade.append(session, STORE, grow=("window",), chunks=chunks, storage_options=options, **more)


def grown(*names: str) -> World:
    """Return a world in which a store holds some sessions."""
    world = World(content_etags=True)
    for name in names:
        append(name, process(world))
    return world


def left_by_a_dead_writer(until: str) -> World:
    """Return a world in which an append died after the first request whose key ends like this."""
    rehearsal = Disturbed()
    append("dead", process(grown("one", "two"), rehearsal))
    place = 1 + next(
        i for i, kind in enumerate(rehearsal.kinds) if kind.startswith("PUT") and kind.endswith(until)
    )
    world = grown("one", "two")
    with pytest.raises(Killed):
        append("dead", process(world, Disturbed("dies after", place)))
    return world


def first_backup(options: Any) -> str:
    """Return the oldest backup."""
    return aggrade.list_backups(STORE, storage_options=options)[0].id


@dataclass(frozen=True)
class Operation:
    """Where it begins, what is done, and what readers see at the end; a second time it may say that it is done."""

    begin: Callable[[], World]
    run: Callable[[Any], Any]
    after: tuple[str, ...]
    done: str = ""


def restore_the_first(options: Any) -> Any:
    """Restore the oldest backup."""
    return aggrade.restore(STORE, first_backup(process(options["world"])), storage_options=options)


ROOT, CHUNK = "windows.zarr/zarr.json", "label/c/1/0"
OPERATIONS = {
    "create": Operation(lambda: World(content_etags=True), lambda o: append("one", o), ("one",)),
    "append": Operation(lambda: grown("one", "two"), lambda o: append("three", o), ("one", "two", "three")),
    "extend": Operation(lambda: grown("one", "two"), lambda o: append("long", o), ("one", "two", "long")),
    "replace": Operation(
        lambda: grown("one", "two", "three"),
        lambda o: append("other two", o, on_conflict="replace"),
        ("one", "three", "other two"),
    ),
    "remove": Operation(
        lambda: grown("one", "two"),
        lambda o: aggrade.remove(STORE, "s1", storage_options=o),
        ("two",),
        "no-such-layer",
    ),
    "restore": Operation(lambda: grown("one", "two", "three"), restore_the_first, ("one",)),
    "take-over": Operation(
        lambda: left_by_a_dead_writer(CHUNK), lambda o: append("three", o), ("one", "two", "three")
    ),
    "recover back": Operation(
        lambda: left_by_a_dead_writer(CHUNK),
        lambda o: aggrade.recover(STORE, storage_options=o),
        ("one", "two"),
    ),
    "recover forward": Operation(
        lambda: left_by_a_dead_writer(ROOT),
        lambda o: aggrade.recover(STORE, storage_options=o),
        ("one", "two", "dead"),
    ),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long), 20], ids=["every", "every twentieth"]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_disturbed_at_every_request(monkeypatch, name, kind, step):
    """Readers see old, then new; it ends in success or a clear error; run again, it ends as if undisturbed."""
    operation = OPERATIONS[name]
    with one_request_at_a_time(monkeypatch):
        start, expected, rehearsal = rehearsed(name)
        first = 1 + (7 * KINDS.index(kind) + 5 * list(OPERATIONS).index(name)) % step
        for place in range(first, rehearsal.count + 1, step):
            world = start.copy()
            disturb(operation, world, kind, place)
            finish(operation, world)
            assert_same(world, expected, f"{kind} at request {place}: {rehearsal.kinds[place - 1]}")


def test_a_replacement_dies_behind_its_switch_and_runs_again(monkeypatch):
    """A replacement that shows but has no record yet is not made once more: the session is there once."""
    operation = OPERATIONS["replace"]
    with one_request_at_a_time(monkeypatch):
        start, expected, rehearsal = rehearsed("replace")
        for place in range(1 + rehearsal.kinds.index(f"PUT data/{ROOT}"), rehearsal.count + 1):
            world = start.copy()
            disturb(operation, world, "dies after", place)
            assert READER.sees(world) == operation.after
            finish(operation, world)
            assert_same(world, expected, f"request {place}")


@functools.cache
def rehearsed(name: str) -> tuple[World, World, Disturbed]:
    """Return where an operation begins, where it ends undisturbed, and its requests."""
    operation = OPERATIONS[name]
    start = operation.begin()
    expected, rehearsal = start.copy(), Disturbed()
    operation.run(process(expected, rehearsal))
    assert READER.sees(expected) == operation.after
    return start, expected, rehearsal


def disturb(operation: Operation, world: World, kind: str, place: int) -> None:
    """Do it while a reader looks after every request."""
    seen = [READER.sees(world)]
    hooks = Disturbed(kind, place, lambda: seen.append(READER.sees(world)))
    failure = failure_of(operation, process(world, hooks))
    assert hooks.may_end_with(failure), f"{kind} at request {place}: {failure}"
    assert hooks.count >= place
    changes = [now for now, before in zip(seen[1:], seen, strict=False) if now != before]
    assert changes in ([], [operation.after]), f"{kind} at request {place}: {changes}"


def failure_of(operation: Operation, options: Any) -> BaseException | None:
    """Do it; return what it ends with."""
    try:
        operation.run(options)
    except (AggradeError, Killed) as error:
        return error
    return None


def finish(operation: Operation, world: World) -> None:
    """Do it again as whoever comes next would."""
    failure = failure_of(operation, process(world))
    assert getattr(failure, "code", failure) in (None, operation.done), failure


def assert_same(world: World, expected: World, where: str) -> None:
    """Assert that the store is what it is without a disturbance, values and attributes, bookkeeping aside."""
    found, wanted = shown(world), shown(expected)
    marks = [dataset.attrs.pop("aggrade") for dataset in (found, wanted)]
    assert found.identical(wanted), where
    assert marks[0].get("superseded") == marks[1].get("superseded"), where
    intent = read_intent(MemoryStorage(world, "data/windows.zarr"))
    assert intent is not None
    assert intent[0].state == "free", where
    report = aggrade.verify(STORE, storage_options=process(world))
    assert report.ok, f"{where}: {report}"


def shown(world: World) -> xr.Dataset:
    """Return what xarray sees."""
    return xr.open_zarr(ReadStore(MemoryStorage(world, "data/windows.zarr")), consolidated=True).load()
