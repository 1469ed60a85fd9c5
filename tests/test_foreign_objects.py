"""Values that no layer has brought are found, wherever a layer has nothing; fill and what others share are none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from memory_storage import DiesAt, Killed, MemoryStorage, World, open_world

import aggrade
from aggrade.commit import find_layer, read_snapshot
from aggrade.commit.chunks import Chunks
from aggrade.foreign_objects import reached, torn_in_no_use
from aggrade.repairing import repair

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
WINDOWS = {"short": 3, "long": 7, "last": 2}


class Store:
    """A store of ragged sessions, and a way to meddle with it."""

    def __init__(self, open_world):
        self.world = World()
        self.options = open_world(self.world)
        self.storage = MemoryStorage(self.world, "data/windows.zarr")
        for seed, (label, windows) in enumerate(WINDOWS.items()):
            self.append(make_session(label, windows, seed))

    def append(self, session, **how):
        """Append a session."""
        aggrade.append(session, STORE, grow=("window",), chunks=CHUNKS, storage_options=self.options, **how)

    def change(self, key, change):
        """Change the values of an object in place."""
        name = key.partition("/")[0]
        chunks, stored = Chunks(read_snapshot(self.storage).documents[name]), self.storage.read(key)
        values = chunks.values(stored.data if stored else None).copy()
        change(values)
        data = chunks.bytes_of(values)
        self.world.objects[f"data/windows.zarr/{key}"] = (data, self.world.mark(data))

    def problems(self):
        """Return what is wrong."""
        return aggrade.verify(STORE, storage_options=self.options).problems


@pytest.fixture
def store(open_world):
    """Return a store of three sessions of 3, 7 and 2 windows."""
    return Store(open_world)


def put(place, value):
    """Return what puts a value somewhere."""

    def change(values):
        values[place] = value

    return change


@pytest.mark.parametrize(
    ("key", "place", "label"),
    [
        ("eeg/c/0/2/0/0", (0, 1, 0, 0), "short"),
        ("eeg/c/0/3/0/0", (0, 0, 1, 4), "short"),
        ("eeg/c/2/1/0/0", (0, 0, 0, 0), "last"),
    ],
    ids=["behind the last window", "the last there is", "another session"],
)
def test_an_object_where_a_session_has_none(store, key, place, label):
    """It is named with its layer; bringing that anew is the remedy, and works."""
    assert store.storage.stat(key) is None
    store.change(key, put(place, 1.5))
    (problem,) = store.problems()
    assert f"layer '{label}' shows values that it did not bring, in 1 objects, such as {key}" in problem
    aggrade.remove(STORE, label, storage_options=store.options)
    store.append(make_session(label, WINDOWS[label], 9))
    assert store.problems() == ()


@pytest.mark.parametrize(
    ("key", "place", "value", "label"),
    [
        ("window_start/c/0/1", (0, 1), 4.0, "short"),
        ("window_start/c/0/0", (2, 2), 4.0, "last"),
        ("label/c/0/2", (2, 0), 0, "last"),
    ],
)
def test_values_beside_a_sessions_own_in_what_others_share(store, key, place, value, label):
    """Behind its last window there is nothing, in an object that holds other sessions too."""
    store.change(key, put(place, value))
    (problem,) = store.problems()
    assert f"layer '{label}' shows values that it did not bring, in 1 objects, such as {key}" in problem


def test_several_objects_of_one_session(store):
    """They are told in one sentence, those in what others share included."""
    for key in ("eeg/c/0/2/0/0", "eeg/c/0/3/0/0"):
        store.change(key, put((0, 0, 0, 0), 1.5))
    store.change("label/c/0/2", put((0, 0), 1))
    (problem,) = store.problems()
    assert "layer 'short' shows values that it did not bring, in 3 objects" in problem


def test_fill_is_nothing(store):
    """It may cover what a dead writer left."""
    store.change("eeg/c/0/2/0/0", put((), np.nan))
    assert store.storage.stat("eeg/c/0/2/0/0") is not None
    assert store.problems() == ()


def test_an_object_that_is_no_chunk(store):
    """Where a session has nothing, it is not its content that is torn."""
    store.world.objects["data/windows.zarr/eeg/c/0/2/0/0"] = (b"torn", "torn")
    (problem,) = store.problems()
    assert "layer 'short' shows values that it did not bring" in problem


def test_rows_that_are_withdrawn_show_nothing(store):
    """What lies in them is nobody's."""
    aggrade.remove(STORE, "short", storage_options=store.options)
    store.change("eeg/c/0/2/0/0", put((0, 0, 0, 0), 1.5))
    assert store.problems() == ()


