"""Plans of appends: pure, printable, and priced at what they will cost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from memory_storage import open_world

from aggrade.append_plan import AppendPlan, is_superseded, plan_append
from aggrade.commit import LayerRecord, Look, Snapshot, describe
from aggrade.commit.documents import resized
from aggrade.commit.intent import Intent, Owner
from aggrade.encoding import encode, encodings
from aggrade.errors import Refused

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"


def dataset_of(*labels, windows=3):
    """Return sessions of so many windows."""
    return xr.concat([make_session(label, windows, seed) for seed, label in enumerate(labels)], "session")


DOCUMENTS = describe(dataset_of("s1"), chunks=CHUNKS)


def snapshot_of(sessions, windows=3, **mark):
    """Return the state of a store that holds so many sessions."""
    documents = {n: resized(d, {"session": sessions, "window": windows}) for n, d in DOCUMENTS.items()}
    aggrade_mark = {"format": 1, "generation": 4, "write_id": "w", "dim": "session", **mark}
    return Snapshot("etag 4", {"eeg_rate": 250.0, "aggrade": aggrade_mark}, documents)


def record(label, index, digest):
    """Return the record of a layer that is there."""
    return LayerRecord(label=label, index=index, digest=digest, write_id=f"w of {label}", generation=4)


def seen_of(snapshot, *records):
    """Return a look at a store whose last writer finished."""
    if snapshot is None:
        return Look(None, None)
    owner = Owner(host="", boot="", process=1, started="")
    intent = Intent(state="free", write_id="w", owner=owner, lease_seconds=30.0)
    return Look(snapshot, (intent, "etag"), {one.label: one for one in records}, requests={"GET": 3})


def plan_of(*labels, snapshot=None, records=(), windows=3, **how):
    """Plan to add sessions whose digests are their labels."""
    dataset = dataset_of(*labels, windows=windows)
    documents = snapshot.documents if snapshot else describe(dataset, chunks=CHUNKS)
    return plan_append(
        store="here",
        seen=seen_of(snapshot, *records),
        variables=encode(dataset, encodings(documents)),
        documents=documents,
        attributes={"eeg_rate": 250.0},
        dim="session",
        grow=("window",),
        digests={label: f"digest of {label}" for label in labels},
        **how,
    )


def regions(plan):
    """Return what a plan writes, by variable."""
    return {region.variable: region.bounds for region in plan.commit.regions}


class TestLayers:
    """Which layers are added, and where."""

    def test_of_a_new_store(self):
        """The first layers begin at 0 and the commit creates the store."""
        plan = plan_of("a", "b")
        assert [(layer.label, layer.index, layer.digest) for layer in plan.new] == [
            ("a", 0, "digest of a"),
            ("b", 1, "digest of b"),
        ]
        assert plan.commit.base is None
        assert plan.commit.layers == plan.new

    def test_behind_those_that_are_there(self):
        """Further layers follow, for the state that was read."""
        plan = plan_of("c", snapshot=snapshot_of(2))
        assert [layer.index for layer in plan.new] == [2]
        assert (plan.commit.base.etag, plan.commit.base.generation) == ("etag 4", 4)

    def test_their_own_length_of_every_dimension(self):
        """Each layer knows how many windows it has, and how long all else is, declared to grow by then or not."""
        sizes = dict(dataset_of("a", windows=5).sizes)
        assert sizes.pop("session") == 1
        assert plan_of("a", windows=5).new[0].sizes == sizes
        assert sizes["window"] == 5

    def test_the_same_again_is_nothing(self):
        """What is there with the same content is not added, and without anything new there is no commit."""
        plan = plan_of("a", snapshot=snapshot_of(1), records=[record("a", 0, "digest of a")])
        assert (plan.new, plan.there, plan.commit) == ((), {"a": "w of a"}, None)
        assert plan.price.requests == {"GET": 4}

    def test_some_are_there_already(self):
        """Only what is new is added, in the order of the dataset."""
        plan = plan_of("a", "b", "c", snapshot=snapshot_of(1), records=[record("b", 0, "digest of b")])
        assert [(layer.label, layer.index) for layer in plan.new] == [("a", 1), ("c", 2)]
        assert plan.there == {"b": "w of b"}

    def test_other_content_is_refused(self):
        """Every layer that differs is named."""
        there = [record("a", 0, "other"), record("b", 1, "other"), record("c", 2, "digest of c")]
        with pytest.raises(Refused, match="2 problems") as caught:
            plan_of("a", "b", "c", snapshot=snapshot_of(3), records=there)
        assert [problem.where for problem in caught.value.problems] == ["layer 'a'", "layer 'b'"]
        assert caught.value.code == "layer-differs"

    def test_other_content_may_replace(self):
        """On request the new row goes behind and the old one is marked, with those marked before."""
        plan = plan_of(
            "b",
            snapshot=snapshot_of(3, superseded=[0]),
            records=[record("b", 1, "other")],
            on_conflict="replace",
        )
        assert [(layer.index, layer.supersedes) for layer in plan.new] == [(3, 1)]
        assert plan.commit.mark["superseded"] == [0, 1]

    def test_rows_of_another_tool_are_counted(self):
        """Rows that were there before aggrade's first commit have no records: how many there are is kept."""
        foreign = snapshot_of(2)
        del foreign.attributes["aggrade"]["dim"]
        assert plan_of("c", snapshot=foreign).commit.mark["adopted"] == 2
        assert "adopted" not in plan_of("c", snapshot=snapshot_of(2)).commit.mark
        assert "adopted" not in plan_of("c").commit.mark

    @pytest.mark.parametrize(("index", "gone"), [(0, False), (1, True)])
    def test_is_superseded(self, index, gone):
        """A row counts as replaced if the root says so."""
        assert is_superseded(snapshot_of(2, superseded=[1]), index) is gone
        assert not is_superseded(None, index)


