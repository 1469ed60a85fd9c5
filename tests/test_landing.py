"""Staged sessions that land in one commit: what they have in common, and what stays each one's own."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from make_datasets import assert_holds, make_session
from memory_storage import DiesAt, Killed, Numbered, World, open_world

import aggrade
from aggrade.errors import AggradeError, Refused
from aggrade.landing import find_landed, land, land_together
from aggrade.session_catalogue import read_catalogue
from aggrade.staging import STAGING, stage

__all__ = ["open_world"]

ROOT, STORE = "world://data", "world://data/windows.zarr"
OLD = make_session("old", 3, 0, samples=64)
LENGTHS = {"one": 2, "Sub 02/ä": 40, "three": 5}
SESSIONS = {
    label: make_session(label, windows, seed, samples=64)
    for seed, (label, windows) in enumerate(LENGTHS.items(), 1)
}


def begin(open_world, *labels, store=True):
    """Return a world with a store, if wanted, and staged sessions."""
    world = World()
    if store:
        aggrade.append(OLD, ROOT, grow=("window",), storage_options=open_world(world))
    return world, [
        stage(SESSIONS[label], ROOT, f"n{number}", storage_options=open_world(world))
        for number, label in enumerate(labels or SESSIONS)
    ]


def shown(open_world, world):
    """Return what readers see."""
    return aggrade.open_windows(ROOT, storage_options=open_world(world)).load()


def samples_in(world):
    """Return the objects of samples, key → bytes."""
    return {
        key: data for key, (data, _) in world.objects.items() if key.startswith("data/windows.zarr/eeg/c/")
    }


@pytest.mark.parametrize("at_once", [64, 1], ids=["under the lease", "ahead of it"])
@pytest.mark.parametrize("store", [True, False], ids=["grows", "new store"])
def test_it_is_what_single_landings_make(open_world, monkeypatch, store, at_once):
    """One commit makes the arrays that as many commits make, object for object, no padding, and the same catalogue."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", str(at_once))
    (world, staged), (single, others) = (begin(open_world, store=store) for _ in range(2))
    before = root_of(world)
    receipts = land_together(staged, STORE, storage_options=open_world(world))
    for one in others:
        land(one, STORE, storage_options=open_world(single))
    assert root_of(world)["generation"] == before.get("generation", 0) + 1
    assert samples_in(world) == samples_in(single)
    assert [receipt.digests for receipt in receipts] == [{one.session: one.digest} for one in staged]
    expected = [*[OLD] * store, *SESSIONS.values()]
    assert_holds(shown(open_world, world), expected)
    pd.testing.assert_frame_equal(lines(open_world, world), lines(open_world, single))
    assert aggrade.verify(ROOT, storage_options=open_world(world)).ok


def root_of(world):
    """Return what the root keeps of aggrade's own, nothing where there is no store."""
    data = world.objects.get("data/windows.zarr/zarr.json")
    return json.loads(data[0])["attributes"]["aggrade"] if data else {}


def lines(open_world, world):
    """Return the catalogue without the names of receipts."""
    table = read_catalogue(ROOT, storage_options=open_world(world))
    return table.drop(columns="receipt").sort_values("index", ignore_index=True)


def test_samples_are_copied_and_the_switch_is_one(open_world):
    """No object of samples is sent; requests grow by copies and records, not by commits."""
    counts = []
    for labels in (["three"], ["one", "Sub 02/ä", "three"]):
        world, staged = begin(open_world, *labels)
        hooks = Numbered()
        land_together(staged, STORE, storage_options=open_world(world, hooks))
        kinds = [kind for kind in hooks.kinds if STAGING not in kind]
        assert not [kind for kind in kinds if "/eeg/c/" in kind and not kind.startswith("COPY")]
        counts.append(Counter(kind.split()[0] for kind in kinds))
    records = len(LENGTHS) - 1
    assert counts[1]["PUT"] - counts[0]["PUT"] <= 2 * records
    assert sum(kind == "PUT data/windows.zarr/zarr.json" for kind in kinds) == 1


def test_each_has_its_own_receipt(open_world):
    """A receipt names one session, and is found again by it alone; the same landing again is a no-op."""
    world, staged = begin(open_world)
    options = open_world(world)
    receipts = land_together(staged, STORE, storage_options=options)
    assert [list(receipt.layers.items()) for receipt in receipts] == [
        [(one.session, row)] for row, one in enumerate(staged, 1)
    ]
    assert {receipt.details["together"] for receipt in receipts} == {3}
    assert land_together(staged, STORE, storage_options=options) == receipts
    assert [
        find_landed(STORE, one.session, one.digest, storage_options=options) for one in staged
    ] == receipts
    assert root_of(world)["generation"] == 2


def test_one_that_is_there_comes_with_others(open_world):
    """What has landed before keeps its receipt; the rest goes in one commit."""
    world, staged = begin(open_world)
    options = open_world(world)
    first = land(staged[1], STORE, storage_options=options)
    receipts = land_together(staged, STORE, storage_options=options)
    assert receipts[1] == first
    assert [receipt.generation for receipt in receipts] == [3, 2, 3]
    assert_holds(shown(open_world, world), [OLD, SESSIONS["Sub 02/ä"], SESSIONS["one"], SESSIONS["three"]])


