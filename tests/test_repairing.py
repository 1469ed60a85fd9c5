"""`verify --repair`: each damage is made by hand, named, mended, and the data are equal to before; or it is left."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
import xarray as xr
from make_datasets import CHUNKS, make_session
from make_traces import traces
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.commit import Target, backups_beside, find_layer, find_receipt, read_intent, read_snapshot
from aggrade.commit.intent import INTENT, Owner
from aggrade.commit.layers import layer_key
from aggrade.commit.publishing import document_bytes
from aggrade.commit.snapshot import root_bytes
from aggrade.errors import Refused
from aggrade.orphans import find_orphans
from aggrade.repairing import repair
from aggrade.staging import Staged, is_staged, stage
from aggrade.storage import OPENERS
from aggrade.storage.probe import Probe
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

ROOT = "world://data"
SESSIONS = [make_session(f"s{i}", windows, i) for i, windows in enumerate([3, 7, 2])]
NEXT = make_session("next", 9, 5)


def shown(storage):
    """Return what a bare reader sees, loaded."""
    with xr.open_zarr(ReadStore(storage), consolidated=True, zarr_format=3, chunks=None) as opened:
        return opened.drop_attrs(deep=False).load()


@functools.cache
def base(open_world):
    """Make a store of three sessions; appends are slow, so each test gets a copy of what is made once."""
    world = World()
    for session in SESSIONS:
        options = open_world(world)
        aggrade.append(session, ROOT, grow=("window",), chunks=CHUNKS, storage_options=options)
    return world


class Store:
    """A store of three sessions, and ways to damage it."""

    def __init__(self, open_world):
        self.world, self.open = base(open_world).copy(), open_world
        self.options = open_world(self.world)
        self.storage = MemoryStorage(self.world, "data/windows.zarr")
        self.before = shown(self.storage)

    def verify(self):
        """Verify the dataset."""
        return aggrade.verify(ROOT, storage_options=self.options)

    def repair(self, hooks=None):
        """Repair the dataset."""
        return repair(ROOT, storage_options=self.open(self.world, hooks))

    def put(self, key, data):
        """Put an object where another one may lie, as nobody should."""
        self.world.objects[f"data/{key}"] = (data, self.world.mark(data))

    def keys(self):
        """Return the keys of the store."""
        return {info.key for info in self.storage.list()}

    def intent(self, **changes):
        """Change the intent by hand."""
        intent, _ = read_intent(self.storage)
        self.put(f"windows.zarr/{INTENT}", intent.model_copy(update=changes).model_dump_json().encode())

    def assert_equal(self):
        """Assert that the data are what they were."""
        xr.testing.assert_identical(shown(self.storage), self.before)


@pytest.fixture
def store(open_world):
    """Return a store of three sessions."""
    return Store(open_world)


def wrong_document(store):
    """Make an array's own document say other than the root."""
    document = read_snapshot(store.storage).documents["eeg"]
    store.put("windows.zarr/eeg/zarr.json", document_bytes({**document, "shape": [9, 9, 2, 5]}))
    return "eeg: its zarr.json is not what the root shows"


def another_arrays_document(store):
    """Put the document of an array of fewer dimensions where another's was."""
    document = read_snapshot(store.storage).documents["n_windows"]
    store.put("windows.zarr/eeg/zarr.json", document_bytes(document))
    return "eeg: its zarr.json is not what the root shows"


def document_of_more_dimensions(store):
    """Put the document of an array of more dimensions where another's was."""
    document = read_snapshot(store.storage).documents["eeg"]
    store.put("windows.zarr/n_windows/zarr.json", document_bytes(document))
    return "n_windows: its zarr.json is not what the root shows"


def missing_document(store):
    """Lose an array's own document."""
    store.storage.delete(["label/zarr.json"])
    return "label: its zarr.json"


def torn_document(store):
    """Tear an array's own document."""
    store.put("windows.zarr/label/zarr.json", b'{"shape": [3')
    return "label: its zarr.json"


def chunks_beyond(store):
    """Put chunks beyond the published shape, on no record; an empty one, too."""
    store.put("windows.zarr/eeg/c/7/0/0/0", b"left")
    store.put("windows.zarr/eeg/c/3/1/0/0", b"over")
    store.put("windows.zarr/session/c/9", b"")
    return "3 objects beyond what its root shows, such as eeg/c/3/1/0/0"


