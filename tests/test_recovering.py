"""`recover`: what dead writers left is finished, in one store or in all of a dataset."""

from __future__ import annotations

import os

import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import read_intent, read_snapshot
from aggrade.commit.intent import INTENT, Owner
from aggrade.errors import Damaged
from aggrade.recovering import foresee, open_intents

__all__ = ["open_world"]

ROOT = "world://data"
FIRST, SECOND = make_session("s1", 3, 1), make_session("s2", 5, 2)
OLD, NEW = ["s1"], ["s1", "s2"]


@pytest.fixture
def world():
    """Return an empty world."""
    return World()


@pytest.fixture
def append(open_world, world):
    """Return a function that appends to a store of the dataset."""

    def append(session, name="windows.zarr", *, hooks=None, into=world):
        options = open_world(into, hooks)
        return aggrade.append(
            session, f"{ROOT}/{name}", grow=("window",), chunks=CHUNKS, storage_options=options
        )

    return append


@pytest.fixture
def die(append, world):
    """Return a function that has an append die when it writes a key for the first time, before or after."""

    def die(session, key, name="windows.zarr", *, after=False):
        rehearsal = Numbered()
        append(session, name, hooks=rehearsal, into=world.copy())
        place = 1 + next(
            n for n, kind in enumerate(rehearsal.kinds) if kind.startswith(f"PUT data/{name}/{key}")
        )
        with pytest.raises(Killed):
            append(session, name, hooks=DiesAt(world, place, after=after))

    return die


@pytest.fixture
def recover(open_world, world):
    """Return a function that recovers the dataset."""
    return lambda store=ROOT: aggrade.recover(store, storage_options=open_world(world))


def labels(world, name="windows.zarr"):
    """Return the sessions that a store shows."""
    storage = MemoryStorage(world, f"data/{name}")
    return read_snapshot(storage).dataset(storage)["session"].values.tolist()


class TestOne:
    """One store."""

    def test_nothing_to_do(self, append, recover, world):
        """A sound store is left as it is."""
        append(FIRST)
        before = dict(world.objects)
        assert recover() is None
        assert world.objects == before

    @pytest.mark.parametrize("store", [ROOT, f"{ROOT}/", f"{ROOT}/windows.zarr"])
    def test_back(self, append, die, recover, world, store):
        """Before the switch the old state is what is left."""
        append(FIRST)
        die(SECOND, "zarr.json")
        receipt = recover(store)
        assert (receipt.kind, receipt.details["rolled"]) == ("recover", "back")
        assert receipt.details["stores"] == {"world://data/windows.zarr": "back"}
        assert labels(world) == OLD
        assert recover(store) is None

    def test_forward(self, append, die, recover, world, open_world):
        """After the switch the new one is, with all its records."""
        append(FIRST)
        die(SECOND, "zarr.json", after=True)
        assert recover().details["rolled"] == "forward"
        assert labels(world) == NEW
        assert aggrade.verify(ROOT, storage_options=open_world(world)).ok

    def test_then_it_goes_on(self, append, die, recover, world):
        """The session that died is brought again, once."""
        append(FIRST)
        for key in ("eeg/c/1", "zarr.json", "eeg/zarr.json"):
            die(SECOND, key)
            recover()
        append(SECOND)
        assert labels(world) == NEW

    def test_a_commit_that_lost_its_chunks(self, die, recover, world):
        """What can't be made whole is said, and stays for a human to look at."""
        die(FIRST, "zarr.json", after=True)
        MemoryStorage(world, "data/windows.zarr").delete(["eeg/c/0/0/0/0"])
        with pytest.raises(Damaged, match="restore the backup"):
            recover()
        assert read_intent(MemoryStorage(world, "data/windows.zarr"))[0].state == "held"

    def test_a_store_that_never_was(self, die, recover, append, world):
        """A create that died before its switch leaves nothing to see, and the next one is the first."""
        die(FIRST, "zarr.json")
        assert recover(f"{ROOT}/windows.zarr").details["rolled"] == "back"
        append(SECOND)
        assert labels(world) == ["s2"]

    def test_no_store(self, recover):
        """Where nothing lies there is nothing to recover."""
        assert recover() is None


