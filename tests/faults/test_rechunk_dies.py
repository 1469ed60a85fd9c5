"""Rechunks that die, sleep or lose a reply, at every single request (DESIGN §7 and §10)."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import xarray as xr
import zarr
from memory_storage import DiesAt, Killed, LosesReply, MemoryStorage, Numbered, SleepsAt, World, open_world
from zarr.storage import MemoryStore

import aggrade
from aggrade.errors import AggradeError
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # dead heartbeats

SOURCE, TARGET = "world://data/source.zarr", "world://data/target.zarr"
FIRST = {"chunks": {"a": 2, "b": -1}, "max_memory": 600}
OTHER = {"chunks": {"a": 3, "b": 2}, "shards": {"a": 3, "b": 4}, "max_memory": 1500}
BLOCKS = {"chunks": {"a": 2, "b": 2}, "max_memory": 600}
GROWN = pytest.param("grown", marks=pytest.mark.long)
CASES = ["create", "stale", pytest.param("other layout", marks=pytest.mark.long)]
COLUMNS = {"stale": 6, "grown": 6}
"""How many columns the source has then, where it has other than before."""

each_step = pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long), 6], ids=["every", "every sixth"]
)
"""Which requests: each of them in the long proofs, a sample else."""


def dataset(columns: int) -> xr.Dataset:
    """Return a source with a matrix, whose first rows are fill, a column and a scalar."""
    values = np.add.outer(np.arange(5.0), 10.0 * np.arange(columns))
    values[:2] = 0
    return xr.Dataset({"x": (("a", "b"), values), "t": 2.5}, coords={"b": np.arange(columns)})


def put_source(world: World, columns: int) -> None:
    """Put a source of that state into the world, as its own writer would leave it."""
    memory: dict = {}
    mark = {"format": 1, "generation": columns, "write_id": f"columns-{columns}"}
    with pytest.warns(zarr.errors.ZarrUserWarning):
        dataset(columns).assign_attrs(aggrade=mark).to_zarr(
            MemoryStore(memory), zarr_format=3, encoding={"x": {"chunks": (5, 1)}}
        )
    found = {f"data/source.zarr/{key}": value.to_bytes() for key, value in memory.items()}
    for key in [key for key in world.objects if key.startswith("data/source.zarr/")]:
        if found.get(key) != world.objects[key][0]:
            del world.objects[key]
    for key, data in found.items():
        world.objects.setdefault(key, (data, world.mark(data)))


def run(options, layout):
    """Rechunk as a process does."""
    return aggrade.rechunk(SOURCE, TARGET, storage_options=options, **layout)


def disturbed(options, layout, failures):
    """Rechunk in a process that is in for something, and keep the error it ends with."""
    try:
        run(options, layout)
    except AggradeError as error:
        failures.append(error)


def begin(open_world, case, *, content_etags=False) -> tuple[World, xr.Dataset | None, dict]:
    """Return a world before the rechunk, what its target shows, and the layout to ask for."""
    world = World(content_etags=content_etags)
    put_source(world, 4)
    if case == "create":
        return world, None, FIRST
    run(open_world(world), BLOCKS if case == "grown" else FIRST)
    if case in COLUMNS:
        put_source(world, COLUMNS[case])
    return world, dataset(4), {"stale": FIRST, "grown": BLOCKS}.get(case, OTHER)


def seen(world: World) -> xr.Dataset | None:
    """Return what a bare reader sees, or None where there is no store yet."""
    storage = MemoryStorage(world, "data/target.zarr")
    if storage.read("zarr.json") is None:
        return None
    found = xr.open_zarr(ReadStore(storage), consolidated=True)
    return found.load().drop_attrs() if found.variables else None


def shows(world: World, expected: xr.Dataset | None) -> bool:
    """Tell whether a bare reader sees exactly that."""
    found = seen(world)
    return found is None if expected is None else found is not None and found.identical(expected)


def assert_whole(open_world, world, expected, place):
    """Assert that the target shows the source and that verify agrees."""
    assert shows(world, expected), f"request {place}"
    report = aggrade.verify(TARGET, storage_options=open_world(world))
    assert report.ok, f"request {place}: {report}"


def chunk_keys(world):
    """Return the keys in the array folders of the target, documents left out."""
    keys = (
        key.removeprefix("data/target.zarr/") for key in world.objects if key.startswith("data/target.zarr/")
    )
    return {key for key in keys if not key.startswith(".aggrade/") and not key.endswith("zarr.json")}


def worlds(open_world, case, step, *, content_etags=False):
    """Yield the number of every so many-th request that the rechunk sends, with a world in which it begins."""
    start, before, layout = begin(open_world, case, content_etags=content_etags)
    rehearsal, hooks = start.copy(), Numbered()
    run(open_world(rehearsal, hooks), layout)
    for place in range(hooks.count, 0, -step):
        yield place, start.copy(), before, layout


@pytest.mark.parametrize(("after", "content_etags"), [(False, True), (True, False)], ids=["before", "after"])
@each_step
@pytest.mark.parametrize("case", [*CASES, "grown"])
def test_killed_at_every_request(open_world, case, after, content_etags, step):
    """Whatever the request it dies at, readers see old or new, and running it again leaves the new one, whole."""
    outcomes = set()
    for place, world, before, layout in worlds(open_world, case, step, content_etags=content_etags):
        expected = dataset(COLUMNS.get(case, 4))
        with pytest.raises(Killed):
            run(open_world(world, DiesAt(world, place, after=after)), layout)
        old, new = shows(world, before), shows(world, expected)
        assert old or new, f"request {place}"
        outcomes.add(new)
        aggrade.recover(TARGET, storage_options=open_world(world))
        assert shows(world, before) if not new else shows(world, expected), f"request {place}"
        run(open_world(world), layout)
        assert_whole(open_world, world, expected, place)
    assert True in outcomes
    assert len(outcomes) == 2 or case == "other layout"


@each_step
@pytest.mark.parametrize("case", [*CASES, GROWN])
def test_lost_reply_at_every_request(open_world, monkeypatch, case, step):
    """A lost reply ends in success or in a clear error, and running it again leaves the new state, whole."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    for place, world, _, layout in worlds(open_world, case, step):
        failures: list[AggradeError] = []
        disturbed(open_world(world, LosesReply(place)), layout, failures)
        assert not failures or failures[0].code == "unavailable", f"request {place}: {failures}"
        run(open_world(world), layout)
        assert_whole(open_world, world, dataset(COLUMNS.get(case, 4)), place)


