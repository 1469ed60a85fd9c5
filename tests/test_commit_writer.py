"""Writing chunks on condition: published rows stay, left-overs never get in, nobody's object is overwritten."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_arrays import random_values
from make_documents import make_document
from memory_storage import Hooks, MemoryStorage, Numbered, World
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from aggrade.commit.documents import key_of, resized, units_in
from aggrade.commit.writer import Writer, WrittenObject, write_object
from aggrade.errors import Conflict
from aggrade.storage.local import LocalStorage

quick = settings(deadline=None, max_examples=30)


@pytest.fixture
def storage():
    """Return an empty storage."""
    return MemoryStorage(World(), "s.zarr")


def seen(storage, document, name="x"):
    """Return what plain zarr reads of an array of that document."""
    held = {info.key: Buffer.from_bytes(storage.read(info.key).data) for info in storage.list(f"{name}/")}
    held[f"{name}/zarr.json"] = Buffer.from_bytes(json.dumps(document).encode())
    return zarr.open_array(MemoryStore(held), path=name, mode="r")[...]


def put(storage, document, values):
    """Write a whole array as some earlier commit did, every chunk of it."""
    memory = {"x/zarr.json": Buffer.from_bytes(json.dumps(document).encode())}
    array = zarr.open_array(MemoryStore(memory), path="x", mode="r+")
    array.with_config({"write_empty_chunks": True})[...] = values
    for key, data in memory.items():
        if not key.endswith("zarr.json"):
            found = storage.stat(key)
            storage.write(key, data.to_bytes(), replacing=found.etag if found else None)


def etags(storage):
    """Return the mark of everything that lies there, as a transaction knows them."""
    return {info.key: info.etag for info in storage.list()}


def slices(*bounds):
    """Return a region."""
    return tuple(slice(*pair) for pair in bounds)


class TestNew:
    """Keys that nobody has written."""

    @pytest.mark.parametrize("dtype", ["f4", "i2", "?", "c8", str])
    @pytest.mark.parametrize("shards", [None, (4, 6)])
    def test_values_come_back(self, storage, dtype, shards):
        """Plain zarr reads what was written, NaN, infinities and text included."""
        document = make_document((5, 7), (2, 3), shards, dtype=dtype)
        values = random_values((5, 7), dtype)
        Writer(storage, {"x": document}, {}, {}).write("x", slices((0, 5), (0, 7)), values)
        np.testing.assert_array_equal(seen(storage, document), values)

    def test_every_object_is_reported_as_it_lies_there(self, storage):
        """Key, size, mark and digest are those of the object that the store holds."""
        document = make_document((4, 4), (2, 2))
        written = Writer(storage, {"x": document}, {}, {}).write(
            "x", slices((0, 4), (0, 4)), random_values((4, 4), "f4")
        )
        assert sorted(item.key for item in written) == sorted(info.key for info in storage.list())
        for item in written:
            data = storage.read(item.key).data
            assert item == WrittenObject(
                item.key, len(data), storage.stat(item.key).etag, hashlib.sha256(data).hexdigest()
            )

    def test_fill_is_written_too(self, storage):
        """An all-fill chunk is an object: a missing one is never taken for fill."""
        document = make_document((4, 4), (2, 2))
        written = Writer(storage, {"x": document}, {}, {}).write(
            "x", slices((0, 4), (0, 4)), np.zeros((4, 4), "f4")
        )
        assert len(written) == 4
        assert len(list(storage.list("x/c/"))) == 4

    def test_a_part_of_a_chunk_is_completed_with_fill(self, storage):
        """Where nothing was published, the rest of a chunk is fill."""
        document = make_document((6,), (4,), fill_value=-7, dtype="i4")
        Writer(storage, {"x": document}, {}, {}).write("x", slices((1, 3)), np.array([5, 6], "i4"))
        assert seen(storage, document).tolist() == [-7, 5, 6, -7, -7, -7]

    def test_a_scalar(self, storage):
        """An array without dimensions is one object."""
        document = make_document((), ())
        (item,) = Writer(storage, {"x": document}, {}, {}).write("x", (), np.array(2.5, "f4"))
        assert item.key == "x/c"
        assert seen(storage, document) == 2.5

    def test_nothing_costs_nothing(self, storage):
        """An empty region writes no object."""
        document = make_document((4, 0), (2, 2))
        assert (
            Writer(storage, {"x": document}, {}, {}).write(
                "x", slices((0, 4), (0, 0)), np.zeros((4, 0), "f4")
            )
            == []
        )
        assert not list(storage.list())

    def test_one_request_for_each_object(self):
        """A new chunk is one conditional write and nothing else."""
        hooks = Numbered()
        storage = MemoryStorage(World(), "s.zarr", hooks)
        document = make_document((4,), (2,))
        Writer(storage, {"x": document}, {}, {}).write("x", slices((0, 4)), np.ones(4, "f4"))
        assert sorted(hooks.kinds) == ["PUT s.zarr/x/c/0", "PUT s.zarr/x/c/1"]


class TestShared:
    """Chunks that hold published rows too."""

    @quick
    @given(st.data())
    def test_published_rows_stay_and_left_overs_never_get_in(self, data):
        """Of any shape, chunk and region: published elements as they were, new ones as given, fill elsewhere.

        What a dead writer left beyond the published shape lies in the same chunks and is nowhere to be seen.
        """
        axes = data.draw(st.integers(1, 2))
        chunks = [data.draw(st.integers(1, 4)) for _ in range(axes)]
        before = [data.draw(st.integers(1, 6)) for _ in range(axes)]
        after = [size + data.draw(st.integers(0, 4)) for size in before]
        after[0] += 1
        shards = [chunk * 2 for chunk in chunks] if data.draw(st.booleans()) else None
        document = make_document(after, chunks, shards, fill_value=-1.0)
        storage = MemoryStorage(World(), "s.zarr")
        left = random_values(after, "f4", seed=1)
        put(storage, document, left)
        rows = (before[0], after[0])
        region = slices(rows, *[(0, data.draw(st.integers(1, size))) for size in after[1:]])
        values = random_values([part.stop - part.start for part in region], "f4", seed=2)
        published = {"x": resized(document, {f"d{i}": n for i, n in enumerate(before)})}
        writer = Writer(storage, {"x": document}, published, etags(storage))
        written = writer.write("x", region, values)
        expected = np.full(after, -1.0, "f4")
        old = tuple(slice(0, size) for size in before)
        expected[old] = left[old]
        expected[region] = values
        found = seen(storage, document)
        touched = {item.key for item in written}
        for index in units_in(document, tuple((0, size) for size in after)):
            if key_of("x", document, index) in touched:
                unit = tuple(slice(i * u, (i + 1) * u) for i, u in zip(index, shards or chunks, strict=True))
                np.testing.assert_array_equal(found[unit], expected[unit])

    def test_the_base_of_a_replacement_is_what_was_read_under_the_intent(self, storage):
        """If somebody replaced the chunk since, it is not overwritten."""
        document = make_document((4,), (4,))
        put(storage, document, np.arange(4, dtype="f4"))
        writer = Writer(storage, {"x": document}, {"x": resized(document, {"d0": 2})}, etags(storage))
        put(storage, document, np.full(4, 9, "f4"))
        with pytest.raises(Conflict, match="run it again") as caught:
            writer.write("x", slices((2, 4)), np.ones(2, "f4"))
        assert caught.value.code == "key-taken"
        assert seen(storage, document).tolist() == [9, 9, 9, 9]

    def test_rows_that_were_held_are_not_read_again(self):
        """What the transaction read for the backup serves as the base."""
        hooks = Numbered()
        storage = MemoryStorage(World(), "s.zarr", hooks)
        document = make_document((4,), (4,))
        put(storage, document, np.arange(4, dtype="f4"))
        held = {"x/c/0": storage.read("x/c/0").data}
        writer = Writer(
            storage, {"x": document}, {"x": resized(document, {"d0": 2})}, etags(storage), held=held
        )
        hooks.kinds.clear()
        writer.write("x", slices((2, 4)), np.ones(2, "f4"))
        assert hooks.kinds == ["PUT s.zarr/x/c/0"]
        assert seen(storage, document).tolist() == [0, 1, 1, 1]

    def test_a_missing_published_chunk_is_fill(self, storage):
        """Other tools leave all-fill chunks out; their rows stay fill."""
        document = make_document((4,), (4,), fill_value=3.0)
        writer = Writer(storage, {"x": document}, {"x": resized(document, {"d0": 2})}, {})
        writer.write("x", slices((2, 4)), np.ones(2, "f4"))
        assert seen(storage, document).tolist() == [3, 3, 1, 1]

    def test_keys_of_another_encoding_have_no_published_rows(self, storage):
        """An array that moves to other keys is written anew, from values and fill alone."""
        document = make_document((4,), (4,))
        put(storage, document, np.full(4, 9, "f4"))
        other = {**document, "chunk_key_encoding": {"name": "v2"}}
        writer = Writer(storage, {"x": other}, {"x": document}, {})
        assert [item.key for item in writer.write("x", slices((2, 4)), np.ones(2, "f4"))] == ["x/0"]
        assert seen(storage, other).tolist() == [0, 0, 1, 1]

    def test_every_replacement_has_bytes_of_its_own(self, storage):
        """Writing back the same values in another generation is another object."""
        document = make_document((4,), (4,))
        put(storage, document, np.arange(4, dtype="f4"))
        versions = {storage.read("x/c/0").data}
        for generation in (1, 2):
            writer = Writer(storage, {"x": document}, {}, etags(storage), generation)
            writer.write("x", slices((0, 4)), np.arange(4, dtype="f4"))
            versions.add(storage.read("x/c/0").data)
            assert seen(storage, document).tolist() == [0, 1, 2, 3]
        assert len(versions) == 3


class TestRebuild:
    """A chunk that a commit doesn't write, but shows more of."""

    def test_published_rows_and_fill(self, storage):
        """What a dead writer left in a tail chunk is gone after it."""
        document = make_document((4, 3), (4, 3), fill_value=-1.0)
        left = np.arange(12, dtype="f4").reshape(4, 3)
        put(storage, document, left)
        writer = Writer(
            storage, {"x": document}, {"x": resized(document, {"d0": 2, "d1": 2})}, etags(storage)
        )
        (item,) = writer.rebuild("x", (0, 0))
        expected = np.full((4, 3), -1.0)
        expected[:2, :2] = left[:2, :2]
        assert item.key == "x/c/0/0"
        np.testing.assert_array_equal(seen(storage, document), expected)

    def test_text(self, storage):
        """Text is filled with the empty string."""
        document = make_document((3,), (4,), dtype=str)
        put(storage, document, np.array(["a", "b", "c"], np.dtypes.StringDType()))
        Writer(storage, {"x": document}, {"x": resized(document, {"d0": 1})}, etags(storage)).rebuild(
            "x", (0,)
        )
        assert seen(storage, document).tolist() == ["a", "", ""]

    def test_where_nothing_lies_it_is_created(self, storage):
        """A dirty key may be empty: a late create then fails."""
        document = make_document((4,), (2,))
        Writer(storage, {"x": document}, {}, {}).rebuild("x", (1,))
        assert [info.key for info in storage.list()] == ["x/c/1"]


