"""Landing a staged session by copies on the server's side."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest
from make_datasets import assert_holds, make_session
from memory_storage import Alone, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.errors import Conflict, Damaged
from aggrade.landing import land
from aggrade.staging import STAGING, stage
from aggrade.storage import OPENERS
from aggrade.storage.probe import Probe, keeps_copies

__all__ = ["open_world"]

ROOT, STORE = "world://data", "world://data/windows.zarr"
INTENT = "data/windows.zarr/.aggrade/intent.json"
STAGED = f"data/{STAGING}/name.zarr"
OLD = make_session("old", 40, 1, samples=1000)
NEW = make_session("Sub 03/ä", 40, 2, samples=1000)
SHARDS = 2


def grown(options, *, chunks=None, channels=2):
    """Make a store of one session, and stage another one; return what is staged."""
    old = OLD if channels == 2 else make_session("old", 40, 1, channels=channels, samples=1000)
    aggrade.append(old, ROOT, grow=("window",), chunks=chunks, storage_options=options)
    return stage(NEW, ROOT, "name", storage_options=options)


def landed(open_world, world, staged, **how):
    """Land a session; return the receipt and what was requested."""
    hooks = Numbered()
    receipt = land(staged, STORE, storage_options=open_world(world, hooks), **how)
    return receipt, hooks.kinds


def samples_in(world):
    """Return the objects of the second session's samples."""
    start = "data/windows.zarr/eeg/c/1/"
    return {key: data for key, (data, _) in world.objects.items() if key.startswith(start)}


def shown(options):
    """Return what readers see."""
    return aggrade.open_windows(ROOT, storage_options=options).load()


def test_a_copy_is_what_an_append_writes(open_world):
    """Samples are neither read nor sent; objects, digests and values are those of a direct append."""
    world, direct = World(), World()
    receipt, kinds = landed(open_world, world, grown(open_world(world)))
    assert Counter(kind.split()[0] for kind in kinds)["COPY"] == SHARDS
    assert not [kind for kind in kinds if "/eeg/c/" in kind and not kind.startswith("COPY")]
    assert receipt.requests == Counter(kind.split()[0] for kind in kinds) - Counter({"GET": reads_of(kinds)})
    for session in (OLD, NEW):
        found = aggrade.append(session, ROOT, grow=("window",), storage_options=open_world(direct))
    assert samples_in(world) == samples_in(direct)
    assert len(samples_in(world)) == SHARDS
    assert receipt.digests == found.digests
    assert_holds(shown(open_world(world)), [OLD, NEW])
    assert aggrade.verify(ROOT, storage_options=open_world(world)).ok


def reads_of(kinds):
    """Return how many requests read the staging store."""
    return sum(kind.startswith(f"GET {STAGED}") for kind in kinds)


@pytest.mark.parametrize(("at_once", "copies"), [(64, [2, 4]), (1, [0, 0])], ids=["few", "many"])
def test_under_the_lease_nothing_else_grows(open_world, monkeypatch, at_once, copies):
    """A session three times as long takes more copies while the intent is held, if they are few, and nothing else more."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", str(at_once))
    counts = []
    for windows in (40, 120):
        world = World()
        aggrade.append(OLD, ROOT, grow=("window",), storage_options=open_world(world))
        session = make_session("new", windows, 3, samples=1000)
        staged = stage(session, ROOT, "name", storage_options=open_world(world))
        kinds = landed(open_world, world, staged)[1]
        first, last = [i for i, kind in enumerate(kinds) if kind == f"PUT {INTENT}"][-2:]
        counts.append(Counter(kind.split()[0] for kind in kinds[first:last]))
    assert [count.pop("COPY", 0) for count in counts] == copies
    assert counts[0] == counts[1]


def without_list(world):
    """Remove the list of what was staged."""
    for key in [key for key in world.objects if key.startswith(f"{STAGED}/.aggrade/written/")]:
        del world.objects[key]


@pytest.mark.parametrize(
    ("store", "spoil", "how"),
    [
        ({"chunks": {"eeg": (1, 4, 2, 1000)}}, lambda _: None, {}),
        ({"channels": 3}, lambda _: None, {"channels": "union"}),
        ({}, without_list, {}),
    ],
    ids=["other chunks", "other channels", "no list"],
)
def test_what_does_not_fit_is_written(open_world, store, spoil, how):
    """Other chunks, channels that are placed anew, or a list that is lost: values are encoded and sent, not copied."""
    world = World()
    staged = grown(open_world(world), **store)
    spoil(world)
    receipt, kinds = landed(open_world, world, staged, **how)
    assert not [kind for kind in kinds if kind.startswith("COPY")]
    assert receipt.digests == {staged.session: staged.digest}
    new = shown(open_world(world)).isel(session=[1], eeg_channel=slice(0, 2))
    assert_holds(new, [NEW])
    assert aggrade.verify(ROOT, storage_options=open_world(world)).ok


def test_another_object_in_its_place_stays(open_world):
    """Where somebody else's object lies, the landing is refused, and the object stays."""
    world = World()
    staged = grown(open_world(world))
    world.objects["data/windows.zarr/eeg/c/1/0/0/0"] = (b"somebody's", "mark")
    with pytest.raises(Conflict) as caught:
        landed(open_world, world, staged)
    assert caught.value.code == "key-taken"
    assert world.objects["data/windows.zarr/eeg/c/1/0/0/0"][0] == b"somebody's"
    assert_holds(shown(open_world(world)), [OLD])