@each_step
@pytest.mark.parametrize("case", ["create", "stale", GROWN])
def test_sleeper_wakes_after_take_over(open_world, case, step):
    """A rechunk that slept through its lease changes nothing of its successor's, which had another layout."""
    for place, world, _, layout in worlds(open_world, case, step, content_etags=True):
        expected = dataset(COLUMNS.get(case, 4))
        hooks = SleepsAt(world, place)
        failures: list[AggradeError] = []
        thread = threading.Thread(target=disturbed, args=(open_world(world, hooks), layout, failures))
        thread.start()
        assert hooks.asleep.wait(60)
        run(open_world(world), OTHER)
        assert shows(world, expected), f"request {place}"
        hooks.woken.set()
        thread.join(60)
        assert not thread.is_alive()
        assert all(isinstance(error, aggrade.Conflict) for error in failures), f"request {place}: {failures}"
        assert shows(world, expected), f"request {place}: {hooks.kinds[place - 1]}"
        run(open_world(world), OTHER)
        assert_whole(open_world, world, expected, place)


def test_a_grown_source_is_followed_by_copies(open_world):
    """What the cases of a grown source disturb is a rechunk that keeps most objects and makes the new ones."""
    world, _, layout = begin(open_world, "grown")
    hooks = Numbered()
    run(open_world(world, hooks), layout)
    assert sum(kind.startswith("COPY ") for kind in hooks.kinds) == 6 + 1


def test_nothing_piles_up_however_often_it_dies(open_world):
    """After kills at many places in a row and a run to the end, only two versions' chunks are left."""
    world, _, layout = begin(open_world, "stale")
    for place in range(12, 60, 7):
        hooks = DiesAt(world, place, after=True)
        try:
            run(open_world(world, hooks), {**layout, "chunks": {"a": 1 + place % 5, "b": 1 + place % 3}})
        except Killed:
            continue
    put_source(world, 8)
    run(open_world(world), layout)
    put_source(world, 6)
    run(open_world(world), layout)
    assert_whole(open_world, world, dataset(6), "last")
    x_keys = {key for key in chunk_keys(world) if key.startswith("x/")}
    assert len(x_keys) == 3 + 3
    assert not [key for key in world.objects if "/ledger/" in key]
