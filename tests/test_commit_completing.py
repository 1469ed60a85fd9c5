"""What follows the switch may not be written: the commit shows, and whoever is told of it knows how to go on."""

from __future__ import annotations

import pickle
import re

import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import Alone, World, open_world

import aggrade
from aggrade.errors import BadInput, Problem, Unavailable

__all__ = ["open_world"]

ROOT = "world://data"
STORE = f"{ROOT}/windows.zarr"
BEHIND = [r"\.aggrade/layers/", r"\.aggrade/receipts/", "windows.zarr/eeg/zarr.json"]


class Denies(Alone):
    """Denies writing and deleting of some keys from the second switch on, as a server or a folder without rights does."""

    def __init__(self, keys):
        self.keys, self.switched = keys, False

    def before(self, kind, key):
        """See `Hooks.before`."""
        if kind in {"PUT", "DELETE"} and self.switched and re.search(self.keys, key):
            problem = Problem(key, "permission denied", "permission", "change it", "permission-denied")
            raise BadInput(problem)

    def after(self, kind, key):
        """See `Hooks.after`."""
        self.switched |= (kind, key) == ("PUT", "data/windows.zarr/zarr.json")


@pytest.fixture
def world(open_world):
    """Return a world with a dataset of one session."""
    world = World()
    append(open_world(world), 1)
    return world


def append(options, number, **how):
    """Append a session to the dataset."""
    session = make_session(f"s{number}", 3, number)
    return aggrade.append(session, ROOT, grow=("window",), chunks=CHUNKS, storage_options=options, **how)


def names(options):
    """Return the sessions that readers see."""
    return [str(name) for name in aggrade.open_windows(ROOT, storage_options=options).session.values]


@pytest.mark.parametrize("keys", BEHIND)
def test_records_that_may_not_be_written(open_world, world, keys):
    """The error says that the commit shows, and what to run; with the right back, that completes it."""
    with pytest.raises(Unavailable, match="the commit shows") as caught:
        append(open_world(world, Denies(keys)), 2)
    assert caught.value.code == "half-done"
    assert f"aggrade recover {STORE}" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert names(open_world(world)) == ["s1", "s2"]
    world.lose_owner()
    aggrade.recover(STORE, storage_options=open_world(world))
    assert aggrade.verify(ROOT, storage_options=open_world(world)).ok
    assert append(open_world(world), 2, dry_run=True).commit is None


def test_who_recovers_without_the_right_is_told_the_same(open_world, world):
    """A recovery fails as the commit did, and the intent stays for the next one."""
    with pytest.raises(Unavailable):
        append(open_world(world, Denies(BEHIND[0])), 2)
    world.lose_owner()
    denied = Denies(BEHIND[0])
    denied.switched = True
    with pytest.raises(Unavailable, match="the commit shows"):
        aggrade.recover(STORE, storage_options=open_world(world, denied))
    world.lose_owner()
    assert aggrade.recover(STORE, storage_options=open_world(world)).details["rolled"] == "forward"
    assert names(open_world(world)) == ["s1", "s2"]


def test_a_catalogue_that_may_not_be_written_keeps_no_store_from_being_written(open_world, world, caplog):
    """The append is done; the log and `verify` name what the catalogue lacks, and a repair makes it."""
    receipt = append(open_world(world, Denies("data/catalogue/")), 2)
    assert receipt.layers == {"s2": 1}
    assert "the catalogue does not follow" in caplog.text
    report = aggrade.verify(ROOT, storage_options=open_world(world))
    assert [problem for problem in report.problems if "catalogue" in str(problem)]
    assert append(open_world(world), 3).layers == {"s3": 2}


def test_so_does_a_recovery(open_world, world, caplog):
    """Rolling forward ends, too, where only the catalogue is denied."""
    with pytest.raises(Unavailable):
        append(open_world(world, Denies(f"{BEHIND[0]}|data/catalogue/")), 2)
    world.lose_owner()
    denied = Denies("data/catalogue/")
    denied.switched = True
    aggrade.recover(STORE, storage_options=open_world(world, denied))
    assert "the catalogue does not follow" in caplog.text
    assert append(open_world(world), 3).layers == {"s3": 2}


def test_a_removal_does_not_pass_over_the_catalogue(open_world, world):
    """Where a session can't be taken out of the catalogue, nobody is told that it is gone."""
    append(open_world(world), 2)
    with pytest.raises(Unavailable, match="the commit shows"):
        aggrade.remove(ROOT, "s1", storage_options=open_world(world, Denies("data/catalogue/")))
    world.lose_owner()
    aggrade.remove(ROOT, "s1", purge_backups=True, storage_options=open_world(world))
    assert names(open_world(world)) == ["s2"]
    assert not [key for key, (data, _) in world.objects.items() if b"s1" in data]


def test_before_the_switch_it_is_refused_as_it_is(open_world, world):
    """A right that is missing for the data is bad input, and nothing shows."""
    denied = Denies("windows.zarr/eeg/c/")
    denied.switched = True
    with pytest.raises(BadInput, match="permission denied"):
        append(open_world(world, denied), 2)
    assert names(open_world(world)) == ["s1"]
    assert append(open_world(world), 2).layers == {"s2": 1}
