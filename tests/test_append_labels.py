"""Labels of layers: a row that no record tells of is noticed before its layer comes a second time."""

from __future__ import annotations

import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit.layers import layer_key
from aggrade.errors import Damaged
from aggrade.repairing import repair

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"


@pytest.fixture
def world(open_world):
    """Return a world with a store of three sessions; four share a chunk of labels."""
    world = World()
    for number in (1, 2, 3):
        append(open_world(world), number)
    return world


def append(options, number, seed=None, **how):
    """Append a session."""
    session = make_session(f"s{number}", 3, number if seed is None else seed)
    return aggrade.append(session, STORE, grow=("window",), chunks=CHUNKS, storage_options=options, **how)


def lose_record(world, label):
    """Delete the record of a layer, as a careless hand does."""
    MemoryStorage(world, "data/windows.zarr").delete([layer_key(label)])


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("seed", "conflict"), [(2, "refuse"), (7, "refuse"), (7, "replace")])
def test_a_layer_whose_record_is_lost_is_not_appended_again(open_world, world, dry_run, seed, conflict):
    """Whether it is the same or another: it would lie there twice. Nothing is written."""
    lose_record(world, "s2")
    before = dict(world.objects)
    with pytest.raises(
        Damaged, match="'s2' in row 1, expected a record of it; run aggrade verify --repair"
    ) as caught:
        append(open_world(world), 2, seed, on_conflict=conflict, dry_run=dry_run)
    assert caught.value.code == "record-lost"
    assert world.objects == before


def test_a_repair_makes_it_anew(open_world, world):
    """The remedy that the error names works: the same session is known again."""
    lose_record(world, "s2")
    assert repair(STORE, storage_options=open_world(world)).ok
    assert append(open_world(world), 2, dry_run=True).commit is None


def test_others_are_appended(open_world, world):
    """The loss of one record keeps nobody else out."""
    lose_record(world, "s2")
    assert append(open_world(world), 4).layers == {"s4": 3}


def test_rows_that_count_no_more_have_no_say(open_world, world):
    """A session that was replaced, removed or given up by a restore has no record for its old row."""
    options = open_world(world)
    append(options, 1, 9, on_conflict="replace")
    aggrade.remove(STORE, "s2", storage_options=options)
    assert append(options, 2).layers == {"s2": 4}
    receipt = append(options, 5)
    aggrade.restore(STORE, receipt.backup, storage_options=options)
    assert append(options, 5).layers == {"s5": 5}
    assert append(options, 1, 9, dry_run=True).commit is None


def test_a_full_chunk_of_labels_is_looked_at_as_well(open_world, world):
    """Where the new row begins a chunk, the one before it is read."""
    append(open_world(world), 4)
    for label in ("s2", "s4"):
        lose_record(world, label)
        with pytest.raises(Damaged, match="a record of it"):
            append(open_world(world), int(label[1]))
    assert append(open_world(world), 5).layers == {"s5": 4}


def test_it_costs_no_request(open_world, world):
    """The chunk of labels that is looked at is the one that is read anyway."""
    hooks = Numbered()
    append(open_world(world, hooks), 4)
    assert len([kind for kind in hooks.kinds if kind.startswith("GET") and "/session/c/" in kind]) == 1


def test_earlier_chunks_are_left_to_verify(open_world, world):
    """Of rows in another chunk of labels nobody reads when something is appended: `verify` names the loss."""
    options = open_world(world)
    for number in (4, 5):
        append(options, number)
    lose_record(world, "s2")
    report = aggrade.verify(STORE, storage_options=options)
    assert any("'s2' has no record" in str(problem) for problem in report.problems)
    assert append(options, 6).layers == {"s6": 5}