def open_intent(store):
    """Leave the intent of a writer that died."""
    store.intent(state="held", owner=Owner.here().model_copy(update={"started": "0"}))
    return "is not finished"


def record_of(store, label):
    """Return the key of a layer's record and the name of its receipt."""
    record = find_layer(store.storage, label)
    return layer_key(label), f".aggrade/receipts/{record.write_id}.json"


def missing_record(store):
    """Lose the record of a layer."""
    store.storage.delete([record_of(store, "s1")[0]])
    return "layer 's1' has no record"


def torn_record(store):
    """Tear the record of a layer."""
    store.put(f"windows.zarr/{record_of(store, 's1')[0]}", b'{"torn')
    return "not understood"


def missing_receipt(store):
    """Lose the receipt of a commit."""
    store.storage.delete([record_of(store, "s0")[1]])
    return "layer 's0' names receipt"


def torn_receipt(store):
    """Tear the receipt of a commit."""
    store.put(f"windows.zarr/{record_of(store, 's2')[1]}", b'{"torn')
    return "not understood"


SAFE = [
    wrong_document,
    another_arrays_document,
    document_of_more_dimensions,
    missing_document,
    torn_document,
    chunks_beyond,
    missing_record,
    torn_record,
    missing_receipt,
    torn_receipt,
    open_intent,
]


def recorded_left_overs(store):
    """Put a dead writer's chunk into a dirty region, beside those that are published."""
    store.intent(
        dirty=(target(store, "eeg", ((3, 4), (0, 9), (0, 2), (0, 5))), target(store, "n_windows", ((3, 4),)))
    )
    store.put("windows.zarr/eeg/c/3/4/0/0", b"left over")
    return "1 objects that dead writers left"


def dead_probe(store):
    """Leave what a killed probe of the server leaves."""
    store.put("windows.zarr/.aggrade/probe/ab/one", b"first")
    return "1 objects that a dead probe"


def unfinished_backup(store):
    """Leave a backup's archive without a manifest."""
    store.put("windows.zarr.backups/00000009-dead/objects.zip", b"PK")
    return "1 backups that were never finished, such as 00000009-dead"


HARMLESS = [recorded_left_overs, dead_probe, unfinished_backup]


def target(store, name, bounds):
    """Return a region of an array."""
    document = read_snapshot(store.storage).documents[name]
    unit = document["chunk_grid"]["configuration"]["chunk_shape"]
    encoding = document["chunk_key_encoding"]
    return Target(variable=name, bounds=bounds, unit=tuple(unit), key_encoding=encoding, content="some")


class TestSafe:
    """What is mended."""

    @pytest.mark.parametrize("damage", SAFE)
    def test_damage(self, store, damage):
        """Verify names it, repair mends it, verify is clean, the data are equal and the next append succeeds."""
        sentence = damage(store)
        assert any(sentence in problem for problem in store.verify().problems)
        repairs = store.repair()
        assert repairs.ok, str(repairs)
        assert repairs.done
        assert store.verify().ok
        assert store.verify().notes == ()
        store.assert_equal()
        aggrade.append(NEXT, ROOT, storage_options=store.options)
        assert store.verify().ok

    @pytest.mark.parametrize("mess", HARMLESS)
    def test_mess(self, store, mess):
        """What harms nobody is a note, which leaves the report ok; repair clears it away."""
        keys = store.keys()
        sentence = mess(store)
        report = store.verify()
        assert report.ok
        (note,) = report.notes
        assert sentence in note
        assert f"note: {note}" in str(report)
        assert store.repair().done
        assert store.verify().notes == ()
        assert store.keys() == keys
        store.assert_equal()
        aggrade.append(NEXT, ROOT, storage_options=store.options)
        assert store.verify().ok

    def test_everything_at_once(self, store):
        """All of it in one store is mended by one repair."""
        for damage in (*SAFE, *HARMLESS):
            if damage not in {torn_record, torn_receipt}:  # one is missing already, one is the dead writer's
                damage(store)
        repairs = store.repair()
        assert repairs.ok, str(repairs)
        assert repairs.report.notes == ()
        store.assert_equal()

    def test_a_sound_store_is_left_alone(self, store):
        """Nothing changes but the intent, which is taken and given back."""
        before = {key: value for key, value in store.world.objects.items() if INTENT not in key}
        repairs = store.repair()
        assert repairs.ok
        assert repairs.done == ()
        assert "nothing that is safe to mend" in str(repairs)
        assert {key: value for key, value in store.world.objects.items() if INTENT not in key} == before

    def test_twice_is_once(self, store):
        """A second repair finds nothing to do."""
        chunks_beyond(store)
        assert store.repair().done
        assert store.repair().done == ()

    def test_a_region_that_was_dirty_stays_on_record(self, store):
        """A sleeping writer may still write there; what it meant to write no longer counts as the same."""
        recorded_left_overs(store)
        store.repair()
        dirty = read_intent(store.storage)[0].dirty
        assert [region.variable for region in dirty] == ["eeg", "n_windows"]
        assert {region.content for region in dirty} == {""}


