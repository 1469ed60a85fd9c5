"""Prices of appends: what the dry run says is what is sent."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from random import Random

import dask.array
import numpy as np
import pytest
import xarray as xr
from append_prices import grow_directly
from make_datasets import CHUNKS
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world
from test_append_plan import STORE, dataset_of, plan_of, seen_of, snapshot_of

import aggrade
from aggrade.append_plan import plan_append
from aggrade.commit import describe
from aggrade.commit.intent import Intent
from aggrade.encoding import encode, encodings
from aggrade.storage import OPENERS
from aggrade.storage.counting import Counted

__all__ = ["open_world"]

COUNTED = "counted://data/windows.zarr"


@pytest.fixture
def open_counted(monkeypatch):
    """Make ``counted://`` URLs lead to a world whose bytes are counted; return the options and the counts."""
    world, counts = World(), Counter()

    def opener(url, _):
        return Counted(MemoryStorage(world, url.removeprefix("counted://")), counts)

    monkeypatch.setitem(OPENERS, "counted", opener)
    return {"world": world}, counts


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
            assert set(planning) <= {"GET", "HEAD", "LIST"}
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
        """Of a full backup the copies are known, too, since the dry run lists what lies there."""
        run(dataset_of("a"))
        plan, _, sent = run(dataset_of("b"), backup="full")
        assert plan.price.requests == sent
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

    @pytest.mark.parametrize(
        "at", [".aggrade/intent.json", "eeg/c/", "label/c/", "zarr.json", ".aggrade/receipts/"]
    )
    @pytest.mark.parametrize("windows", [3, 9])
    @pytest.mark.parametrize("before", [("a",), ()], ids=["append", "create"])
    def test_behind_a_dead_writer(self, open_world, open_counted, before, windows, at):
        """What it began is finished or rolled back first: the dry run knows what that costs, and leaves it alone."""
        options, counts = open_counted
        world, how = options["world"], {"grow": ("window",), "chunks": CHUNKS}
        for label in before:
            aggrade.append(dataset_of(label), STORE, **how, storage_options=open_world(world))
        rehearsal = Numbered()
        aggrade.append(
            dataset_of("c", windows=5), STORE, **how, storage_options=open_world(world.copy(), rehearsal)
        )
        start = f"PUT data/windows.zarr/{at}"
        place = 1 + next(i for i, kind in enumerate(rehearsal.kinds) if kind.startswith(start))
        with pytest.raises(Killed):
            aggrade.append(
                dataset_of("c", windows=5),
                STORE,
                **how,
                storage_options=open_world(world, DiesAt(world, place, after=True)),
            )
        lies = dict(world.objects)
        plan = aggrade.append(
            dataset_of("d", windows=windows), COUNTED, dry_run=True, **how, storage_options=options
        )
        assert world.objects == lies
        counts.clear()
        receipt = aggrade.append(dataset_of("d", windows=windows), COUNTED, **how, storage_options=options)
        assert plan.price.requests == {kind: counts[kind] for kind in plan.price.requests} == receipt.requests
        assert sum(plan.price.requests.values()) == sum(
            count for kind, count in counts.items() if kind.isupper()
        )
        assert plan.price.bytes_read == pytest.approx(counts["bytes_read"], rel=0.05)
        assert plan.price.bytes_written == pytest.approx(counts["bytes_written"], rel=0.05)

    @pytest.mark.parametrize("at", ["zarr.json", ".aggrade/receipts/", ".aggrade/layers/", "label/zarr.json"])
    def test_behind_a_dead_writer_of_a_catalogue(self, open_world, open_counted, at):
        """Whoever finishes a commit tells the catalogue of it first: what was read of that before is read again."""
        options, counts = open_counted
        world, how = options["world"], {"grow": ("window",), "chunks": CHUNKS}
        root, rehearsal = "world://data", Numbered()
        aggrade.append(dataset_of("a"), root, **how, storage_options=open_world(world))
        aggrade.append(
            dataset_of("c", windows=5), root, **how, storage_options=open_world(world.copy(), rehearsal)
        )
        start = f"PUT data/windows.zarr/{at}"
        dying = DiesAt(
            world, 1 + next(i for i, one in enumerate(rehearsal.kinds) if one.startswith(start)), after=True
        )
        with pytest.raises(Killed):
            aggrade.append(dataset_of("c", windows=5), root, **how, storage_options=open_world(world, dying))
        how |= {"storage_options": options}
        plan = aggrade.append(dataset_of("d", windows=4), "counted://data", dry_run=True, **how)
        counts.clear()
        receipt = aggrade.append(dataset_of("d", windows=4), "counted://data", **how)
        sent = {kind: count for kind, count in counts.items() if kind.isupper() and count}
        assert plan.price.requests == sent == receipt.requests
        assert plan.price.bytes_read == pytest.approx(counts["bytes_read"], rel=0.05)
        assert plan.price.bytes_written == pytest.approx(counts["bytes_written"], rel=0.05)
        assert set(aggrade.read_catalogue("counted://data", storage_options=options)["session"]) == {*"acd"}

    @pytest.mark.parametrize("seed", range(3))
    def test_over_what_restores_gave_up(self, open_counted, seed):
        """Chunks that a session covers since a restore gave them up are in the price, in requests and bytes."""
        options, counts = open_counted
        random, how = Random(seed), {"grow": ("window",), "chunks": CHUNKS, "storage_options": options}
        undone = [aggrade.append(dataset_of("first", windows=2), COUNTED, **how)]
        covered = 0
        for turn in range(12):
            labels = [f"{turn} {i}" for i in range(random.randint(1, 6))]
            dataset = dataset_of(*labels, windows=random.choice([1, 2, 4, 7, 9]))
            plan = aggrade.append(dataset, COUNTED, dry_run=True, **how)
            counts.clear()
            undone.append(aggrade.append(dataset, COUNTED, **how))
            sent = {kind: counts[kind] for kind in plan.price.requests}
            assert plan.price.requests == sent == undone[-1].requests
            assert plan.price.bytes_written == pytest.approx(counts["bytes_written"], rel=0.05)
            assert plan.price.bytes_read == counts["bytes_read"]
            covered += sent.get("LIST", 0)
            if random.random() < 0.5:
                aggrade.restore(COUNTED, undone[-1].backup, storage_options=options)
        assert covered
        assert aggrade.verify(COUNTED, storage_options=options).ok

    def test_short_sessions_where_wide_ones_were_undone(self, run, open_world, world):
        """What lies beyond stays two regions for each array, however many sessions follow."""
        run(dataset_of("first", windows=1))
        wide, *_ = [run(dataset_of(*(f"wide {i}" for i in range(30)), windows=7))[1]]
        aggrade.restore(STORE, wide.backup, storage_options=open_world(world))
        prices = []
        for i in range(25):
            plan, _, sent = run(dataset_of(f"short {i}", windows=1))
            assert plan.price.requests == sent
            prices.append(sent["LIST"])
        assert max(prices) == prices[0]
        intent = MemoryStorage(world, "data/windows.zarr").read(".aggrade/intent.json")
        regions = Intent.model_validate_json(intent.data).dirty
        assert len(regions) <= 2 * len({region.variable for region in regions})

    def test_bytes(self, open_counted):
        """What the dry run says of bytes is within a twentieth of what is sent and received, whatever is appended."""
        options, counts = open_counted
        turns = [("a",), ("b",), ("c", "d", "e"), ("f",), ("g",)]
        for windows, labels in zip([3, 7, 1, 9, 300], turns, strict=True):
            dataset = dataset_of(*labels, windows=windows)
            how = {"grow": ("window",), "chunks": CHUNKS, "storage_options": options}
            plan = aggrade.append(dataset, COUNTED, dry_run=True, **how)
            counts.clear()
            aggrade.append(dataset, COUNTED, **how)
            assert plan.price.weighed
            assert plan.price.bytes_written == pytest.approx(counts["bytes_written"], rel=0.05)
            assert plan.price.bytes_read == counts["bytes_read"]

    def test_bytes_without_a_dry_run(self):
        """Where nothing was encoded, values count before compression, and the price says so."""
        plan = plan_of("c", snapshot=snapshot_of(2))
        assert not plan.price.weighed
        assert "before compression" in str(plan.price)
        longer = plan_of("c", snapshot=snapshot_of(2, 300), windows=300)
        assert longer.price.bytes_written - plan.price.bytes_written > 297 * 2 * 5 * 4

    def test_memory_does_not_grow_with_the_layer(self):
        """A session is streamed: ten times as long, it needs no more memory."""
        prices = [plan_append(**huge_session(windows)).price for windows in (10_000, 100_000)]
        assert prices[0].peak_memory == prices[1].peak_memory < 256 << 20
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
        """Requests and memory depend on the layer, not on the store; bytes but for the digits of its sizes."""
        prices = [plan_of("x", snapshot=snapshot_of(n)).price for n in (5, 41, 4001, 400_001)]
        first = prices[0]
        for price in prices:
            assert price.bytes_written == pytest.approx(first.bytes_written, rel=0.05)
            assert price.model_copy(update={"bytes_written": first.bytes_written}) == first

    def test_a_hundred_thousand_sessions_with_their_records(self, open_world):
        """Whatever lies there, an append sends the same requests and what is asked for arrives."""
        world = World()
        storage, hooks = MemoryStorage(world, "data/windows.zarr"), Numbered()
        how = {"grow": ("window",), "chunks": {**CHUNKS, "session": 4096}}
        aggrade.append(dataset_of("a", "b"), STORE, **how, storage_options=open_world(world))
        counts = []
        for size in (10, 1_000, 100_000):
            grow_directly(storage, size)
            hooks.kinds.clear()
            receipt = aggrade.append(
                dataset_of(f"at {size}"), STORE, **how, storage_options=open_world(world, hooks)
            )
            assert receipt.layers == {f"at {size}": size}
            counts.append(Counter(kind.split()[0] for kind in hooks.kinds))
        assert counts[0] == counts[1] == counts[2]
        assert sum("/layers/" in key for key in world.objects) == 100_001
