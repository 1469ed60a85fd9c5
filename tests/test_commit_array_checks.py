"""A root whose array documents nobody can work with is damage that is named, before anything rests on it."""

from __future__ import annotations

import copy
import json

import pytest
from make_datasets import CHUNKS, make_session
from memory_storage import MemoryStorage, World, open_world

import aggrade
from aggrade.commit import read_snapshot
from aggrade.commit.array_checks import fault_of_array
from aggrade.errors import AggradeError, Damaged

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"


@pytest.fixture
def place(open_world):
    """Return a world with a store of two sessions, its options and the backup of the second."""
    world = World()
    options = {"storage_options": open_world(world)}
    for seed, label in enumerate("ab"):
        session = make_session(label, 3, seed)
        done = aggrade.append(session, STORE, grow=("window",), chunks=CHUNKS, **options)
    return world, options, done.backup


def document():
    """Return a sound document."""
    return {
        "shape": [2, 4],
        "data_type": "float64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 3]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN",
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 0, "checksum": False}},
        ],
        "attributes": {},
        "dimension_names": ["a", "b"],
        "zarr_format": 3,
        "node_type": "array",
    }


def places(found, path=()):
    """Yield the path of every key and every item within JSON."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def at(found, path):
    """Return what lies above the end of a path."""
    for key in path[:-1]:
        found = found[key]
    return found


def test_a_sound_one():
    """Nothing is wrong with it, nor with codecs and types that this zarr lacks."""
    assert fault_of_array(document()) is None
    unknown = document()
    unknown["codecs"].append({"name": "of-tomorrow", "configuration": {}})
    assert fault_of_array(unknown) is None
    assert fault_of_array({**document(), "data_type": "of-tomorrow"}) is None


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("shape",), [-1, 4], "shape.0"),
        (("shape",), [2], "chunk_grid"),
        (("shape", 0), 2.5, "shape.0"),
        (("chunk_grid", "configuration", "chunk_shape", 0), 0, "chunk_grid.configuration.chunk_shape.0"),
        (("chunk_key_encoding", "name"), "tree", "chunk_key_encoding.name"),
        (
            ("chunk_key_encoding", "configuration", "separator"),
            "-",
            "chunk_key_encoding.configuration.separator",
        ),
        (("codecs", 1, "configuration"), {"lfvel": 0}, "lfvel"),
        (("fill_value",), "Nix", "Nix"),
        (("attributes",), None, "attributes"),
        (("data_type",), 4, "data_type"),
    ],
)
def test_what_is_wrong_is_named(path, value, told):
    """By its place in the document."""
    changed = document()
    at(changed, path)[path[-1]] = value
    assert told in fault_of_array(changed)


@pytest.mark.parametrize("name", ["data_type", "chunk_grid", "chunk_key_encoding", "codecs", "fill_value"])
def test_what_is_missing_is_named(name):
    """Each key that commits rely on."""
    changed = document()
    del changed[name]
    assert name in fault_of_array(changed)


def test_any_key_that_is_gone_or_another(place):
    """Whatever is lost of a root's consolidated metadata: an answer or an error of ours, and never another one."""
    world, options, backup = place
    key = "data/windows.zarr/zarr.json"
    root = json.loads(world.objects[key][0])
    sound, refused = dict(world.objects), 0
    arrays = root["consolidated_metadata"]["metadata"]
    paths = [("consolidated_metadata", "metadata", "label", *path) for path in places(arrays["label"])]
    for path in paths:
        for renamed in (False, True):
            changed = copy.deepcopy(root)
            above = at(changed, path)
            gone = above.pop(path[-1])
            if renamed and isinstance(above, dict):
                above[f"{path[-1]}x"] = gone
            data = json.dumps(changed).encode()
            world.objects.clear()
            world.objects.update(sound | {key: (data, world.mark(data))})
            aggrade.verify(STORE, **options)
            for act in (
                lambda: aggrade.append(
                    make_session("c", 3, 5), STORE, grow=("window",), dry_run=True, **options
                ),
                lambda: aggrade.remove(STORE, "a", dry_run=True, **options),
                lambda: aggrade.restore(STORE, backup, dry_run=True, **options),
            ):
                try:
                    act()
                except AggradeError:
                    refused += 1
    assert refused > len(paths)


def test_the_remedy(place):
    """As the error says: the root is deleted, then a backup restored."""
    world, options, backup = place
    key = "data/windows.zarr/zarr.json"
    data = world.objects[key][0].replace(b'"chunk_key_encoding"', b'"chunk_kex_encoding"')
    world.objects[key] = (data, world.mark(data))
    with pytest.raises(Damaged, match="delete it, then restore the newest backup") as caught:
        aggrade.restore(STORE, backup, **options)
    assert caught.value.code == "root-array"
    assert "delete it, then restore" in str(aggrade.verify(STORE, **options))
    del world.objects[key]
    aggrade.restore(STORE, backup, **options)
    assert list(aggrade.open_windows(STORE, **options)["session"].values) == ["a"]
    assert aggrade.verify(STORE, **options).ok


def test_dimensions_without_names_in_a_store_of_ours(place):
    """They were there when it was written, so it is damage."""
    world, options, _ = place
    root = json.loads(world.objects["data/windows.zarr/zarr.json"][0])
    del root["consolidated_metadata"]["metadata"]["eeg"]["dimension_names"]
    data = json.dumps(root).encode()
    world.objects["data/windows.zarr/zarr.json"] = (data, world.mark(data))
    with pytest.raises(Damaged, match="array 'eeg' with dimensions without names"):
        read_snapshot(MemoryStorage(world, "data/windows.zarr"))
    assert not aggrade.verify(STORE, **options).ok
