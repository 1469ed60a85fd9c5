"""`verify` finds every kind of damage, and none where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from memory_storage import MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import find_layer, read_intent, read_snapshot
from aggrade.commit.chunks import Chunks
from aggrade.commit.intent import INTENT
from aggrade.commit.layers import keep_layer, layer_key
from aggrade.commit.publishing import document_bytes
from aggrade.commit.snapshot import root_bytes
from aggrade.damage import damage_of
from aggrade.errors import BadInput, Damaged
from aggrade.repairing import repair
from aggrade.storage import open_storage

__all__ = ["open_world"]

ROOT = "world://data"
SESSIONS = [make_session(f"s{i}", windows, i) for i, windows in enumerate([3, 7, 2])]


class Store:
    """A store of three sessions, and ways to damage it."""

    def __init__(self, open_world):
        self.world = World()
        self.options = open_world(self.world)
        for session in SESSIONS:
            aggrade.append(session, ROOT, grow=("window",), chunks=CHUNKS, storage_options=self.options)
        self.storage = MemoryStorage(self.world, "data/windows.zarr")

    def verify(self):
        """Verify the dataset."""
        return aggrade.verify(ROOT, storage_options=self.options)

    def put(self, key, data):
        """Put an object where another one may lie, as nobody should."""
        self.world.objects[f"data/windows.zarr/{key}"] = (data, self.world.mark(data))

    def get(self, key):
        """Return an object's bytes."""
        return self.world.objects[f"data/windows.zarr/{key}"][0]

    def root(self, change):
        """Change the root's attributes or documents."""
        snapshot = read_snapshot(self.storage)
        attributes, documents = json.loads(json.dumps([snapshot.attributes, snapshot.documents]))
        change(attributes, documents)
        self.put("zarr.json", root_bytes(attributes, documents))

    def found(self):
        """Return the one problem that is found."""
        report = self.verify()
        assert not report.ok
        (problem,) = report.problems
        return problem


@pytest.fixture
def store(open_world):
    """Return a store of three sessions."""
    return Store(open_world)