class TestRegions:
    """What is written."""

    def test_of_a_new_store(self):
        """Everything, coordinates included."""
        found = regions(plan_of("a", windows=5))
        assert found["eeg"] == ((0, 1), (0, 5), (0, 2), (0, 5))
        assert found["session"] == ((0, 1),)
        assert found["eeg_channel"] == ((0, 2),)

    def test_of_another_layer(self):
        """New rows alone: what doesn't grow is left as it is."""
        found = regions(plan_of("c", snapshot=snapshot_of(2)))
        assert found["eeg"] == ((2, 3), (0, 3), (0, 2), (0, 5))
        assert "eeg_channel" not in found

    def test_of_a_shorter_layer(self):
        """Only the layer's own windows: what is beyond them costs nothing."""
        plan = plan_of("c", snapshot=snapshot_of(2, windows=9), windows=2)
        assert regions(plan)["eeg"] == ((2, 3), (0, 2), (0, 2), (0, 5))
        assert plan.commit.documents["eeg"]["shape"] == [3, 9, 2, 5]

    def test_of_a_longer_layer(self):
        """The store grows to the longest."""
        plan = plan_of("c", snapshot=snapshot_of(2, windows=2), windows=9)
        assert plan.commit.documents["eeg"]["shape"] == [3, 9, 2, 5]
        assert plan.commit.documents["n_windows"]["shape"] == [3]

    def test_labels_of_a_growing_dimension(self):
        """Of a coordinate along a dimension that grew the new labels are written."""
        dataset = dataset_of("c", windows=5).assign_coords(window=np.arange(5))
        described = describe(dataset, chunks=CHUNKS)
        before = {n: resized(d, {"session": 1, "window": 2}) for n, d in described.items()}
        plan = plan_append(
            store="here",
            seen=seen_of(Snapshot("e", {"aggrade": {"dim": "session"}}, before)),
            variables=encode(dataset, encodings(described)),
            documents=before,
            attributes={},
            dim="session",
            grow=("window",),
            digests={"c": "d"},
        )
        assert regions(plan)["window"] == ((2, 5),)

    def test_only_the_window_grows(self):
        """The dataset's own attributes, mark and backup are handed on."""
        plan = plan_of("c", snapshot=snapshot_of(1), backup="full")
        assert plan.commit.mark == {"dim": "session", "grow": ["window"]}
        assert (plan.commit.backup, plan.commit.attributes) == ("full", {"eeg_rate": 250.0})


class TestPrinted:
    """Printing the plan is the dry run."""

    def test_of_a_new_store(self):
        """What is added where, that the store is created, and the price."""
        text = str(plan_of("a", "b"))
        assert text.splitlines()[:4] == [
            "append to here, along session",
            "  + a at index 0",
            "  + b at index 1",
            "  creates the store; backup: touched",
        ]
        assert "PUT" in text

    def test_of_a_replacement(self):
        """What is there, and what is replaced."""
        there = [record("a", 0, "digest of a"), record("b", 1, "other")]
        text = str(plan_of("a", "b", snapshot=snapshot_of(2), records=there, on_conflict="replace"))
        assert "  already there, nothing to do: a" in text
        assert "  + b at index 2, replaces row 1" in text
        assert "  on generation 4; backup: touched" in text

    def test_it_survives_json(self):
        """A plan can be sent to whoever has to agree."""
        plan = plan_of("a", "b", snapshot=snapshot_of(2))
        assert AppendPlan.model_validate(json.loads(plan.model_dump_json())) == plan