def test_a_session_on_fewer_channels(store):
    """What it lacks of a union is nothing."""
    wide = make_session("wide", 2, 5, channels=3)
    store.append(wide, channels="union")
    store.append(make_session("narrow", 2, 6).isel(eeg_channel=[1]), channels="union")
    assert store.problems() == ()
    row = list(map(str, shown(store)["session"].values)).index("narrow")
    store.change(f"eeg/c/{row}/0/1/0", put((0, 0, 0, 0), 1.5))
    assert any("layer 'narrow' shows values that it did not bring" in one for one in store.problems())


BASE, OTHER = ["E0", "E1", "E2"], ["E0", "E4"]


def gains(label, names, seed):
    """Return a session of one small array by channel, which shares its objects with another session."""
    values = np.random.default_rng(seed).standard_normal((1, len(names)))
    coords = {"session": [label], "eeg_channel": np.array(names, object)}
    return xr.Dataset({"gain": (("session", "eeg_channel"), values)}, coords)


class TestUndone:
    """A restore gives up a session that shared an object with one that stays, on a channel that this one lacks."""

    @pytest.fixture
    def world(self, open_world):
        """Return the options of a world, and the backup of the state before the session that is given up."""
        options = open_world(World())
        for seed, (label, names) in enumerate({"a": BASE, "g": OTHER, "h": BASE}.items()):
            self.append(options, gains(label, names, seed))
        return options, self.append(options, gains("x", OTHER, 3)).backup

    def append(self, options, session):
        """Append a session of any channels."""
        chunks = {"gain": (2, 3), "session": 2}
        return aggrade.append(session, STORE, channels="union", chunks=chunks, storage_options=options)

    @pytest.mark.parametrize("moves", [False, True], ids=["stays", "moves"])
    def test_nothing_of_it_comes_to_light(self, world, moves):
        """The next session in its place shows its own values alone, whether the array lies where it lay or moved."""
        options, backup = world
        if moves:
            aggrade.remove(STORE, "g", storage_options=options)
        aggrade.restore(STORE, backup, storage_options=options)
        self.append(options, gains("y", BASE, 5))
        found = aggrade.open_windows(STORE, storage_options=options).load()
        row = list(map(str, found["session"].values)).index("y")
        np.testing.assert_array_equal(found["gain"][row, :3], gains("y", BASE, 5)["gain"][0])
        assert np.isnan(found["gain"][row, 3])
        assert aggrade.verify(STORE, storage_options=options).ok

    def test_it_would_be_noticed(self, world):
        """A value on the channel that a session lacks is found where no object is a session's own."""
        options, _ = world
        storage = MemoryStorage(options["world"], "data/windows.zarr")
        chunks = Chunks(read_snapshot(storage).documents["gain"])
        values = chunks.values(storage.read("gain/c/1/1").data).copy()
        values[0, 0] = 1.5
        data = chunks.bytes_of(values)
        options["world"].objects["data/windows.zarr/gain/c/1/1"] = (data, "other")
        problems = aggrade.verify(STORE, storage_options=options).problems
        assert any("layer 'h' shows values that it did not bring" in one for one in problems), problems

    @pytest.mark.parametrize("kind", ["touched", "full"])
    def test_names_of_channels_that_were_undone(self, open_world, kind):
        """The object that holds them may hold the longer list still: what it shows is what was written."""
        options = open_world(World())
        self.append(options, gains("a", ["E0", "E1"], 0))
        chunks = {"gain": (2, 3), "session": 2}
        backup = aggrade.append(
            gains("b", OTHER, 1), STORE, channels="union", chunks=chunks, backup=kind, storage_options=options
        ).backup
        aggrade.restore(STORE, backup, storage_options=options)
        assert aggrade.verify(STORE, storage_options=options).ok
        assert repair(STORE, storage_options=options).ok
        self.append(options, gains("c", ["E0", "E1"], 2))
        assert aggrade.verify(STORE, storage_options=options).ok

    def test_windows_that_a_restore_gave_up(self, open_world):
        """They lie on behind a shorter session that came again, and a longer one next to it does not bring them to light."""
        options = open_world(World())

        def grow(label, windows, seed):
            session = make_session(label, windows, seed)
            return aggrade.append(
                session, STORE, grow=("window",), chunks=CHUNKS, storage_options=options
            ).backup

        grow("first", 3, 0)
        before = grow("short", 4, 1)
        undone = aggrade.restore(STORE, before, storage_options=options).backup
        grow("long", 5, 2)
        aggrade.restore(STORE, undone, storage_options=options)
        assert aggrade.verify(STORE, storage_options=options).ok
        grow("next", 6, 3)
        report = aggrade.verify(STORE, storage_options=options)
        assert report.ok, report
        found = aggrade.open_windows(STORE, storage_options=options).load()
        assert np.isfinite(found["window_start"][1, :4]).all()
        assert np.isnan(found["window_start"][1, 4:]).all()

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_a_writer_of_new_channels_dies(self, open_world, after):
        """At whatever request: verify finds nothing wrong once the store is recovered, and after a repair."""
        start = World()
        self.append(open_world(start), gains("a", ["E0", "E1"], 0))
        for request in itertools.count(1):
            world = start.copy()
            options = open_world(world)
            try:
                self.append(open_world(world, DiesAt(world, request, after=after)), gains("b", OTHER, 1))
                break
            except Killed:
                aggrade.recover(STORE, storage_options=options)
            report = aggrade.verify(STORE, storage_options=options)
            assert report.ok, (request, report)
            assert repair(STORE, storage_options=options).ok
        assert request > 12