class TestBookkeeping:
    """Records and receipts that are made anew."""

    @pytest.mark.parametrize("damage", [missing_record, torn_record])
    def test_a_record_says_what_it_said(self, store, damage):
        """It is the one that was lost, so the same layer again is a no-op and other content is refused."""
        before = find_layer(store.storage, "s1")
        damage(store)
        store.repair()
        after = find_layer(store.storage, "s1")
        assert after.model_copy(update={"targets": before.targets}) == before
        assert {key for one in after.targets for key in one.objects()} == {
            key for one in before.targets for key in one.objects()
        }
        same = aggrade.append(SESSIONS[1], ROOT, storage_options=store.options)
        assert same.write_id == before.write_id
        with pytest.raises(Refused):
            aggrade.append(make_session("s1", 3, 8), ROOT, storage_options=store.options)

    def test_a_receipt_says_who_brought_what(self, store):
        """What is proven is in it again; what it cost is gone."""
        before = find_receipt(store.storage, find_layer(store.storage, "s0").write_id)
        missing_receipt(store)
        store.repair()
        after = find_receipt(store.storage, before.write_id)
        kept = ("kind", "store", "write_id", "generation", "dim", "layers", "digests")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        assert after.details == {"completed_by": "repair"}

    @pytest.mark.parametrize("key", ["eeg/c/1/2/0/0", "n_windows/c/0"])
    @pytest.mark.parametrize("damage", [missing_record, torn_record])
    def test_no_record_without_proof(self, store, damage, key):
        """Where the content is not what the receipt says, nothing is made anew."""
        damage(store)
        store.put(f"windows.zarr/{key}", b"?")
        assert not any("record" in sentence for sentence in store.repair().done)
        assert store.storage.read(layer_key("s1")) is None or damage is torn_record


