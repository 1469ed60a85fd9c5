"""Sessions whose channels are not their store's: united by name, each at the price of its own samples."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from memory_storage import World, open_world

import aggrade
from aggrade.channels import indices_of, runs_of, unite_channels
from aggrade.errors import Refused
from aggrade.repairing import repair
from aggrade.session_catalogue import rebuild_catalogue

__all__ = ["open_world"]

ROOT = "world://data"
STORE = f"{ROOT}/windows.zarr"


@pytest.fixture
def world():
    """Return an empty world."""
    return World()


@pytest.fixture
def options(open_world, world):
    """Return the storage options of the world."""
    return open_world(world)


def session(label, names, windows=3, **changes):
    """Return a session with channels of these names, whose values tell label, window and channel apart."""
    seed = int.from_bytes(label.encode())
    made = make_session(label, windows, seed, channels=len(names))
    quality = made["eeg"].max("eeg_sample").drop_attrs() - made["eeg"].min("eeg_sample").drop_attrs()
    return made.assign_coords(eeg_channel=("eeg_channel", np.array(names, object))).assign(
        eeg_peak_to_peak=(quality.dims, quality.values),
        eeg_flat=(quality.dims, np.arange(quality.size).reshape(quality.shape) % 3 == 0),
        **changes,
    )


def append(dataset, options, store=STORE, channels="union", **how):
    """Append, every layer's channels united with the store's."""
    values = {"grow": ("window",), "chunks": CHUNKS, "channels": channels, "storage_options": options, **how}
    return aggrade.append(dataset, store, **values)


def joined(sessions):
    """Return what xarray makes of the same sessions by an outer join, channels as they first appear."""
    names = list(dict.fromkeys(name for one in sessions for name in one["eeg_channel"].values))
    kept = [one[["eeg", "eeg_peak_to_peak", "n_windows"]] for one in sessions]
    kept = [one.assign_coords(window=np.arange(one.sizes["window"])) for one in kept]
    whole = xr.concat(kept, "session", join="outer", coords="minimal", compat="override")
    return whole.sel(eeg_channel=names).drop_vars("window")


MONTAGES = [["A", "B"], ["A", "B", "C"], ["C", "A"], ["D", "E", "F", "G", "H"], ["A", "B"]]


@pytest.fixture
def sessions():
    """Return sessions of five montages, of one to five windows."""
    return [session(f"s{i}", names, windows=1 + (3 * i) % 5) for i, names in enumerate(MONTAGES)]


def keys(world, name):
    """Return the indices of the objects of one array."""
    head = f"data/windows.zarr/{name}/c/"
    return {
        tuple(map(int, key.removeprefix(head).split("/"))) for key in world.objects if key.startswith(head)
    }


def test_equal_to_an_outer_join(options, sessions):
    """Sessions that came one by one are what xarray makes of all of them by an outer join."""
    for one in sessions:
        append(one, options)
    found = aggrade.open_windows(STORE, storage_options=options)
    expected = joined(sessions)
    xr.testing.assert_equal(found[list(expected.data_vars)].load(), expected)
    assert aggrade.verify(STORE, storage_options=options).ok


def test_what_a_session_lacks_takes_no_room(options, world, sessions):
    """Of each session there are just the objects that hold one of its channels and of its windows."""
    for one in sessions:
        append(one, options)
    order = list("ABCDEFGH")
    expected = {
        (row, window // CHUNKS["eeg"][1], order.index(name) // CHUNKS["eeg"][2], 0)
        for row, one in enumerate(sessions)
        for window in range(one.sizes["window"])
        for name in one["eeg_channel"].values
    }
    assert keys(world, "eeg") == expected


def test_what_lies_there_is_not_touched(options, world, sessions):
    """An axis that grows changes no object with samples of another session."""
    append(sessions[0], options)
    before = {key: value for key, value in world.objects.items() if "/eeg/c/" in key}
    for one in sessions[1:]:
        append(one, options)
    assert before == {key: world.objects[key] for key in before}


def test_the_same_again_is_nothing(options, world, sessions):
    """A session is known again on channels that have become more since, whatever the rule, and wherever they lie."""
    receipts = [append(one, options) for one in sessions]
    before = dict(world.objects)
    for rule in ("union", "refuse"):
        again = [append(one, options, channels=rule) for one in sessions]
        assert [one.write_id for one in again] == [one.write_id for one in receipts]
    assert world.objects == before


def test_the_same_values_on_other_channels_differ(options, sessions):
    """A channel that got another name is other content: refused, replaced on demand."""
    for one in sessions:
        append(one, options)
    other = sessions[2].assign_coords(eeg_channel=("eeg_channel", np.array(["C", "B"], object)))
    with pytest.raises(Refused, match="other content"):
        append(other, options)
    append(other, options, on_conflict="replace")
    found = aggrade.open_windows(STORE, storage_options=options).sel(session="s2")
    assert np.isnan(found["eeg"].sel(eeg_channel="A").values).all()
    assert np.array_equal(
        found["eeg"].sel(eeg_channel="B").values[: other.sizes["window"]], other["eeg"].values[0, :, 1]
    )


def test_the_rule_is_not_remembered(options, sessions):
    """A store that once grew refuses other channels again, unless it is told to unite them."""
    for one in sessions[:2]:
        append(one, options)
    with pytest.raises(Refused) as caught:
        append(sessions[2], options, channels="refuse")
    assert [problem.code for problem in caught.value.problems] == ["channels"]


def test_units_follow_their_channels(options):
    """New channels bring what is told of them; those that are there keep it."""
    units = {"A": "V", "B": "mV", "C": "µV"}
    made = [
        session(label, names).assign_coords(eeg_channel_unit=("eeg_channel", [units[name] for name in names]))
        for label, names in (("s0", ["A"]), ("s1", ["C", "A", "B"]))
    ]
    for one in made:
        append(one, options)
    found = aggrade.open_windows(STORE, storage_options=options)
    assert dict(zip(found["eeg_channel"].values, found["eeg_channel_unit"].values, strict=True)) == units


def test_lazy_samples_stay_lazy():
    """Uniting reads no sample; what is read afterwards is a part of what is asked for."""
    read = []

    def count(block):
        read.append(block.shape)
        return block

    stored = session("s0", ["A", "B"])
    lazy = session("s1", ["C", "A"], windows=6)
    lazy["eeg"] = (
        lazy["eeg"].chunk({"window": 1}).map_blocks(count, template=lazy["eeg"].chunk({"window": 1}))
    )
    read.clear()
    united = unite_channels(lazy, stored, "session").dataset
    assert read == []
    part = united["eeg"].isel(window=slice(2, 4))
    assert np.array_equal(part.sel(eeg_channel="C").values, lazy["eeg"].values[:, 2:4, 0])


def test_a_store_begun_without_it(options, sessions):
    """A store that was made of sessions with the same channels grows like any other."""
    first = [session(f"t{i}", ["A", "B"]) for i in range(2)]
    for one in first:
        append(one, options, channels="refuse")
    for one in sessions:
        append(one, options)
    expected = joined([*first, *sessions])
    found = aggrade.open_windows(STORE, storage_options=options)
    xr.testing.assert_equal(found[list(expected.data_vars)].load(), expected)
    assert aggrade.verify(STORE, storage_options=options).ok


def test_the_catalogue_tells_of_own_channels(options, world, sessions):
    """Each line names the channels of its session and counts these alone; made anew, every byte is the same."""
    for one in sessions:
        append(one, options, store=ROOT)
    lines = aggrade.read_catalogue(ROOT, storage_options=options).set_index("session")
    for label, names in zip(lines.index, MONTAGES, strict=True):
        assert sorted(lines.loc[label, "eeg_channels"]) == sorted(names)
    for one in sessions:
        assert lines.loc[one["session"].item(), "eeg_flat"] == pytest.approx(one["eeg_flat"].values.mean())
    told = {key: data for key, (data, _) in world.objects.items() if key.startswith("data/catalogue/")}
    for key in told:
        del world.objects[key]
    rebuild_catalogue(ROOT, storage_options=options)
    for key, data in told.items():
        assert pq.read_table(io.BytesIO(world.objects[key][0])).equals(pq.read_table(io.BytesIO(data)))
    assert aggrade.verify(ROOT, storage_options=options).ok


def test_a_dry_run_counts_what_is_written(options, sessions):
    """The plan's price is what the append then takes, and it writes nothing."""
    for one in sessions[:3]:
        append(one, options)
    plan = append(sessions[3], options, dry_run=True)
    receipt = append(sessions[3], options)
    assert plan.price.requests == receipt.requests


