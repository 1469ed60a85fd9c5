"""`remove` of a session whose id is a word that attributes use for something else, or that they name it by."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import World, open_world

import aggrade

__all__ = ["open_world"]

ROOT = "world://data"
TOLD = {
    "mapping": {"rest": 0, "left": 1},
    "spec": json.dumps({"mapping": {"rest": 0, "left": 1}, "band": "1-40"}),
    "about": "band 1-40 Hz, rest",
    "unit_of": "V",
    "window_size_s": 2.0,
}


def session_of(label, seed=1, **attributes):
    """Return a session whose dataset and label say what its labels mean."""
    session = make_session(label, 3, seed).assign_attrs({**TOLD, **attributes})
    session["label"].attrs["mapping"] = {"rest": 0, "left": 1}
    return session


def grow(world_options, *sessions):
    """Append sessions."""
    for session in sessions:
        aggrade.append(session, ROOT, grow=("window",), chunks=CHUNKS, storage_options=world_options)


def own(dataset):
    """Return all attributes but aggrade's own, by what bears them."""
    bearers = {"": dataset.attrs} | {
        str(name): variable.attrs for name, variable in dataset.variables.items()
    }
    return {name: {key: told[key] for key in told if key != "aggrade"} for name, told in bearers.items()}


@pytest.mark.parametrize("label", ["rest", "1", "V", "session"])
def test_what_goes_for_all_stays(open_world, label):
    """The others' values mean what they meant, and appends go on, be it the store's first session or a later one."""
    options, other = open_world(World()), session_of("other", 2)
    grow(options, session_of(label), other)
    before = aggrade.open_windows(ROOT, storage_options=options).load()
    receipt = aggrade.remove(ROOT, label, purge_backups=True, storage_options=options)
    after = aggrade.open_windows(ROOT, storage_options=options).load()
    assert own(after) == own(before)
    assert "attributes" not in receipt.details
    assert_holds(after, [other])
    third = session_of("third", 3)
    assert "left_out" not in aggrade.append(third, ROOT, storage_options=options).details
    assert aggrade.verify(ROOT, storage_options=options).ok


@pytest.mark.parametrize("label", ["append", "session", "layers"])
def test_receipts_of_others_stay_whole(open_world, label):
    """A field of a receipt that reads as the id is no trace of it: appending the other again finds its receipt."""
    options, other = open_world(World()), session_of("other", 2)
    grow(options, session_of(label))
    receipt = aggrade.append(other, ROOT, storage_options=options)
    aggrade.remove(ROOT, label, storage_options=options)
    assert aggrade.append(other, ROOT, storage_options=options) == receipt


def test_what_is_left_is_told(open_world):
    """Plan and receipt name the attributes in which it stands as a word; those that don't have it are not among them."""
    options = open_world(World())
    grow(options, session_of("rest"), session_of("other", 2))
    plan = aggrade.remove(ROOT, "rest", dry_run=True, storage_options=options)
    (store,) = plan.stores
    names = [f"attribute {name!r} of the dataset" for name in ("mapping", "spec", "about")]
    assert store.stays == (*names, "attribute 'mapping' of variable 'label'")
    assert store.attributes == ()
    assert f"left as they are, though they name it: {names[0]}" in str(plan)
    remains = aggrade.remove(ROOT, "rest", storage_options=options).details["remains"]
    assert [sentence.split(": its id")[0] for sentence in remains] == [
        f"{ROOT}/windows.zarr: {name}" for name in store.stays
    ]
    assert not any("rest" in sentence for sentence in remains)


def test_what_names_it_as_a_session_goes(open_world):
    """Plan and receipt name each attribute that is changed, the receipt without naming the session."""
    world = World()
    options = open_world(world)
    told = {"source": "/data/rest.xdf", "subject": {"id": "rest", "age": 30}, "recorded": "at rest"}
    first = session_of("rest", **told)
    first["eeg"].attrs["recording"] = "rest"
    grow(options, first, session_of("other", 2))
    plan = aggrade.remove(ROOT, "rest", dry_run=True, storage_options=options)
    changed = [
        *(f"attribute {name!r} of the dataset" for name in ("source", "subject")),
        "attribute 'recording' of variable 'eeg'",
    ]
    assert sorted(plan.stores[0].attributes) == sorted(changed)
    assert f"changed: {', '.join(plan.stores[0].attributes)}" in str(plan)
    receipt = aggrade.remove(ROOT, "rest", storage_options=options)
    assert receipt.details["attributes"] == list(plan.stores[0].attributes)
    assert "rest" not in receipt.model_dump_json().replace("restore", "")
    left = aggrade.open_windows(ROOT, storage_options=options).load()
    assert left.attrs["source"] == "/data/.xdf"
    assert left.attrs["subject"] == {"age": 30}
    assert left.attrs["recorded"] == "at rest"
    assert "recording" not in left["eeg"].attrs
    (kept,) = (
        told
        for key, (data, _) in world.objects.items()
        if "/receipts/" in key and (told := json.loads(data))["kind"] == "remove"
    )
    assert kept["details"]["attributes"] == receipt.details["attributes"]


def test_an_attribute_that_bears_its_name(open_world):
    """It goes, and the receipt hides its name."""
    options = open_world(World())
    grow(options, session_of("sub-03", **{"sub-03": 1, "age of sub-03": 30}), session_of("other", 2))
    receipt = aggrade.remove(ROOT, "sub-03", storage_options=options)
    assert receipt.details["attributes"] == ["attribute '…' of the dataset"]
    assert "sub-03" not in receipt.model_dump_json()
    left = aggrade.open_windows(ROOT, storage_options=options)
    assert "sub-03" not in left.attrs
    assert left.attrs["age of sub-03"] == 30


def test_backups_that_use_the_word_otherwise_are_spared(open_world):
    """Backups from before a session are emptied only for what is its own: others are undone as before."""
    options = open_world(World())
    grow(options, session_of("a", 1), session_of("b", 2))
    spared = aggrade.list_backups(ROOT, storage_options=options)[0]
    grow(options, session_of("rest", 3))
    assert (
        spared.id
        not in aggrade.remove(ROOT, "rest", purge_backups=True, storage_options=options).details["purged"]
    )
    aggrade.restore(f"{ROOT}/windows.zarr", spared.id, storage_options=options)
    shown = aggrade.open_windows(ROOT, storage_options=options).load()
    assert list(np.asarray(shown["session"])) == ["a"]
    assert isinstance(shown, xr.Dataset)