class TestStaged:
    """Sessions that lie staged."""

    def test_one_that_has_landed_is_dropped(self, tmp_path):
        """The session lies in its store with the same content: nobody needs its staging store."""
        session = make_session("a", 2, 1)
        staged = stage(session, str(tmp_path), "one")
        aggrade.append(session, str(tmp_path), grow=("window",))
        report = aggrade.verify(str(tmp_path))
        assert report.ok
        assert "session 'a' is staged still, and lies in" in report.notes[0]
        assert "its session lies in" in repair(str(tmp_path)).done[0]
        assert not is_staged(staged)
        assert aggrade.verify(str(tmp_path)).notes == ()

    @pytest.mark.parametrize("other", [None, make_session("a", 2, 9)])
    def test_one_that_has_not_is_left_and_named(self, tmp_path, other):
        """Another content under the same name has not landed; whoever staged it may go on with it."""
        aggrade.append(make_session("b", 2, 3), str(tmp_path), grow=("window",))
        if other is not None:
            aggrade.append(other, str(tmp_path))
        staged: Staged = stage(make_session("a", 2, 1), str(tmp_path), "one")
        repairs = repair(str(tmp_path))
        assert repairs.done == ()
        assert "'a' is staged and has not landed; run the ingest again" in repairs.report.notes[0]
        assert is_staged(staged)

    def test_what_a_killed_run_left_is_dropped(self, tmp_path):
        """A staging store without root and without a writer is of use to nobody: named, then deleted, its folders too."""
        aggrade.append(make_session("b", 2, 3), str(tmp_path), grow=("window",))
        half = tmp_path / ".aggrade" / "staging" / "half.zarr" / "eeg"
        half.mkdir(parents=True)
        (half / "zarr.json").write_bytes(b"{}")
        (note,) = aggrade.verify(str(tmp_path)).notes
        assert "what a killed run left of a staged session; run verify --repair" in note
        repairs = repair(str(tmp_path))
        assert "a killed run had left it" in repairs.done[0]
        assert repairs.report.notes == ()
        assert not half.parent.exists()

    @pytest.mark.parametrize("torn", ["zarr.json", ".aggrade/intent.json"])
    def test_one_that_is_torn_is_left_and_named(self, tmp_path, torn):
        """What can't be read is not taken for what nobody needs."""
        aggrade.append(make_session("b", 2, 3), str(tmp_path), grow=("window",))
        stage(make_session("a", 2, 1), str(tmp_path), "one")
        store = tmp_path / ".aggrade" / "staging" / "one.zarr"
        (store / torn).write_bytes(b"{")
        assert "is staged and has not landed" in aggrade.verify(str(tmp_path)).notes[0]
        repairs = repair(str(tmp_path))
        assert repairs.report.ok
        assert (store / "eeg" / "zarr.json").exists()

    def test_one_that_somebody_stages_is_left(self, tmp_path):
        """While its intent is held, somebody is at work."""
        aggrade.append(make_session("b", 2, 3), str(tmp_path), grow=("window",))
        staged: Staged = stage(make_session("a", 2, 1), str(tmp_path), "one")
        store = tmp_path / ".aggrade" / "staging" / "one.zarr"
        intent = json.loads((store / ".aggrade" / "intent.json").read_text())
        (store / ".aggrade" / "intent.json").write_text(json.dumps(intent | {"state": "held"}))
        (store / "zarr.json").unlink()
        assert repair(str(tmp_path)).done == ()
        assert (store / ".aggrade" / "intent.json").exists()
        assert not is_staged(staged)

    def test_an_empty_folder_is_nothing(self, tmp_path):
        """Some servers list a folder some time after its last object."""
        aggrade.append(make_session("b", 2, 3), str(tmp_path), grow=("window",))
        (tmp_path / ".aggrade" / "staging" / "gone.zarr").mkdir(parents=True)
        assert aggrade.verify(str(tmp_path)).notes == ()


class TestPartialFiles:
    """What a killed writer leaves on a disk before it gives it a name."""

    def test_they_are_deleted_but_for_young_ones_beside_the_intent(self, tmp_path):
        """Others may be about to take the intent; anywhere else nobody writes while it is ours."""
        aggrade.append(make_session("b", 2, 3), str(tmp_path), grow=("window",))
        places = ["eeg/c", ".aggrade", ".aggrade/layers"]
        paths = [Path(tmp_path, "windows.zarr", place, ".aggrade-tmp-0123") for place in places]
        for path in paths:
            path.write_bytes(b"half")
        os.utime(paths[2], (0, 0))
        assert "2 files that were never published" in aggrade.verify(str(tmp_path)).notes[0]
        assert repair(str(tmp_path)).ok
        assert [path.exists() for path in paths] == [False, True, False]


def missing_chunk(store):
    """Lose a published chunk."""
    store.storage.delete(["eeg/c/1/2/0/0"])


def torn_chunk(store):
    """Put other bytes into a published chunk."""
    store.put("windows.zarr/eeg/c/0/1/0/0", b"?")


def torn_root(store):
    """Tear the root."""
    store.put("windows.zarr/zarr.json", b"{")


def no_root(store):
    """Lose the root."""
    store.storage.delete(["zarr.json"])


def torn_intent(store):
    """Tear the intent: somebody may be writing."""
    store.put(f"windows.zarr/{INTENT}", b"torn")
    chunks_beyond(store)


def living_writer(store):
    """Make the intent look as if somebody elsewhere were writing."""
    store.intent(state="held", lease_seconds=0.4, owner=Owner(host="h", boot="", process=1, started="1"))