class TestOthers:
    """Objects of other writers."""

    def test_a_foreign_object_is_not_overwritten(self, storage):
        """Where the intent knows of no object, one that lies there is somebody else's."""
        document = make_document((2,), (2,))
        storage.write("x/c/0", b"theirs")
        with pytest.raises(Conflict, match="an object that somebody else wrote"):
            Writer(storage, {"x": document}, {}, {}).write("x", slices((0, 2)), np.ones(2, "f4"))
        assert storage.read("x/c/0").data == b"theirs"

    def test_the_same_bytes_are_success(self, storage):
        """A create that got through although its reply was lost is found and counted."""
        document = make_document((2,), (2,))
        writer = Writer(storage, {"x": document}, {}, {})
        first = writer.write("x", slices((0, 2)), np.ones(2, "f4"))
        assert writer.write("x", slices((0, 2)), np.ones(2, "f4")) == first

    def test_a_left_over_is_replaced_by_its_mark(self, storage):
        """What lies in a dirty region gives way, if it is still what was seen there."""
        document = make_document((2,), (2,))
        storage.write("x/c/0", b"left by a dead writer")
        Writer(storage, {"x": document}, {}, etags(storage)).write("x", slices((0, 2)), np.ones(2, "f4"))
        assert seen(storage, document).tolist() == [1, 1]

    def test_a_left_over_that_changed_stays(self, storage):
        """If a sleeper wrote it again meanwhile, the mark is another one and so is the writer's fate."""
        document = make_document((2,), (2,))
        storage.write("x/c/0", b"left")
        writer = Writer(storage, {"x": document}, {}, etags(storage))
        storage.write("x/c/0", b"again", replacing=storage.stat("x/c/0").etag)
        with pytest.raises(Conflict):
            writer.write("x", slices((0, 2)), np.ones(2, "f4"))
        assert storage.read("x/c/0").data == b"again"

    def test_a_twin_stays_untouched(self, storage):
        """What the same commit left before it died is kept where it is right: no second write."""
        document = make_document((2,), (2,))
        Writer(storage, {"x": document}, {}, {}).write("x", slices((0, 2)), np.ones(2, "f4"))
        before = storage.stat("x/c/0").etag
        writer = Writer(storage, {"x": document}, {}, etags(storage), 5, frozenset({"x/c/0"}))
        (item,) = writer.write("x", slices((0, 2)), np.ones(2, "f4"))
        assert item.etag == storage.stat("x/c/0").etag == before

    def test_a_wrong_twin_is_replaced(self, storage):
        """What should be the same and isn't (another version of a codec, say) gives way."""
        document = make_document((2,), (2,))
        put(storage, document, np.full(2, 9, "f4"))
        writer = Writer(storage, {"x": document}, {}, etags(storage), 5, frozenset({"x/c/0"}))
        writer.write("x", slices((0, 2)), np.ones(2, "f4"))
        assert seen(storage, document).tolist() == [1, 1]

    @pytest.mark.parametrize("replacing", [None, "no such mark"])
    def test_one_object(self, storage, replacing):
        """`write_object` fails on another object and takes its own for success."""
        storage.write("k", b"theirs")
        with pytest.raises(Conflict, match="somebody else"):
            write_object(storage, "k", b"mine", replacing)
        assert write_object(storage, "k", b"theirs", replacing).etag == storage.stat("k").etag

    def test_one_object_that_vanished(self, storage):
        """To replace an object that is gone is a conflict too."""
        with pytest.raises(Conflict):
            write_object(storage, "k", b"mine", "1")
        assert storage.stat("k") is None