def test_one_that_is_there_in_another_encoding_has_its_own_receipt(open_world):
    """Its digest in the store is not that of staging: the receipt is its own still."""
    world = World()
    old = OLD.assign(when=("session", np.array(["2026-03-01"], "M8[ns]")))
    old["when"].encoding = {"units": "seconds since 2026-01-01", "dtype": "int64"}
    aggrade.append(old, ROOT, grow=("window",), storage_options=open_world(world))
    staged = []
    for number, session in enumerate(SESSIONS.values()):
        dated = session.assign(when=("session", np.array(["2026-03-02"], "M8[ns]")))
        staged.append(stage(dated, ROOT, f"n{number}", storage_options=open_world(world)))
    first = land(staged[1], STORE, storage_options=open_world(world))
    assert first.digests[staged[1].session] != staged[1].digest
    for _ in range(2):
        receipts = land_together(staged, STORE, storage_options=open_world(world))
        assert receipts[1] == first
        assert [list(receipt.layers) for receipt in receipts] == [[one.session] for one in staged]


def test_a_receipt_stays_what_it_was_when_another_one_is_removed(open_world):
    """Same again, same receipt, but for the session that is gone."""
    world, staged = begin(open_world)
    options = open_world(world)
    receipts = land_together(staged, STORE, storage_options=options)
    aggrade.remove(STORE, "one", storage_options=options)
    assert land(staged[2], STORE, storage_options=options) == receipts[2]
    assert "and 2 more in the same commit" in str(receipts[2])


def test_one_that_is_refused_keeps_out_those_it_came_with(open_world):
    """A session that lies there with other content: nothing of the group is shown, and the others land alone."""
    world, staged = begin(open_world)
    options = open_world(world)
    other = make_session("three", 4, 9, samples=64)
    aggrade.append(other, ROOT, grow=("window",), storage_options=options)
    with pytest.raises(Refused, match="three"):
        land_together(staged, STORE, storage_options=options)
    assert_holds(shown(open_world, world), [OLD, other])
    land_together(staged[:2], STORE, storage_options=options)
    assert_holds(shown(open_world, world), [OLD, other, SESSIONS["one"], SESSIONS["Sub 02/ä"]])


def test_those_that_differ_go_apart(open_world):
    """Other attributes of a variable: a commit of its own, where the guards see what differs."""
    world, staged = begin(open_world, "one", "three")
    odd = make_session("odd", 3, 7, samples=64)
    odd["eeg"].attrs["units"] = "mV"
    staged.insert(1, stage(odd, ROOT, "odd", storage_options=open_world(world)))
    with pytest.raises(Refused, match="mV"):
        land_together(staged, STORE, storage_options=open_world(world))
    assert_holds(shown(open_world, world), [OLD, SESSIONS["one"]])


def test_values_that_cannot_be_copied_are_cut_to_their_session(open_world):
    """In a store with other chunks, samples are encoded anew: digests and values are those of each session."""
    world, staged = begin(open_world, store=False)
    options = open_world(world)
    aggrade.append(OLD, ROOT, grow=("window",), chunks={"eeg": (1, 4, 2, 64)}, storage_options=options)
    receipts = land_together(staged, STORE, storage_options=options)
    assert [receipt.digests[one.session] for receipt, one in zip(receipts, staged, strict=True)] == [
        one.digest for one in staged
    ]
    assert_holds(shown(open_world, world), [OLD, *SESSIONS.values()])
    assert len(samples_in(world)) == sum(-(-windows // 4) for windows in (3, *LENGTHS.values()))
    assert aggrade.verify(ROOT, storage_options=options).ok


def test_one_of_them_is_removed_and_all_are_undone(open_world):
    """A session that came with others goes alone; the backup of their commit takes all of them back."""
    world, staged = begin(open_world)
    options = open_world(world)
    receipts = land_together(staged, STORE, storage_options=options)
    aggrade.remove(STORE, "Sub 02/ä", storage_options=options)
    assert list(shown(open_world, world)["session"].values) == ["old", "one", "three"]
    assert aggrade.verify(ROOT, storage_options=options).ok
    aggrade.restore(STORE, receipts[0].backup, storage_options=options)
    np.testing.assert_array_equal(shown(open_world, world)["session"].values, ["old"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # a dead heartbeat
@pytest.mark.parametrize("at_once", [64, 1], ids=["under the lease", "ahead of it"])
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long), 17], ids=["every", "every seventeenth"]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_a_request(open_world, monkeypatch, step, after, at_once):
    """All or none is shown, and whoever lands them one by one afterwards makes the store whole, each once."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", str(at_once))
    start, staged = begin(open_world)
    rehearsal = Numbered()
    land_together(staged, STORE, storage_options=open_world(start.copy(), rehearsal))
    for place in range(1, rehearsal.count + 1, step):
        world = start.copy()
        with pytest.raises(Killed):
            land_together(staged, STORE, storage_options=open_world(world, DiesAt(world, place, after=after)))
        seen = list(shown(open_world, world)["session"].values)
        assert seen in (["old"], ["old", *SESSIONS]), f"request {place}"
        for one in reversed(staged):
            land(one, STORE, storage_options=open_world(world))
        order = SESSIONS.values() if len(seen) > 1 else reversed(SESSIONS.values())
        assert_holds(shown(open_world, world), [OLD, *order])
        assert aggrade.verify(ROOT, storage_options=open_world(world)).ok, f"request {place}"


def test_a_staging_store_that_is_gone(open_world):
    """One of them was removed meanwhile: a clear error, and nothing is shown of the others."""
    world, staged = begin(open_world)
    for key in [key for key in world.objects if key.startswith(f"data/{STAGING}/n1.zarr/")]:
        del world.objects[key]
    with pytest.raises(AggradeError) as caught:
        land_together(staged, STORE, storage_options=open_world(world))
    assert caught.value.code == "staging-gone"
    assert_holds(shown(open_world, world), [OLD])