class TestSeveral:
    """All stores of a dataset."""

    NAMES = ("sessions/a_windowed.zarr", "windows.zarr", "windows/2026-10.zarr")

    def test_each_in_its_own_way(self, append, die, recover, world):
        """One is rolled back, one forward, one needs nothing: all in one call and one receipt."""
        for name in self.NAMES:
            append(FIRST, name)
        die(SECOND, "zarr.json", "windows.zarr")
        die(SECOND, "zarr.json", "windows/2026-10.zarr", after=True)
        receipt = recover()
        assert receipt.details["stores"] == {
            "world://data/windows.zarr": "back",
            "world://data/windows/2026-10.zarr": "forward",
        }
        assert [labels(world, name) for name in self.NAMES] == [OLD, OLD, NEW]
        assert recover() is None

    def test_a_create_that_died(self, append, die, recover):
        """A store without a root is recovered as well."""
        append(FIRST)
        die(SECOND, "zarr.json", "windows/2026-10.zarr")
        assert recover().details["stores"] == {"world://data/windows/2026-10.zarr": "back"}


class TestForeseen:
    """What `recover` would do, said before it does."""

    @pytest.mark.parametrize(
        ("after", "told"), [(False, "back to generation 1"), (True, "forward: generation 2 shows it")]
    )
    def test_the_direction_is_what_recover_then_does(
        self, append, die, recover, open_world, world, after, told
    ):
        """The sentence names the holder and the way, and recover goes it; nothing is written to say so."""
        append(FIRST)
        die(SECOND, "zarr.json", after=after)
        before = dict(world.objects)
        foreseen = foresee(ROOT, storage_options=open_world(world))
        assert world.objects == before
        (sentence,) = foreseen.values()
        assert list(foreseen) == [f"{ROOT}/windows.zarr"]
        assert sentence.startswith(f"append of process {os.getpid()} on ")
        assert f"recover would roll it {told}" in sentence
        assert told.startswith(recover().details["rolled"])

    def test_a_store_that_never_was(self, die, open_world, world):
        """A create that died before its switch leaves nothing."""
        die(FIRST, "zarr.json")
        (sentence,) = foresee(ROOT, storage_options=open_world(world)).values()
        assert "roll it back to no store" in sentence

    def test_one_whose_process_is_gone_needs_no_patience(self, append, die, open_world, world):
        """Where the holder is known to be dead that is said; else how long its heartbeat has to stand still."""
        append(FIRST)
        die(SECOND, "zarr.json")
        storage = MemoryStorage(world, "data/windows.zarr")
        intent, etag = read_intent(storage)
        for owner, told in (
            (Owner.here(), "which may be alive"),
            (Owner.here().model_copy(update={"started": "0"}), "which is gone"),
            (Owner.here().model_copy(update={"host": "elsewhere"}), "which may be alive"),
        ):
            held = intent.model_copy(update={"owner": owner}).model_dump_json().encode()
            etag = storage.write(INTENT, held, replacing=etag).etag
            (sentence,) = foresee(ROOT, storage_options=open_world(world)).values()
            assert told in sentence
            assert ("once its heartbeat has stood still for" in sentence) == ("alive" in told)


class TestOpenIntents:
    """Whose intents are held."""

    def test_none(self, append, open_world, world):
        """Free intents aren't open."""
        append(FIRST)
        assert open_intents(ROOT, storage_options=open_world(world)) == {}

    def test_those_that_are_held(self, append, die, open_world, world):
        """They are named by store, with what their holder was about to do, and nothing is written."""
        append(FIRST)
        append(FIRST, "windows/2026-10.zarr")
        die(SECOND, "zarr.json")
        hooks = Numbered()
        found = open_intents(ROOT, storage_options=open_world(world, hooks))
        assert list(found) == ["world://data/windows.zarr"]
        journal = found["world://data/windows.zarr"].journal
        assert (journal.kind, [layer.label for layer in journal.layers]) == ("append", ["s2"])
        assert {kind.split()[0] for kind in hooks.kinds} <= {"GET", "HEAD", "LIST"}
