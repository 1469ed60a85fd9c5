"""What seems wrong with a store that others write meanwhile: looked at again, and never said of what has passed."""

from __future__ import annotations

import json

import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import Alone, MemoryStorage, World, open_world

import aggrade
from aggrade.commit.intent import INTENT
from aggrade.settling import settled

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
HOW = {"grow": ("window",), "chunks": CHUNKS}


@pytest.fixture
def storage():
    """Return a storage in which somebody's mark lies."""
    storage = MemoryStorage(World(), "data/s.zarr")
    storage.write("mark", b"0")
    return storage


def looking(storage, *, wrong, writes=0, held=False):
    """Return a look that finds things wrong, while somebody writes as often; and the looks that were taken."""
    looks = []

    def look(found):
        now = storage.read("mark")
        found.marks["mark"], found.is_held = now.etag, held
        found.notes.append(f"note {len(looks)}")
        if len(looks) < writes:
            storage.write("mark", b"%d" % (len(looks) + 1), replacing=now.etag)
        looks.append(1)
        return wrong if len(looks) <= writes or not writes else []

    return look, looks


@pytest.mark.parametrize(
    ("wrong", "writes", "held", "times", "expected"),
    [
        ([], 0, False, 1, []),
        ([], 9, False, 1, []),
        (["a", "b"], 0, False, 1, ["a", "b"]),
        (["a", "b"], 1, False, 2, []),
        (["a", "b"], 2, False, 3, []),
        (["u: held; wait."], 0, True, 1, ["u: held; wait."]),
    ],
)
def test_what_is_said_is_of_a_state_that_still_is(storage, wrong, writes, held, times, expected):
    """It is looked at again as long as somebody writes and something seems wrong, and the last look counts alone."""
    look, looks = looking(storage, wrong=wrong, writes=writes, held=held)
    found = settled(storage, look)
    assert found.problems == expected
    assert len(looks) == times
    assert found.notes == [f"note {times - 1}"]


def test_who_never_stops_writing(storage):
    """After three looks it is said that nothing can be said."""
    look, looks = looking(storage, wrong=["a", "b"], writes=99)
    (told,) = settled(storage, look).problems
    assert "somebody writes there while it is looked at; verify it again" in told
    assert len(looks) == 3


def test_beside_a_commit_under_way(storage):
    """What else seems wrong is counted, and no remedy named for it but to end that commit."""
    look, _ = looking(storage, wrong=["u: held; recover.", "u: a; restore.", "u: b; restore."], held=True)
    assert settled(storage, look).problems == [
        "u: held; recover, then verify again: 2 things that seem wrong may come of it."
    ]


class Meanwhile(Alone):
    """Somebody else does something before this process reads the first record of a layer."""

    def __init__(self, action):
        self.action = action

    def before(self, kind, key):
        """See `Hooks.before`."""
        if kind == "GET" and "/.aggrade/layers/" in key and self.action is not None:
            action, self.action = self.action, None
            action()


@pytest.fixture
def world(open_world):
    """Return a world with a store of three sessions."""
    world = World()
    for number in range(3):
        aggrade.append(make_session(f"s{number}", 3, number), STORE, storage_options=open_world(world), **HOW)
    return world


@pytest.mark.parametrize("change", ["remove", "replace", "append", "restore"])
def test_verify_beside_a_writer(open_world, world, change):
    """A sound store is not said to be damaged while somebody changes it."""
    options = open_world(world)
    backup = aggrade.list_backups(STORE, storage_options=options)[-1].id
    changes = {
        "remove": lambda: aggrade.remove(STORE, "s1", storage_options=options),
        "replace": lambda: aggrade.append(
            make_session("s1", 2, 9), STORE, on_conflict="replace", storage_options=options, **HOW
        ),
        "append": lambda: aggrade.append(make_session("s9", 2, 9), STORE, storage_options=options, **HOW),
        "restore": lambda: aggrade.restore(STORE, backup, storage_options=options),
    }
    hooks = Meanwhile(changes[change])
    report = aggrade.verify(STORE, storage_options=open_world(world, hooks))
    assert hooks.action is None
    assert report.ok, str(report)


def test_verify_while_a_removal_is_under_way(open_world, world):
    """Its half-wiped rows are no damage to be repaired by a restore."""
    storage = MemoryStorage(world, "data/windows.zarr")
    found = storage.read(INTENT)
    intent = json.loads(found.data) | {"state": "held"}
    storage.write(INTENT, json.dumps(intent).encode(), replacing=found.etag)
    key = next(key for key in world.objects if key.startswith("data/windows.zarr/eeg/c/1/"))
    world.objects[key] = (b"", "wiped")
    (told,) = aggrade.verify(STORE, storage_options=open_world(world)).problems
    assert "is not finished" in told
    assert "things that seem wrong may come of it" in told
    assert "restore" not in told
