"""What sessions of other lengths cost each other: nothing."""

from __future__ import annotations

import numpy as np
import pytest
from make_datasets import make_session
from memory_storage import World, open_world

import aggrade

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
CHUNKS = {"eeg": (1, 2, 2, 5)}


@pytest.fixture
def options(open_world):
    """Return the storage options of an empty world."""
    return open_world(World())


def samples(options, row):
    """Return key → bytes of the objects that hold a session's samples."""
    head = f"data/windows.zarr/eeg/c/{row}/"
    objects = options["world"].objects
    return {key.removeprefix(head): len(data) for key, (data, _) in objects.items() if key.startswith(head)}


def append(sessions, options, **how):
    """Append sessions one after another to a store of their own; return its objects of the last one."""
    for one in sessions:
        aggrade.append(one, STORE, grow=("window",), storage_options=options, **{"chunks": CHUNKS, **how})
    return samples(options, len(sessions) - 1)


@pytest.mark.parametrize("windows", [1, 2, 5])
def test_a_short_session_beside_long_ones(open_world, windows):
    """It has the same objects, with as many bytes, as it has alone; so has a long one behind short ones."""
    short, long = make_session("short", windows, 1), make_session("long", 40, 2)
    for first, last in ((long, short), (short, long)):
        alone, beside = open_world(World()), open_world(World())
        assert append([first, last], beside) == append([last], alone)
        assert len(samples(alone, 0)) == -(-last.sizes["window"] // 2)


def test_shards_hold_no_padding(open_world):
    """A shard that could hold many windows is as large as those that it has make it."""
    shards = {"shards": {"eeg": (1, 40, 2, 5)}}
    short, long = make_session("short", 3, 1), make_session("long", 400, 2)
    alone = append([short], open_world(World()), **shards)
    assert append([long, short], open_world(World()), **shards) == alone


def test_growing_touches_no_samples(options):
    """When the axis of windows grows, objects with samples stay as they are, byte for byte."""
    append([make_session("a", 3, 1)], options)
    before = {key: value for key, value in options["world"].objects.items() if "/eeg/c/" in key}
    append([make_session("a", 3, 1), make_session("b", 30, 2)], options)
    assert before == {key: options["world"].objects[key] for key in before}
    assert aggrade.open_windows(STORE, storage_options=options).sizes["window"] == 30


def test_windows_that_a_session_lacks_are_fill(options):
    """Beyond a session's own windows there is nothing to read, and what is shown is fill."""
    append([make_session("long", 9, 2), make_session("short", 1, 1)], options)
    found = aggrade.open_windows(STORE, storage_options=options).sel(session="short")
    assert np.isnan(found["eeg"].values[1:]).all()
    assert (found["label"].values[1:] == -1).all()