def test_a_lost_record_is_made_anew(options, world, sessions):
    """A session of some channels is proven by its receipt, those before the axis grew by their content."""
    for one in sessions:
        append(one, options)
    records = {key: data for key, (data, _) in world.objects.items() if "/.aggrade/layers/" in key}
    for key in records:
        del world.objects[key]
    repair(STORE, storage_options=options)
    report = aggrade.verify(STORE, storage_options=options)
    assert report.ok, str(report)
    assert {key for key in world.objects if "/.aggrade/layers/" in key} == set(records)
    for key, before in records.items():
        one, other = json.loads(world.objects[key][0]), json.loads(before)
        assert (one["objects"], one["objects_sha256"]) == (other["objects"], other["objects_sha256"])


def test_restored_to_before_the_axis_grew(options, sessions):
    """An undone growth leaves the sessions before it; the same sessions come again."""
    append(sessions[0], options)
    receipt = append(sessions[1], options)
    aggrade.restore(STORE, receipt.backup, storage_options=options)
    found = aggrade.open_windows(STORE, storage_options=options)
    assert found["eeg_channel"].values.tolist() == ["A", "B"]
    for one in sessions:
        append(one, options)
    expected = joined(sessions)
    again = aggrade.open_windows(STORE, storage_options=options)
    xr.testing.assert_equal(again[list(expected.data_vars)].load(), expected)
    assert aggrade.verify(STORE, storage_options=options).ok


@pytest.mark.parametrize("places", [[], [0], [3, 4, 5], [5, 4, 3], [0, 2, 3, 7, 1]])
def test_runs_stand_for_indices(places):
    """Indices come back from runs, in their order."""
    assert indices_of(runs_of(places)) == places