class Slow(Hooks):
    """Requests for all chunks but the first take a while, unless they are let go."""

    def __init__(self):
        self.let_go, self.begun, self.ended = threading.Event(), 0, 0

    def before(self, kind, key):
        """Hold a write back."""
        if kind == "PUT" and not key.endswith("c/0"):
            self.begun += 1
            self.let_go.wait(0.5)
            self.ended += 1


def test_nothing_is_under_way_once_it_has_failed():
    """Where one chunk of a region meets somebody else's, no other one is still to be written when that is told."""
    world, hooks = World(), Slow()
    document = make_document((8,), (2,))
    MemoryStorage(world, "s.zarr").write("x/c/0", b"somebody else's")
    writer = Writer(MemoryStorage(world, "s.zarr", hooks), {"x": document}, {}, {})
    with pytest.raises(Conflict):
        writer.write("x", slices((0, 8)), np.ones(8, "f4"))
    there = set(world.objects)
    assert hooks.begun == hooks.ended
    hooks.let_go.set()
    assert set(world.objects) == there


class TestElsewhere:
    """A writer in other threads and processes."""

    def test_it_pickles(self, tmp_path):
        """A copy that was sent to another process writes on the same conditions."""
        disk = LocalStorage(str(tmp_path / "s.zarr"))
        document = make_document((6,), (4,))
        put(disk, document, np.arange(6, dtype="f4"))
        published = {"x": resized(document, {"d0": 3})}
        held = {"x/c/0": disk.read("x/c/0").data}
        writer = Writer(disk, {"x": document}, published, etags(disk), 3, held=held)
        copy = pickle.loads(pickle.dumps(writer))
        copy.write("x", slices((3, 6)), np.full(3, 7, "f4"))
        assert seen(disk, document).tolist() == [0, 1, 2, 7, 7, 7]
        with pytest.raises(Conflict):
            writer.write("x", slices((3, 6)), np.full(3, 8, "f4"))

    def test_its_pickle_is_small(self, tmp_path):
        """What it holds in memory stays behind, however large the published chunks are."""
        document = make_document((4,), (4,))
        held = {"x/c/0": bytes(1 << 20)}
        writer = Writer(LocalStorage(str(tmp_path)), {"x": document}, {}, {}, held=held)
        assert len(pickle.dumps(writer)) < 10_000

    def test_threads_share_it(self, storage):
        """Blocks of whole chunks can be written at the same time through one writer."""
        document = make_document((8, 8), (2, 8))
        values = random_values((8, 8), "f4")
        writer = Writer(storage, {"x": document}, {}, {})

        def write(row):
            return writer.write("x", slices((row, row + 2), (0, 8)), values[row : row + 2])

        with ThreadPoolExecutor(4) as pool:
            written = [item for items in pool.map(write, range(0, 8, 2)) for item in items]
        assert sorted(item.key for item in written) == [f"x/c/{i}/0" for i in range(4)]
        np.testing.assert_array_equal(seen(storage, document), values)
