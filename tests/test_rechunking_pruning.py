"""How many versions of a copy stay that are not served any more."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from make_stores import write_zarr
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import read_intent, read_snapshot
from aggrade.errors import BadInput, Conflict, Damaged
from aggrade.rechunking import rechunk, rechunk_storage
from aggrade.rechunking.pruning import former_keys, prune_former
from aggrade.storage import open_storage
from aggrade.storage.counting import counted, requests_in
from aggrade.storage.zarr_store import ReadStore
from aggrade.verifying import verify

__all__ = ["open_world"]

LAYOUT = {"chunks": {"a": 2, "b": -1}, "max_memory": 600}
ASKED = {**LAYOUT, "shards": None}


def _dataset(columns, *, extra=False):
    """Return a matrix, a column and a scalar."""
    values = np.add.outer(np.arange(5.0), 10.0 * np.arange(columns)) + 1
    more = {"gone": ("a", np.arange(5.0))} if extra else {}
    return xr.Dataset({"x": (("a", "b"), values), "t": 2.5, **more}, coords={"b": np.arange(columns)})


def _put(folder, columns, **how):
    """Let the source show that many columns."""
    shutil.rmtree(folder / "s.zarr", ignore_errors=True)
    write_zarr(
        _dataset(columns, **how),
        folder / "s.zarr",
        encoding={"x": {"chunks": (5, 1)}},
        generation=columns,
        write_id=f"columns-{columns}",
    )
    return str(folder / "s.zarr")


@pytest.fixture
def target(tmp_path):
    """Return the URL of a target that does not exist."""
    return str(tmp_path / "t.zarr")


def _objects(target):
    """Return the keys in the array folders and of traces and ledger, documents left out."""
    keys = {path.relative_to(target).as_posix() for path in Path(target).rglob("*") if path.is_file()}
    kept = (".aggrade/traces/", ".aggrade/ledger/")
    return {
        key
        for key in keys
        if not key.endswith(("zarr.json", ".aggrade-lock"))
        and (key.startswith(kept) or not key.startswith(".aggrade/"))
    }


def _assert_shows(target, columns):
    xr.testing.assert_identical(xr.open_zarr(target).load().drop_attrs(), _dataset(columns))
    assert verify(target).ok


VERSION = 3 + 1 + 1 + 1
"""Objects of one version: three of the matrix, the scalar, the coordinate, the trace."""


@pytest.mark.parametrize(("keep_versions", "left"), [(1, 2 * VERSION), (0, VERSION)])
def test_the_version_before_stays_or_goes(tmp_path, target, keep_versions, left):
    """Kept, its objects lie there and a reader that has it open reads on; else they are gone when the next is served."""
    rechunk(_put(tmp_path, 4), target, **LAYOUT)
    for columns in (5, 6):
        before = xr.open_zarr(target).load()
        reader = xr.open_zarr(target, chunks=None)
        rechunk(_put(tmp_path, columns), target, keep_versions=keep_versions, **LAYOUT)
        _assert_shows(target, columns)
        assert len(_objects(target)) == left
    assert reader["x"].load().identical(before["x"]) == bool(keep_versions)
    assert read_intent(open_storage(target))[0].state == "free"


def test_until_the_switch_the_version_before_is_whole(tmp_path, target):
    """Nothing of it is deleted before the next one is published."""
    rechunk(_put(tmp_path, 4), target, **LAYOUT)

    def failing(work, pieces):
        list(map(work, pieces))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rechunk(_put(tmp_path, 5), target, keep_versions=0, map=failing, **LAYOUT)
    _assert_shows(target, 4)


def test_a_copy_that_is_up_to_date_is_pruned(tmp_path, target):
    """Who kept a version and wants it gone runs it again; the dry run counts the objects; then there is nothing to do."""
    for columns in (4, 5):
        receipt = rechunk(_put(tmp_path, columns), target, **LAYOUT)
    source = str(tmp_path / "s.zarr")
    plan = rechunk(source, target, keep_versions=0, dry_run=True, **LAYOUT)
    assert (plan.up_to_date, plan.prunes) == (True, VERSION)
    assert f"but to delete {VERSION} objects of former versions" in str(plan)
    assert len(_objects(target)) == 2 * VERSION
    assert rechunk(source, target, keep_versions=0, **LAYOUT) == receipt
    assert len(_objects(target)) == VERSION
    _assert_shows(target, 5)
    assert rechunk(source, target, keep_versions=0, dry_run=True, **LAYOUT).prunes == 0


def test_an_array_that_the_source_lost_goes_whole(tmp_path, target):
    """Document and objects of an array of the former version alone are deleted."""
    rechunk(_put(tmp_path, 4, extra=True), target, **LAYOUT)
    rechunk(_put(tmp_path, 5), target, keep_versions=0, **LAYOUT)
    assert not [path for path in Path(target, "gone").rglob("*") if path.name != ".aggrade-lock"]
    _assert_shows(target, 5)


def test_the_plan_says_what_becomes_of_the_version_before(tmp_path, target):
    """The dry run tells whether it stays; of a first version it tells nothing."""
    source = _put(tmp_path, 4)
    first = rechunk(source, target, keep_versions=0, dry_run=True, **LAYOUT)
    assert "is served until" not in str(first)
    rechunk(source, target, **LAYOUT)
    _put(tmp_path, 5)
    said = [str(rechunk(source, target, keep_versions=n, dry_run=True, **LAYOUT)) for n in (0, 1)]
    assert f"version 0 is served until this one is whole, and is deleted then ({VERSION} objects)" in said[0]
    assert "and stays until the next rechunk" in said[1]


@pytest.mark.parametrize("asked", [2, -1, True, "1"])
def test_other_numbers_are_refused(tmp_path, target, asked):
    """There are keys for one version beside the served and the next; nothing is made."""
    with pytest.raises(BadInput, match="0 or 1") as caught:
        rechunk(_put(tmp_path, 4), target, keep_versions=asked, **LAYOUT)
    assert caught.value.code == "keep-versions"
    assert not Path(target).exists()


def _spent(places, **how):
    counts: Counter[str] = Counter()
    stores = [counted(open_storage(str(place)), counts)[0] for place in places]
    return rechunk_storage(*stores, ASKED, keep_versions=0, **how), requests_in(counts)


@pytest.mark.parametrize("kept", [False, True])
def test_pruning_costs_what_was_said(tmp_path, target, kept):
    """Requests of every kind: of a version that is followed, and of a copy that is up to date."""
    places = (_put(tmp_path, 4), target)
    rechunk(*places, **LAYOUT)
    _put(tmp_path, 5)
    if kept:
        rechunk(*places, **LAYOUT)
    plan, _ = _spent(places, dry_run=True)
    _, spent = _spent(places)
    assert plan.up_to_date == kept
    assert plan.price.requests == spent
    assert spent["DELETE"] == VERSION + (0 if kept else len(plan.pieces))


def test_a_root_that_was_set_back_is_not_believed(tmp_path, target):
    """An older root would have the newest version deleted: the pruning refuses and deletes nothing."""
    rechunk(_put(tmp_path, 4), target, **LAYOUT)
    old = Path(target, "zarr.json").read_bytes()
    rechunk(_put(tmp_path, 5), target, **LAYOUT)
    Path(target, "zarr.json").write_bytes(old)
    before = _objects(target)
    with pytest.raises(Damaged):
        prune_former(open_storage(target))
    assert _objects(target) == before


def test_who_lost_the_intent_deletes_nothing(tmp_path, target):
    """Where somebody took over before the deletion, nothing is deleted."""
    for columns in (4, 5):
        rechunk(_put(tmp_path, columns), target, **LAYOUT)
    before = _objects(target)

    class Overtaken(type(open_storage(target))):
        """Somebody else writes the intent while the folders are listed."""

        def list(self, prefix=""):
            (intent, etag) = read_intent(open_storage(target))
            data = intent.model_copy(update={"beat": intent.beat + 1}).model_dump_json().encode()
            open_storage(target).write(".aggrade/intent.json", data, replacing=etag)
            return super().list(prefix)

    with pytest.raises(Conflict):
        prune_former(Overtaken(target))
    assert _objects(target) == before


def test_a_store_that_is_no_copy_is_left_alone(tmp_path):
    """Nothing of a source is taken for a former version."""
    source = open_storage(_put(tmp_path, 4))
    assert prune_former(source) == 0
    assert len(former_keys(source, read_snapshot(source))) == 0


SOURCE, TARGET = "world://data/s.zarr", "world://data/t.zarr"


def _in_memory(world, folder, columns):
    """Put a source of that many columns into the world."""
    _put(folder, columns)
    for key in [key for key in world.objects if key.startswith("data/s.zarr/")]:
        del world.objects[key]
    for path in (folder / "s.zarr").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            world.objects[f"data/s.zarr/{path.relative_to(folder / 's.zarr')}"] = data, world.mark(data)


@pytest.mark.parametrize(
    "after", [False, pytest.param(True, marks=pytest.mark.long)], ids=["before", "after"]
)
def test_killed_at_every_request_of_the_pruning(open_world, tmp_path, after):
    """The next version is served, whole; run again, the former one is gone."""
    start = World()
    for columns in (4, 5):
        _in_memory(start, tmp_path, columns)
        aggrade.rechunk(SOURCE, TARGET, storage_options=open_world(start), **LAYOUT)
    how = {"keep_versions": 0, **LAYOUT}
    hooks = Numbered()
    aggrade.rechunk(SOURCE, TARGET, storage_options=open_world(start.copy(), hooks), **how)
    for place in range(1, hooks.count + 1):
        world = start.copy()
        with pytest.raises(Killed):
            aggrade.rechunk(
                SOURCE, TARGET, storage_options=open_world(world, DiesAt(world, place, after=after)), **how
            )
        options = open_world(world)
        shown = xr.open_zarr(ReadStore(MemoryStorage(world, "data/t.zarr"))).load().drop_attrs()
        assert shown.identical(_dataset(5)), f"request {place}"
        aggrade.rechunk(SOURCE, TARGET, storage_options=options, **how)
        assert aggrade.verify(TARGET, storage_options=options).ok, f"request {place}"
        left = [key for key in world.objects if key.startswith("data/t.zarr/x/") and "zarr.json" not in key]
        assert len(left) == 3, f"request {place}"