class TestSound:
    """No false alarm."""

    def test_a_store_of_sessions(self, store):
        """Nothing is wrong, and what was looked at is counted."""
        report = store.verify()
        assert report.ok
        assert report.problems == ()
        own = sum(-(-s.sizes["window"] // 2) for s in SESSIONS)
        channels = 1
        assert report.checked == {
            "stores": 1,
            "arrays": 8,
            "layers": 3,
            "objects": own + channels,
            "lines": 3,
            "backups": len(SESSIONS) - 1,
        }
        assert str(report).startswith("ok: checked 1 stores, 8 arrays, 3 layers")

    def test_after_a_replacement(self, store):
        """A row that was replaced is no layer that is there twice."""
        other = make_session("s1", 4, 9)
        aggrade.append(other, ROOT, on_conflict="replace", storage_options=store.options)
        assert store.verify().ok

    def test_of_lazy_packed_and_timed_values(self, open_world):
        """What is stored in another form than it was handed over in is verified as it lies there."""
        options = open_world(World())
        for hour in range(3):
            dataset = xr.Dataset(
                {
                    "v": (("time", "x"), np.array([[hour / 2, np.nan]]), {}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
                    "big": (("time", "x"), np.full((1, 2), hour, ">i4")),
                },
                {"time": np.array([f"2026-01-01T{hour:02}"], "M8[h]")},
            )  # fmt: skip
            aggrade.append(
                dataset.chunk(), "world://t.zarr", dim="time", chunks={"time": 1}, storage_options=options
            )
        report = aggrade.verify("world://t.zarr", storage_options=options)
        assert report.ok, str(report)
        assert report.checked["layers"] == 3

    def test_one_store_or_all_of_a_dataset(self, store):
        """A dataset root stands for every store in it."""
        for name in ("windows_for_training.zarr", "windows/2026-10.zarr"):
            aggrade.append(SESSIONS[0], f"world://data/{name}", storage_options=store.options)
        assert store.verify().checked["stores"] == 3
        one = aggrade.verify("world://data/windows.zarr", storage_options=store.options)
        assert one.checked["stores"] == 1

    def test_it_only_reads(self, store, open_world):
        """Verifying sends no write."""
        hooks = Numbered()
        aggrade.verify(ROOT, storage_options=open_world(store.world, hooks))
        assert {kind.split()[0] for kind in hooks.kinds} <= {"GET", "HEAD", "LIST"}

    def test_every_object_is_read_once(self, store, open_world):
        """Chunks are read for their bytes and for their content, and sent once, those of many layers too."""
        hooks = Numbered()
        aggrade.verify(ROOT, storage_options=open_world(store.world, hooks))
        chunks = [kind for kind in hooks.kinds if "/c/" in kind and "/session/" not in kind]
        assert len([kind for kind in chunks if "/eeg/c/" in kind]) == 7
        assert len(chunks) == len(set(chunks))


class TestObjects:
    """Chunks."""

    def test_one_that_is_missing(self, store):
        """A missing chunk is never taken for fill."""
        store.storage.delete(["eeg/c/1/2/0/0"])
        said = "layer 's1' misses 1 objects, such as eeg/c/1/2/0/0; remove it and append it anew"
        assert said in store.found()

    def test_what_is_said_to_help_does(self, tmp_path):
        """A layer whose chunk is lost is whole again once it was removed and appended anew; the others stay."""
        root, sessions = (
            str(tmp_path),
            [make_session(label, 2, seed) for seed, label in enumerate(("s1", "s2"))],
        )
        for session in sessions:
            aggrade.append(session, root, chunks=CHUNKS)
        lost = tmp_path / "windows.zarr/eeg/c/0/0/0/0"
        lost.unlink()
        assert not aggrade.verify(root).ok
        aggrade.append(sessions[0], root)
        assert not lost.exists()
        aggrade.remove(root, "s1")
        aggrade.append(sessions[0], root)
        assert aggrade.verify(root).ok
        assert_holds(aggrade.open_windows(root).load(), sessions[::-1])

    def test_one_byte_that_is_flipped(self, store):
        """Any byte of any chunk of its own."""
        data = bytearray(store.get("eeg/c/0/1/0/0"))
        data[len(data) // 2] ^= 1
        store.put("eeg/c/0/1/0/0", bytes(data))
        assert "layer 's0': its objects are not the bytes that were written" in store.found()

    def test_one_that_is_empty(self, store):
        """A torn object."""
        store.put("eeg/c/2/0/0/0", b"")
        assert "layer 's2'" in store.found()

    def test_two_that_changed_places(self, store):
        """Bytes that are right in the wrong place are wrong."""
        one, other = store.get("eeg/c/1/0/0/0"), store.get("eeg/c/1/1/0/0")
        store.put("eeg/c/1/0/0/0", other)
        store.put("eeg/c/1/1/0/0", one)
        assert "layer 's1': its objects are not the bytes" in store.found()

    def test_a_shared_one_with_other_values(self, store):
        """A chunk that layers share is verified by their content."""
        array = read_snapshot(store.storage).documents["n_windows"]
        other = World()
        written = MemoryStorage(other, "x")
        from aggrade.commit import Writer

        document = {**array, "shape": [4]}
        Writer(written, {"n_windows": document}, {}, {}).write(
            "n_windows", (slice(0, 4),), np.array([3, 8, 2, 0], "i4")
        )
        store.put("n_windows/c/0", written.read("n_windows/c/0").data)
        assert "layer 's1': its content is not what was appended" in store.found()

    def test_a_shared_one_that_is_missing(self, store):
        """Its rows are fill then, which isn't what was appended: each layer is named."""
        store.storage.delete(["n_windows/c/0"])
        assert len(store.verify().problems) == 3

    def test_a_shared_one_that_is_torn(self, store):
        """What can't be decoded is said, not raised."""
        store.put("window_start/c/0/0", b"torn")
        problems = store.verify().problems
        assert len(problems) == 3
        assert all("its content is not what was appended" in problem for problem in problems)

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (None, "1 objects are missing"),
            (b"?", "1 objects can't be decoded"),
            (["E1", "E0"], "1 objects are not the bytes that were written"),
        ],
    )
    def test_one_that_belongs_to_no_layer(self, store, data, said):
        """Channels and the like are no layer's; one that is missing is not taken for fill either."""
        store.storage.delete(["eeg_channel/c/0"])
        if isinstance(data, list):
            chunks = Chunks(read_snapshot(store.storage).documents["eeg_channel"])
            data = chunks.bytes_of(np.array(data, dtype=object))
        if data is not None:
            store.put("eeg_channel/c/0", data)
        assert f"windows.zarr/eeg_channel: {said}, such as eeg_channel/c/0; bring them back" in store.found()


class TestLaterGrowth:
    """A dimension that was declared to grow when layers lay there already."""

    @pytest.fixture
    def grown(self, open_world):
        """Return storage options of a store of sessions without `grow`, then of a longer one with it."""
        options = open_world(World())
        for session, how in zip(SESSIONS[:2], ({}, {"grow": "window"}), strict=True):
            aggrade.append(session, ROOT, chunks=CHUNKS, storage_options=options, **how)
        return options

    def test_is_no_damage(self, grown):
        """What was there before has the content that it had, whatever is longer now."""
        assert aggrade.verify(ROOT, storage_options=grown).problems == ()
        again = aggrade.append(SESSIONS[0], ROOT, grow="window", storage_options=grown)
        assert again.layers == {"s0": 0}

    def test_of_a_record_that_does_not_say_how_long_it_is(self, grown):
        """Records that say only what was declared to grow by then are read by where their objects lie."""
        storage = open_storage(f"{ROOT}/windows.zarr", grown)
        stored = storage.read(layer_key("s0"))
        record = {**json.loads(stored.data), "sizes": {}}
        storage.write(layer_key("s0"), json.dumps(record).encode(), replacing=stored.etag)
        assert aggrade.verify(ROOT, storage_options=grown).problems == ()

    def test_damage_is_still_found(self, grown):
        """A value of such a layer that changes is a change."""
        storage = open_storage(f"{ROOT}/windows.zarr", grown)
        stored = storage.read("window_start/c/0/0")
        storage.write("window_start/c/0/0", b"torn", replacing=stored.etag)
        problems = aggrade.verify(ROOT, storage_options=grown).problems
        assert any("layer 's0': its content is not what was appended" in problem for problem in problems)


class TestDocuments:
    """Metadata."""

    def test_an_array_document_that_differs(self, store):
        """Readers that open an array on its own would see another one than the root shows."""
        document = json.loads(store.get("eeg/zarr.json"))
        store.put("eeg/zarr.json", document_bytes({**document, "shape": [9, 9, 2, 5]}))
        assert "eeg: its zarr.json is not what the root shows" in store.found()

    def test_an_array_document_that_is_missing(self, store):
        """One that is gone as well."""
        store.storage.delete(["label/zarr.json"])
        assert "label: its zarr.json" in store.found()

    def test_an_array_document_that_is_torn(self, store):
        """What isn't JSON is said, not raised."""
        store.put("label/zarr.json", b'{"shape": [3')
        assert "label: its zarr.json" in store.found()

    def test_arrays_that_disagree_about_a_length(self, store):
        """A dimension is as long in one array as in another."""

        def longer(_, documents):
            documents["n_windows"]["shape"] = [4]

        store.root(longer)
        store.put("n_windows/zarr.json", document_bytes(read_snapshot(store.storage).documents["n_windows"]))
        assert "dimension 'session': found 3 in" in store.found()
        assert "and 4 in n_windows, expected one length in all arrays" in store.found()

    def test_a_root_that_is_torn(self, store):
        """A root that can't be read is the one problem."""
        store.put("zarr.json", b"{")
        assert "zarr.json: found no JSON" in store.found()

    def test_a_root_of_a_newer_aggrade(self, store):
        """What can't be understood can't be verified."""
        store.root(lambda attributes, _: attributes["aggrade"].update(format=2))
        assert "update aggrade" in store.found()

    def test_a_root_that_is_gone(self, store):
        """A store whose root isn't there has nothing to show: it had a root, or never had one."""
        store.storage.delete(["zarr.json"])
        assert "found no root, expected the root of generation 3 or later" in store.found()
        intent, etag = read_intent(store.storage)
        never = intent.model_copy(update={"generation": 0, "etags": {}})
        store.storage.write(INTENT, never.model_dump_json().encode(), replacing=etag)
        store.storage.delete([info.key for info in store.storage.list(".aggrade/layers/")])
        assert "there is no root; the first write never finished" in store.found()


class TestRecords:
    """Layers, records, receipts."""

    def test_a_record_without_a_row(self, store):
        """A layer that the store should have and doesn't."""
        record = find_layer(store.storage, "s1")
        keep_layer(store.storage, record.model_copy(update={"label": "ghost", "index": 7}))
        assert "the record of layer 'ghost' has no row" in store.found()

    def test_a_row_without_a_record(self, store):
        """A layer that would be appended a second time."""
        for info in store.storage.list(".aggrade/layers/"):
            if b'"s2"' in store.get(info.key):
                store.storage.delete([info.key])
        assert "layer 's2' has no record" in store.found()

    def test_records_that_changed_places(self, store):
        """Each speaks of the other's layer: neither is believed, and a repair makes both anew."""
        one, two = layer_key("s0"), layer_key("s2")
        first, second = store.get(one), store.get(two)
        store.put(one, second)
        store.put(two, first)
        assert sum("found the record of layer" in problem for problem in store.verify().problems) == 2
        other, how = make_session("s0", 3, 77), {"grow": ("window",), "on_conflict": "replace"}
        with pytest.raises(Damaged, match="record of layer 's2'"):
            aggrade.append(other, ROOT, **how, storage_options=store.options)
        repair(ROOT, storage_options=store.options)
        made = [json.loads(store.get(key)) for key in (one, two)]
        assert [each["label"] for each in made] == ["s0", "s2"]
        assert [each["digest"] for each in made] == [json.loads(each)["digest"] for each in (first, second)]
        assert store.verify().ok

    def test_a_record_that_points_elsewhere(self, store):
        """The row that a record names bears its label."""
        record = find_layer(store.storage, "s1")
        keep_layer(store.storage, record.model_copy(update={"index": 0, "generation": 3}))
        assert "layer 's1' is not at index 0" in store.found()

    def test_a_record_beyond_the_store(self, store):
        """So does one that names no row at all."""
        record = find_layer(store.storage, "s1")
        keep_layer(store.storage, record.model_copy(update={"index": 99, "generation": 3}))
        assert "layer 's1' is not at index 99" in store.found()

    def test_a_record_of_other_content(self, store):
        """The digest that a layer came with is that of what lies there."""
        record = find_layer(store.storage, "s1")
        keep_layer(store.storage, record.model_copy(update={"digest": "0" * 64, "generation": 3}))
        assert "layer 's1': its content is not what was appended" in store.found()

    def test_a_label_twice(self, store):
        """Each label once among the rows that count."""
        store.root(lambda attributes, _: attributes["aggrade"].update(superseded=[]))
        aggrade.append(make_session("s1", 4, 9), ROOT, on_conflict="replace", storage_options=store.options)
        store.root(lambda attributes, _: attributes["aggrade"].update(superseded=[]))
        changed, twice = store.verify().problems
        assert "attributes or arrays that somebody has changed" in changed
        assert "layer 's1' is there 2 times" in twice

    @pytest.mark.parametrize("folder", ["layers", "receipts"])
    def test_one_that_is_torn(self, store, folder):
        """A record or a receipt that can't be read is said; the others are verified all the same."""
        key = next(info.key for info in store.storage.list(f".aggrade/{folder}/"))
        store.put(key, b'{"torn')
        problems = store.verify().problems
        assert any(key in problem and "not understood" in problem for problem in problems)
        assert store.verify().checked["layers"] >= 2

    def test_labels_that_are_torn(self, store):
        """Labels that can't be decoded are said, not raised."""
        store.put("session/c/0", b"torn")
        assert "the labels of its layers can't be decoded" in store.found()

    def test_a_receipt_that_is_gone(self, store):
        """Every layer's receipt is there."""
        record = find_layer(store.storage, "s1")
        store.storage.delete([f".aggrade/receipts/{record.write_id}.json"])
        assert f"layer 's1' names receipt {record.write_id}, which is gone" in store.found()


class TestIntents:
    """Commits that are not finished."""

    def test_one_that_is_held(self, store):
        """Whoever verifies learns that somebody is at work, or was."""
        intent, etag = read_intent(store.storage)
        held = intent.model_copy(update={"state": "held"})
        store.storage.write(".aggrade/intent.json", held.model_dump_json().encode(), replacing=etag)
        assert f"(write {held.write_id}) is not finished; wait for it, or, if its process" in store.found()

    def test_one_cause_is_one_problem(self, store):
        """Where the first write is not finished there is no root, and that is no problem of its own."""
        intent, etag = read_intent(store.storage)
        held = intent.model_copy(update={"state": "held", "generation": 0, "etags": {}})
        store.storage.write(".aggrade/intent.json", held.model_dump_json().encode(), replacing=etag)
        store.storage.delete(["zarr.json"])
        assert "is not finished" in store.found()
        assert "there is no root" not in store.found()

    def test_an_error_takes_its_parts_from_the_sentence(self):
        """The place, what was found and the remedy of a sentence come apart; one without a remedy gets one."""
        told, plain = damage_of(
            ["s3://lab/a.zarr: 2 objects: gone; run it; again.", "s3://lab/a.zarr: torn."]
        )
        assert (told.where, told.found, told.fix) == ("s3://lab/a.zarr", "2 objects: gone; run it", "again")
        assert (plain.found, plain.fix) == ("torn", "restore a backup, or append the layer again")
        (once,) = damage_of(["a.zarr: found format 2, expected format 1; update aggrade."] * 2)
        assert (once.found, once.expected) == ("format 2", "format 1")

    def test_one_of_a_store_that_never_was(self, open_world):
        """A create that died is said."""
        world = World()
        storage = MemoryStorage(world, "data/windows.zarr")
        storage.write("eeg/c/0", b"?")
        report = aggrade.verify("world://data/windows.zarr", storage_options=open_world(world))
        assert "the first write never finished" in report.problems[0]

    @pytest.mark.parametrize("data", [b"torn", b'{"format":2}'])
    def test_one_that_cannot_be_read(self, store, data):
        """A torn intent, or one of a newer aggrade, is said, and the rest is verified all the same."""
        store.put(".aggrade/intent.json", data)
        assert "intent" in store.found()
        assert store.verify().checked["layers"] == 3


class TestOrphans:
    """Objects that nothing claims."""

    def test_a_chunk_beyond_the_shape(self, store):
        """It would be in the way of the next append; the sentence names it and the remedy."""
        store.put("eeg/c/7/0/0/0", b"?")
        assert store.found().endswith("such as eeg/c/7/0/0/0; aggrade verify --repair deletes them.")

    def test_an_array_that_the_root_does_not_know(self, store):
        """The consolidated metadata are stale: readers don't see it."""
        store.put("extra/zarr.json", b"{}")
        store.put("extra/c/0", b"?")
        assert "1 arrays that its root does not know, such as extra" in store.found()

    def test_what_a_writer_writes_meanwhile_is_none(self, store, open_world):
        """Chunks of a commit that goes on while the store is verified are no orphans."""

        class Meanwhile(Numbered):
            def before(self, kind, key):
                if kind == "LIST" and key == "data/windows.zarr":
                    store.put("eeg/c/3/0/0/0", b"?")
                    intent, etag = read_intent(store.storage)
                    held = intent.model_copy(update={"state": "held"}).model_dump_json().encode()
                    store.storage.write(".aggrade/intent.json", held, replacing=etag)

        report = aggrade.verify(ROOT, storage_options=open_world(store.world, Meanwhile()))
        assert report.ok, str(report)


class TestAll:
    """Everything at once."""

    def test_several_problems(self, store):
        """All are named in one report."""
        store.storage.delete(["eeg/c/1/2/0/0", "label/zarr.json"])
        store.put("eeg/c/0/1/0/0", b"?")
        report = store.verify()
        assert len(report.problems) == 3
        assert str(report).startswith("3 problems: checked")
        assert all(problem in str(report) for problem in report.problems)

    def test_no_store(self, open_world):
        """Where nothing lies, nothing is sound."""
        with pytest.raises(BadInput, match="no Zarr store"):
            aggrade.verify(ROOT, storage_options=open_world(World()))

    def test_a_report_is_a_value(self, store):
        """It survives JSON."""
        report = store.verify()
        assert type(report).model_validate_json(report.model_dump_json()) == report
