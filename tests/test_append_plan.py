"""Plans of appends: pure, printable, and priced at what they will cost."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter

import dask.array
import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
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

    def test_their_own_length_of_growing_dimensions(self):
        """Each layer knows how many windows it has."""
        assert plan_of("a", windows=5).new[0].sizes == {"window": 5}

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


def huge_session(windows):
    """Return what `plan_append` asks for of one lazy session of so many windows of 256 kB."""
    lazy = dask.array.zeros((1, windows, 64, 1024), chunks=(1, 8, 64, 1024), dtype="f4")
    dims = ("session", "window", "eeg_channel", "eeg_sample")
    dataset = xr.Dataset({"eeg": (dims, lazy)}, {"session": np.array(["s"], object)})
    documents = describe(dataset, chunks={"window": 8})
    return {
        "store": "here",
        "seen": seen_of(None),
        "variables": encode(dataset, encodings(documents)),
        "documents": documents,
        "attributes": {},
        "dim": "session",
        "grow": ("window",),
        "digests": {"s": "d"},
    }


def requests(options, hooks, **how):
    """Return the requests of one append, by kind."""
    hooks.kinds.clear()
    plan = aggrade.append(store=STORE, grow=("window",), chunks=CHUNKS, storage_options=options, **how)
    return Counter(kind.split()[0] for kind in hooks.kinds), plan


class TestPrice:
    """What the dry run says is what is sent, its own reading included."""

    @pytest.fixture
    def world(self):
        """Return an empty world."""
        return World()

    @pytest.fixture
    def run(self, open_world, world):
        """Return a function that appends a dataset after a dry run, and gives the plan and what it sent."""
        hooks = Numbered()
        options = open_world(world, hooks)

        def run(dataset, **how):
            planning, plan = requests(options, hooks, dataset=dataset, dry_run=True, **how)
            assert set(planning) <= {"GET", "HEAD"}
            sent, receipt = requests(options, hooks, dataset=dataset, **how)
            return plan, receipt, sent

        return run

    def test_by_kind_at_every_turn(self, run):
        """Create, append, shorter, longer, several at once, the 5th that begins a chunk: all as priced."""
        turns = [("a",), ("b",), ("c", "d", "e"), ("f",), ("g",), ("h", "i", "j", "k", "l")]
        for windows, labels in zip([3, 7, 1, 9, 2, 12], turns, strict=True):
            plan, receipt, sent = run(dataset_of(*labels, windows=windows))
            assert plan.price.requests == sent == receipt.requests

    def test_without_a_backup(self, run):
        """What isn't kept isn't paid for."""
        run(dataset_of("a"))
        plan, _, sent = run(dataset_of("b"), backup="none")
        assert plan.price.requests == sent

    def test_with_a_full_backup(self, run):
        """Of a full backup all but the number of copies is known."""
        run(dataset_of("a"))
        plan, _, sent = run(dataset_of("b"), backup="full")
        assert {**plan.price.requests, "COPY": 0} == {**sent, "COPY": 0}
        assert plan.price.requests["COPY"] > 0

    def test_of_a_replacement(self, run):
        """A record that gives way costs two requests more."""
        run(dataset_of("a", "b"))
        plan, receipt, sent = run(dataset_of("b", "new"), on_conflict="replace")
        assert [layer.supersedes for layer in plan.new] == [1, None]
        assert plan.price.requests == sent == receipt.requests

    def test_of_nothing(self, run):
        """What is there costs nothing beyond finding out."""
        run(dataset_of("a"))
        plan, _, sent = run(dataset_of("a"))
        assert plan.price.requests == sent
        assert set(sent) == {"GET", "HEAD"}

    def test_on_a_store_that_another_tool_touched(self, run, world):
        """It costs what it costs on a store that only aggrade wrote."""
        run(dataset_of("a"))
        _, _, before = run(dataset_of("b"))
        storage = MemoryStorage(world, "data/windows.zarr")
        root = storage.read("zarr.json")
        storage.write("zarr.json", root.data + b" ", replacing=root.etag)
        plan, receipt, sent = run(dataset_of("c"))
        assert plan.price.requests == sent == receipt.requests == before

    def test_after_a_writer_that_died(self, open_world, run, world):
        """What a dead writer left is read under the intent, which the next append pays for, and it alone."""
        run(dataset_of("a"))
        _, _, before = run(dataset_of("b"))
        rehearsal, how = Numbered(), {"grow": ("window",), "chunks": CHUNKS}
        aggrade.append(dataset_of("c"), STORE, **how, storage_options=open_world(world.copy(), rehearsal))
        place = 1 + rehearsal.kinds.index("PUT data/windows.zarr/zarr.json")
        dying = open_world(world, DiesAt(world, place, after=False))
        with pytest.raises(Killed):
            aggrade.append(dataset_of("c"), STORE, **how, storage_options=dying)
        aggrade.recover(STORE, storage_options=open_world(world))
        _, _, after = run(dataset_of("c"))
        assert after["HEAD"] > before["HEAD"]
        assert run(dataset_of("d"))[2] == before

    def test_bytes_written_are_those_of_the_new_rows(self):
        """Uncompressed, as the store holds them."""
        dataset = dataset_of("c").drop_vars(["content_digest", "receipt"])
        by_hand = sum(
            v.nbytes for name, v in dataset.variables.items() if v.dtype.kind in "fi" and "session" in v.dims
        )
        plan = plan_of("c", snapshot=snapshot_of(2))
        text = 3 * np.dtypes.StringDType().itemsize
        assert plan.price.bytes_written == by_hand + text

    def test_bytes_read_are_those_of_shared_chunks(self):
        """Only chunks that hold published rows are read."""
        assert plan_of("e", snapshot=snapshot_of(4)).price.bytes_read == 0
        read = plan_of("d", snapshot=snapshot_of(3)).price.bytes_read
        strings, numbers = 3 * 4 * np.dtypes.StringDType().itemsize, 4 * 4 + 4 * 3 * 8 + 4 * 3 * 2
        assert read == strings + numbers

    def test_memory_does_not_grow_with_the_layer(self):
        """A session is streamed: ten times as long, it needs no more memory."""
        prices = [plan_append(**huge_session(windows)).price for windows in (10_000, 100_000)]
        assert prices[0].peak_memory == prices[1].peak_memory < 512 << 20
        assert prices[1].bytes_written > 20 << 30

    @pytest.mark.long
    def test_memory_is_within_the_price(self, tmp_path):
        """A session larger than its price in memory is written within it."""
        lazy = dask.array.random.default_rng(1).random(
            (1, 1600, 64, 1024), chunks=(1, 8, 64, 1024), dtype="f4"
        )
        dims = ("session", "window", "eeg_channel", "eeg_sample")
        dataset = xr.Dataset({"eeg": (dims, lazy)}, {"session": np.array(["s"], object)})
        how = {"grow": ("window",), "chunks": {"window": 8}}
        aggrade.append(dataset.isel(window=slice(0, 8)), str(tmp_path / "warm.zarr"), **how)
        plan = aggrade.append(dataset, str(tmp_path / "x.zarr"), dry_run=True, **how)
        tracemalloc.start()
        try:
            aggrade.append(dataset, str(tmp_path / "x.zarr"), **how)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < plan.price.peak_memory < dataset.nbytes

    def test_a_store_of_any_size_has_the_same_price(self):
        """Requests, bytes and memory depend on the layer, not on the store."""
        prices = [plan_of("x", snapshot=snapshot_of(n)).price for n in (5, 41, 4001, 400_001)]
        assert all(price == prices[0] for price in prices)