def shown(store):
    """Return what readers see."""
    return aggrade.open_windows(STORE, storage_options=store.options)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_rows_of_another_tool_are_left_alone(tmp_path):
    """No record says how far they reach."""
    made = xr.concat([make_session("a", 3, 0), make_session("b", 3, 1)], "session", data_vars="minimal")
    made = made.drop_vars(["content_digest", "receipt"])
    made.to_zarr(tmp_path / "own.zarr", encoding={"eeg": {"chunks": (1, 2, 2, 5)}})
    session = make_session("c", 1, 2).drop_vars(["content_digest", "receipt"])
    aggrade.append(session, tmp_path / "own.zarr", grow=("window",))
    report = aggrade.verify(tmp_path / "own.zarr")
    assert report.ok, report


def test_how_far_a_session_reaches(store):
    """Its record says so, along each dimension that is not its own as a whole."""
    state = read_snapshot(store.storage)
    assert reached(state, find_layer(store.storage, "short"))["window"] == slice(0, 3)


@pytest.mark.parametrize("key", ["label/c/0/0", "n_windows/c/0", "session/c/0"])
def test_torn_where_only_removed_rows_lie(store, key):
    """The next append would share it: it is named, a repair makes it fill, and the append goes on."""
    for label in WINDOWS:
        aggrade.remove(STORE, label, storage_options=store.options)
    assert not store.problems()
    store.world.objects[f"data/windows.zarr/{key}"] = (b"torn", "torn")
    assert store.problems()
    report = repair(STORE, storage_options=store.options)
    assert report.ok, report
    assert any(f"{key} could not be decoded" in done for done in report.done)
    store.append(make_session("again", 4, 9))
    assert list(aggrade.open_windows(STORE, storage_options=store.options)["session"].values) == ["again"]
    assert not store.problems()


def test_torn_where_a_replaced_row_lies(store):
    """A restore would show it again: it is left for a person to bring back."""
    store.append(make_session("long", 5, 9), on_conflict="replace")
    aggrade.remove(STORE, "short", storage_options=store.options)
    shown = read_snapshot(store.storage)
    records = [find_layer(store.storage, label, shown) for label in ("long", "last")]
    assert torn_in_no_use(store.storage, shown, records) == []
    for info in store.storage.list("eeg/c/"):
        store.world.objects[f"data/windows.zarr/{info.key}"] = (b"torn", "torn")
    rows = {int(info.key.split("/")[2]) for info in torn_in_no_use(store.storage, shown, records)}
    assert rows == {0}