def contradiction(store):
    """Make arrays of the root disagree about a length: what is beyond can't be told."""
    snapshot = read_snapshot(store.storage)
    documents = json.loads(json.dumps(snapshot.documents))
    documents["n_windows"]["shape"] = [2]
    store.put("windows.zarr/zarr.json", root_bytes(snapshot.attributes, documents))
    store.put("windows.zarr/eeg/c/7/0/0/0", b"left")


def foreign_rows(store):
    """Append as another program does that does not consolidate."""
    document = read_snapshot(store.storage).documents["eeg"]
    store.put(
        "windows.zarr/eeg/zarr.json", document_bytes({**document, "shape": [4, *document["shape"][1:]]})
    )
    store.put("windows.zarr/eeg/c/3/0/0/0", b"somebody's data")


def foreign_rows_in_a_shared_chunk(store):
    """Append as another program does, into a chunk that published rows share."""
    document = read_snapshot(store.storage).documents["n_windows"]
    assert document["shape"][0] % document["chunk_grid"]["configuration"]["chunk_shape"][0]
    store.put("windows.zarr/n_windows/zarr.json", document_bytes({**document, "shape": [4]}))


def foreign_array(store):
    """Add an array as another program does that does not consolidate."""
    store.put("windows.zarr/other/zarr.json", b"{}")
    store.put("windows.zarr/other/c/0", b"somebody's data")


class TestUnsafe:
    """What is left as it is, and named."""

    @pytest.mark.parametrize(
        "damage", [missing_chunk, torn_chunk, torn_root, no_root, torn_intent, contradiction, foreign_rows,
                   foreign_rows_in_a_shared_chunk, foreign_array]
    )  # fmt: skip
    def test_damage(self, store, damage):
        """Not a byte changes but for the intent's, and the report says what is wrong."""
        damage(store)
        before = {key: value for key, value in store.world.objects.items() if INTENT not in key}
        named = store.verify().problems
        repairs = store.repair()
        assert not repairs.ok
        assert repairs.done == ()
        assert repairs.report.problems == named
        assert {key: value for key, value in store.world.objects.items() if INTENT not in key} == before

    def test_a_living_writer_is_left_alone(self, store, monkeypatch):
        """While somebody holds the intent nothing is touched, whatever lies beyond the shape."""
        chunks_beyond(store)
        living_writer(store)
        moves = Numbered()
        moves.before = lambda *_: store.intent(beat=read_intent(store.storage)[0].beat + 1)
        monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "0.4")
        before = {key: value for key, value in store.world.objects.items() if INTENT not in key}
        assert not store.repair(moves).ok
        assert {key: value for key, value in store.world.objects.items() if INTENT not in key} == before

    def test_stray_files_are_notes(self, store):
        """What is no part of a store is named and left; a store of another tool may well hold such."""
        store.put("windows.zarr/README.txt", b"mine")
        store.put("windows.zarr/eeg/c/0/0/0/0.orig", b"mine")
        repairs = store.repair()
        assert repairs.ok
        assert "2 objects that belong to no array" in repairs.report.notes[0]
        assert {"README.txt", "eeg/c/0/0/0/0.orig"} <= store.keys()

    def test_where_deletes_are_blind_objects_are_emptied(self, store, monkeypatch):
        """On a server that ignores the condition of a DELETE nothing is deleted, and the next append succeeds."""
        chunks_beyond(store)
        store.intent(probe=Probe(*Blind.address, True, True, True, True, False))
        monkeypatch.setitem(
            OPENERS, "blind", lambda url, _: Blind(store.world, url.removeprefix("blind://"), None)
        )
        repairs = repair("blind://data")
        assert repairs.ok
        assert "3 objects that nothing claims are emptied; this server ignores" in repairs.done[0]
        assert store.storage.read("eeg/c/7/0/0/0").data == b""
        assert repair("blind://data").done == ()
        store.assert_equal()
        aggrade.append(NEXT, "blind://data")
        assert aggrade.verify("blind://data").ok


class Blind(MemoryStorage):
    """A server that deletes whatever it is told to."""

    address = ("http://server", "s3://bucket")

    def discard(self, key, etag):
        """Fail: nobody may rely on this."""
        pytest.fail(f"deleted {key} blindly, if it bears {etag}")

    def within(self, path):
        """See `Storage.within`."""
        return Blind(self.world, self._at(path), self.hooks)

    def above(self):
        """See `Storage.above`."""
        parent, name = super().above()
        return Blind(self.world, parent.prefix, self.hooks), name