@pytest.mark.parametrize(
    ("there", "code"), [((b"other bytes", "another mark"), "staging-torn"), (None, "staging-gone")]
)
def test_a_staged_object_that_changed_or_went_is_not_landed(open_world, there, code):
    """What bears another mark than it was staged with is damage that says so, and the old state stays."""
    world = World()
    staged = grown(open_world(world))
    if there is None:
        del world.objects[f"{STAGED}/eeg/c/0/1/0/0"]
    else:
        world.objects[f"{STAGED}/eeg/c/0/1/0/0"] = there
    with pytest.raises(Damaged, match="the session is cut anew") as caught:
        landed(open_world, world, staged)
    assert caught.value.code == code
    assert_holds(shown(open_world(world)), [OLD])


class Served(MemoryStorage):
    """A server whose copies bear marks of their own, and overwrite or tear what they should not, if told to."""

    careless, torn = False, False
    address = ("http://server", "s3://bucket")

    def copy(self, source, target, *, unchanged=None):
        """See `Storage.copy`."""
        if self.careless:
            self.world.objects.pop(self._at(target), None)
        super().copy(source, target, unchanged=unchanged)
        data = self.world.objects[self._at(target)][0]
        data = data[:-1] if self.torn and target.startswith("windows.zarr") else data
        self.world.objects[self._at(target)] = (data, self.world.mark(data))
        return self.world.objects[self._at(target)][1]


@pytest.fixture
def served(monkeypatch):
    """Return a function that puts every world behind a server that behaves in some way."""

    def serve(**ways):
        kind = type("Served", (Served,), {**ways, "address": (secrets.token_hex(4), "s3://bucket")})
        monkeypatch.setitem(
            OPENERS,
            "world",
            lambda url, options: kind(
                options["world"], url.removeprefix("world://"), options.get("hooks") or Alone()
            ),
        )

    return serve


def test_copies_without_a_condition_are_not_made(open_world, served):
    """Where a copy was seen to overwrite what lies there, objects are read and written on their condition."""
    served(careless=True)
    world = World()
    staged = grown(open_world(world))
    kinds = landed(open_world, world, staged)[1]
    counts = Counter(kind.split(" data/")[0] for kind in kinds if "/eeg/c/" in kind)
    assert counts == {"GET": SHARDS, "PUT": SHARDS}
    assert_holds(shown(open_world(world)), [OLD, NEW])
    assert aggrade.verify(ROOT, storage_options=open_world(world)).ok


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_copies_with_marks_of_their_own_are_read_back(open_world, served, torn):
    """Where marks don't tell that a copy is that very object its bytes are compared, and a torn one is never shown."""
    served(torn=torn)
    world = World()
    staged = grown(open_world(world))
    if torn:
        with pytest.raises(Damaged, match="other bytes"):
            landed(open_world, world, staged)
    else:
        kinds = landed(open_world, world, staged)[1]
        assert sum(kind.startswith("GET data/windows.zarr/eeg/c/1/") for kind in kinds) == SHARDS
    assert_holds(shown(open_world(world)), [OLD] if torn else [OLD, NEW])


def test_whether_copies_are_conditional_is_what_was_seen_there():
    """What was seen at this server counts; one that nobody asked is taken to keep it, another server's word is none."""
    storage = type("Asked", (Served,), {"address": (secrets.token_hex(4), "s3://b")})(World())
    seen = {
        kept: Probe(*storage.address, True, True, True, conditional_copy=kept) for kept in (True, False, None)
    }
    assert [keeps_copies(storage, seen[kept]) for kept in seen] == [True, False, False]
    elsewhere = Probe("http://other", "s3://b", True, True, True, conditional_copy=False)
    assert keeps_copies(storage, elsewhere)
    assert keeps_copies(MemoryStorage(World()), elsewhere)
