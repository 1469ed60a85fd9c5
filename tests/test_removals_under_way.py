"""A removal that died behind its switch, and the same removal again."""

from __future__ import annotations

import pytest
from make_datasets import CHUNKS, assert_holds, make_session
from make_traces import traces
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import read_intent
from aggrade.errors import BadInput
from aggrade.layout import session_store
from aggrade.removals_under_way import recover_for

__all__ = ["open_world"]

ROOT = "world://data"
STORE = f"{ROOT}/windows.zarr"
SESSIONS = [make_session(label, 2 + i, i) for i, label in enumerate(("a", "gone", "c"))]
GONE, STAY = SESSIONS[1], [SESSIONS[0], SESSIONS[2]]


def dataset(open_world, store=ROOT):
    """Return a world with three sessions, of which one may have a store of its own."""
    world = World()
    for session in SESSIONS:
        url = store if session is GONE else ROOT
        aggrade.append(session, url, grow=("window",), chunks=CHUNKS, storage_options=open_world(world))
    return world


def remove(options, **how):
    """Remove the one that goes."""
    return aggrade.remove(ROOT, "gone", storage_options=options, **how)


def die(open_world, world, key, **how):
    """Remove, and die before the first request of a kind that is sent for a key; return how the removal's receipt reads."""
    hooks = Numbered()
    receipt = remove(open_world(world.copy(), hooks), **how)
    place = next(at for at, kind in enumerate(hooks.kinds, 1) if kind.startswith(key)) + 1
    with pytest.raises(Killed):
        remove(open_world(world, DiesAt(world, place, after=False)), **how)
    return receipt


def assert_gone(open_world, world, *, backups):
    """Assert that the others are there, and nothing of it, but in backups perhaps."""
    assert traces(world.objects, GONE, but="\0" if backups else ".backups/") == []
    seen = aggrade.open_windows(ROOT, storage_options=open_world(world)).load()
    assert_holds(seen, STAY)
    assert aggrade.verify(ROOT, storage_options=open_world(world)).ok


@pytest.mark.parametrize(
    ("key", "purge"),
    [
        ("PUT data/windows.zarr/zarr.json", True),
        ("PUT data/windows.zarr/eeg/c/1", True),
        ("PUT data/windows.zarr/eeg/c/1", False),
    ],
)
def test_the_same_again_completes_it(open_world, key, purge):
    """The receipt says what was completed, names nobody, and what undoes it where a backup was made."""
    world = dataset(open_world)
    wanted = die(open_world, world, key, purge_backups=purge)
    write_id = read_intent(MemoryStorage(world, "data/windows.zarr"))[0].write_id
    plan = remove(open_world(world), purge_backups=purge, dry_run=True)
    assert plan.finishes == (STORE,)
    assert "a removal that died there is completed" in str(plan)
    receipt = remove(open_world(world), purge_backups=purge)
    assert receipt.details["completed"] == [write_id] == [receipt.write_id]
    assert receipt.details["rows"] == 1
    there = aggrade.list_backups(ROOT, storage_options=open_world(world))
    purged = [one.id for one in there if one.purged]
    assert receipt.details["purged"] == wanted.details["purged"] == purged
    assert bool(purged) is purge
    assert receipt.kind == "remove"
    assert receipt.generation == wanted.generation
    assert "gone" not in receipt.model_dump_json()
    assert_gone(open_world, world, backups=purge)
    if purge:
        assert receipt.undo is None
    else:
        assert receipt.undo == f"aggrade restore {STORE} {receipt.backup}"
        aggrade.restore(STORE, receipt.backup, storage_options=open_world(world))
        assert_holds(aggrade.open_windows(ROOT, storage_options=open_world(world)).load(), SESSIONS)


@pytest.mark.parametrize("purge", [False, True])
def test_a_store_of_its_own(open_world, purge):
    """It went as a whole: the receipt does not name it, and no command brings it back."""
    world = dataset(open_world, f"{ROOT}/{session_store('gone')}")
    die(open_world, world, f"DELETE data/{session_store('gone')}/eeg", purge_backups=purge)
    receipt = remove(open_world(world), purge_backups=purge)
    assert len(receipt.details["completed"]) == 1
    assert (receipt.store, receipt.undo) == (ROOT, None)
    assert "gone" not in receipt.model_dump_json()
    assert_gone(open_world, world, backups=purge)


def test_one_that_died_before_its_switch_is_done_anew(open_world):
    """It is rolled back: nothing is completed, the session is removed as if nothing had been."""
    world = dataset(open_world)
    die(open_world, world, "PUT data/windows.zarr/.aggrade/intent.json")
    assert "completed" not in remove(open_world(world)).details
    assert_gone(open_world, world, backups=False)


def test_another_session(open_world):
    """What was begun for one is completed by a removal of another, which finds nothing of that other and says so."""
    world = dataset(open_world)
    die(open_world, world, "PUT data/windows.zarr/eeg/c/1")
    with pytest.raises(BadInput, match="nothing of 'nobody'"):
        aggrade.remove(ROOT, "nobody", storage_options=open_world(world))
    with pytest.raises(BadInput, match="nothing of 'gone'"):
        remove(open_world(world))
    assert_gone(open_world, world, backups=False)


def test_an_append_that_died(open_world):
    """It is told from a removal; a store that nobody died in says nothing."""
    world = dataset(open_world)
    storage = MemoryStorage(world, "data/windows.zarr")
    assert recover_for(storage, "gone", "session") == (False, None)
    hooks = Numbered()
    new = make_session("new", 3, 9)
    how = {"grow": ("window",), "chunks": CHUNKS}
    aggrade.append(new, ROOT, **how, storage_options=open_world(world.copy(), hooks))
    place = hooks.kinds.index("PUT data/windows.zarr/zarr.json") + 1
    for label, brought in (("new", True), ("gone", False)):
        copy = world.copy()
        dying = open_world(copy, DiesAt(copy, place, after=False))
        with pytest.raises(Killed):
            aggrade.append(new, ROOT, **how, storage_options=dying)
        storage = MemoryStorage(copy, "data/windows.zarr")
        assert recover_for(storage, label, "session") == (brought, None)