class TestDies:
    """A repair that is killed."""

    @pytest.mark.parametrize(
        "step", [pytest.param(1, marks=pytest.mark.long), 4], ids=["every", "every fourth"]
    )
    @pytest.mark.parametrize("after", [False, True])
    def test_at_every_write(self, open_world, after, step):
        """The next repair makes it whole, the data are equal and the next append succeeds."""
        rehearsal = Store(open_world)
        prepare(rehearsal)
        hooks = Numbered()
        assert rehearsal.repair(hooks).ok
        writes = [n for n, kind in enumerate(hooks.kinds, 1) if not kind.startswith(("GET", "HEAD", "LIST"))]
        assert len(writes) > 10
        for place in writes[after::step]:
            store = Store(open_world)
            prepare(store)
            try:
                store.repair(DiesAt(store.world, place, after=after))
            except Killed:
                store.assert_equal()
            repairs = store.repair()
            assert repairs.ok, f"request {place}: {repairs}"
            assert repairs.report.notes == (), f"request {place}"
            store.assert_equal()
            aggrade.append(NEXT, ROOT, storage_options=store.options)
            assert store.verify().ok, f"request {place}"


def prepare(store):
    """Damage a store in several ways."""
    for damage in (chunks_beyond, recorded_left_overs, torn_document, unfinished_backup):
        damage(store)


class TestBesidePublishedRows:
    """What a dead writer put into objects that it shares with published rows."""

    @pytest.fixture(autouse=True)
    def died(self, store):
        """Have an append die before its root."""
        hooks = Numbered()
        self.append(store.world.copy(), store.open, hooks)
        place = hooks.kinds.index("PUT data/windows.zarr/zarr.json") + 1
        with pytest.raises(Killed):
            self.append(store.world, store.open, DiesAt(store.world, place, after=False))

    def append(self, world, opened, hooks):
        """Append a fourth session."""
        aggrade.append(NEXT, ROOT, grow=("window",), chunks=CHUNKS, storage_options=opened(world, hooks))

    def test_it_becomes_fill(self, store):
        """Its label is found nowhere any more; what is published stays, and the same session may come again."""
        found = traces(store.world.objects, NEXT, but="intent.json")
        assert "data/windows.zarr/session/c/0" in found
        assert any("beside published rows" in sentence for sentence in store.repair().done)
        assert traces(store.world.objects, NEXT) == []
        store.assert_equal()
        assert store.repair().done == ()
        self.append(store.world, store.open, None)
        assert shown(store.storage)["session"].values.tolist() == ["s0", "s1", "s2", "next"]
        assert store.verify().ok

    def test_rows_of_another_tool_are_left(self, store):
        """Where such a tool has made arrays longer without consolidating, its rows lie where left-overs may."""
        aggrade.recover(ROOT, storage_options=store.options)
        for name, document in read_snapshot(store.storage).documents.items():
            if document["dimension_names"][:1] == ["session"]:
                longer = {**document, "shape": [document["shape"][0] + 1, *document["shape"][1:]]}
                store.put(f"windows.zarr/{name}/zarr.json", document_bytes(longer))
        store.put("windows.zarr/eeg/c/3/0/0/0", b"its samples")
        before = {key: value for key, value in store.world.objects.items() if INTENT not in key}
        repairs = store.repair()
        assert not repairs.ok
        assert {key: value for key, value in store.world.objects.items() if INTENT not in key} == before

    def test_what_cannot_be_read_is_left(self, store):
        """It may be brought back from a backup: published rows are in it."""
        store.put("windows.zarr/n_windows/c/0", b"torn")
        assert not store.repair().ok
        assert store.world.objects["data/windows.zarr/n_windows/c/0"][0] == b"torn"


def test_a_published_chunk_in_a_dirty_region_is_no_orphan(store):
    """A region that a dead writer shared with published rows names their chunk, which stays."""
    recorded_left_overs(store)
    intent, _ = read_intent(store.storage)
    found = find_orphans(store.storage, read_snapshot(store.storage), intent.dirty)
    assert [info.key for info in found.left_over] == ["eeg/c/3/4/0/0"]
    assert backups_beside(store.storage).folders()
