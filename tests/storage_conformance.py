"""What every kind of storage must do: subclass `StorageConformance` and give it two instances of one storage.

The state is set up and looked at through a second instance, so that nothing an instance remembers can pass for
what is stored.
"""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggrade.errors import BadInput, Damaged
from aggrade.storage import ConditionFailed, ObjectInfo, Storage

ODD_KEYS = [
    "with space/and more",
    "hash#1",
    "query?x=1&y=2",
    "percent%20literal",
    "plus+sign",
    "tïlde~ünï/ключ/鍵",
    "quote'\"s",
    "colon:semi;comma,at@",
    "c/0/0/-1",
    "trailing.",
    ".hidden/zarr.json",
    "a=1/b=2/part-0.parquet",
    "[brackets]{braces}<angles>|pipe^caret`tick",
]


class StorageConformance:
    """The contract of `aggrade.storage.Storage`, one claim per test.

    Clients that race write bytes that were never there before: where a mark is a hash of the content, writing
    the same bytes again leaves the mark as it is, and a second client succeeds by right.
    """

    rounds = 5

    @pytest.fixture
    def storage(self):
        """Return the storage under test, empty."""
        raise NotImplementedError

    @pytest.fixture
    def raw(self, storage):
        """Return a second instance of the same storage."""
        return pickle.loads(pickle.dumps(storage))

    def test_is_a_storage(self, storage):
        """An instance has every method of the protocol."""
        assert isinstance(storage, Storage)

    def test_reads_back_what_was_written(self, storage, raw):
        """What is written is read back byte for byte, with the mark that writing returned."""
        info = raw.write("a/b", b"\x00some\xffbytes")
        found = storage.read("a/b")
        assert found.data == b"\x00some\xffbytes"
        assert found.etag == info.etag == storage.stat("a/b").etag
        assert info == ObjectInfo("a/b", 11, found.etag)

    def test_empty_object(self, storage, raw):
        """An object of no bytes is an object."""
        raw.write("empty", b"")
        assert storage.read("empty").data == b""
        assert storage.read("empty", start=-8).data == b""
        assert storage.stat("empty").size == 0

    def test_several_mebibytes(self, storage, raw):
        """An object larger than any buffer survives."""
        data = bytes(range(256)) * (20 << 10)
        raw.write("large", data)
        assert storage.read("large").data == data
        assert storage.read("large", start=3 << 20, stop=(3 << 20) + 5).data == data[:5]

    @pytest.mark.parametrize("key", ["missing", "a/missing", "a/b/missing", "a"])
    def test_absence(self, storage, raw, key):
        """What is not there is None, below an object and at a folder's name too."""
        raw.write("a/b", b"x")
        assert storage.read(key) is None
        assert storage.read(key, start=-4) is None
        assert storage.stat(key) is None

    @pytest.mark.parametrize(
        "span",
        [
            (0, 4),
            (3, 7),
            (0, None),
            (7, None),
            (-4, None),
            (-99, None),
            (5, 99),
            (10, 12),
            (99, None),
            (4, 4),
        ],
    )
    @pytest.mark.parametrize("more", [(-6, -2), (2, -2), (0, 0), (-3, 2)])
    def test_ranges_are_slices(self, storage, raw, span, more):
        """A range gives what a slice of the bytes gives, whatever its ends."""
        raw.write("k", b"0123456789")
        for start, stop in (span, more):
            found = storage.read("k", start=start, stop=stop)
            assert found.data == b"0123456789"[start:stop]
            assert found.etag == raw.stat("k").etag

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_keys_are_names_not_urls(self, storage, raw, key):
        """A key with odd characters is written, listed, copied, replaced and deleted under exactly that name."""
        info = raw.write(key, b"1")
        assert storage.read(key).data == b"1"
        assert [found.key for found in storage.list()] == [key]
        assert storage.copy(key, key + "-copy") == raw.stat(key + "-copy").etag
        raw.write(key, b"22", replacing=info.etag)
        assert {found.key: found.size for found in storage.list()} == {key: 2, key + "-copy": 1}
        storage.delete([key, key + "-copy"])
        assert list(raw.list()) == []

    @pytest.mark.parametrize(
        "key",
        ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "..", ".", "a\0b", "a\\b", "\ud800", "x" * 1025],
    )
    def test_refuses_other_names(self, storage, key):
        """A key that would leave the folder, or that some store cannot hold, is refused by every method."""
        for call in (
            lambda: storage.read(key),
            lambda: storage.stat(key),
            lambda: storage.write(key, b""),
            lambda: storage.copy(key, "target"),
            lambda: storage.copy("source", key),
            lambda: storage.delete([key]),
        ):
            with pytest.raises(BadInput) as caught:
                call()
            assert caught.value.code == "key"
        assert list(storage.list()) == []

    @pytest.mark.parametrize("prefix", ["/", "a//", "../", "a/../b", "./", "a/.."])
    def test_refuses_other_prefixes(self, storage, prefix):
        """A prefix that leads out of the folder is refused."""
        with pytest.raises(BadInput):
            list(storage.list(prefix))

    def test_create_only(self, storage, raw):
        """Creating fails where something is, and leaves it as it was."""
        first = raw.write("k", b"first")
        with pytest.raises(ConditionFailed) as caught:
            storage.write("k", b"second")
        assert caught.value.code == "condition-failed"
        assert raw.read("k").data == b"first"
        assert raw.stat("k") == first

    def test_compare_and_swap(self, storage, raw):
        """Replacing succeeds for who knows the mark, and for nobody with an older one."""
        first = raw.write("k", b"first")
        second = storage.write("k", b"second", replacing=first.etag)
        assert second.etag != first.etag
        with pytest.raises(ConditionFailed):
            storage.write("k", b"third", replacing=first.etag)
        assert raw.read("k").data == b"second"
        assert raw.stat("k") == second

    @pytest.mark.parametrize("key", ["missing", "folder/missing", "folder"])
    def test_compare_and_swap_of_nothing(self, storage, raw, key):
        """Replacing what is not there fails and creates nothing."""
        etag = raw.write("folder/k", b"x").etag
        with pytest.raises(ConditionFailed):
            storage.write(key, b"y", replacing=etag)
        assert [found.key for found in raw.list()] == ["folder/k"]

    def test_one_creator_wins(self, storage):
        """Of eight who create one key at once, exactly one succeeds, and its bytes are the object's."""
        for turn in range(self.rounds):
            winners = race(8, lambda number, key=f"k{turn}": storage.write(key, bytes([number]) * 1000))
            assert len(winners) == 1
            assert storage.read(f"k{turn}").data == bytes([winners[0]]) * 1000

    def test_one_swapper_wins(self, storage):
        """Of six who replace one object at once, exactly one succeeds, round after round."""
        etag = storage.write("k", b"").etag
        for turn in range(self.rounds):

            def swap(number, etag=etag, turn=turn):
                storage.write("k", bytes([turn, number]) * 1000, replacing=etag)

            winners = race(6, swap)
            assert len(winners) == 1
            found = storage.read("k")
            assert found.data == bytes([turn, winners[0]]) * 1000
            etag = found.etag

    def test_no_increment_is_lost(self, storage):
        """Four clients that each add one five times by compare-and-swap reach twenty."""
        storage.write("count", b"0")

        def add_five(_):
            for _ in range(5):
                while True:
                    found = storage.read("count")
                    try:
                        storage.write("count", b"%d" % (int(found.data) + 1), replacing=found.etag)
                    except ConditionFailed:
                        continue
                    break

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add_five, range(4)))
        assert storage.read("count").data == b"20"

    def test_no_torn_reads(self, storage):
        """A reader sees one of the objects whole while they are replaced."""
        etag = storage.write("k", b"\0" * 300_000).etag
        stop, torn = threading.Event(), []

        def look():
            while not stop.is_set():
                data = storage.read("k").data
                if len(data) != 300_000 or len(set(data)) != 1:
                    torn.append(len(data))

        reader = threading.Thread(target=look)
        reader.start()
        for number in range(1, 20):
            etag = storage.write("k", bytes([number]) * 300_000, replacing=etag).etag
        stop.set()
        reader.join()
        assert torn == []

    def test_copy(self, storage, raw):
        """A copy holds the source's bytes and stays when the source changes."""
        info = raw.write("source/k", b"old")
        copied = storage.copy("source/k", "backup/of/k")
        raw.write("source/k", b"new", replacing=info.etag)
        assert raw.read("backup/of/k").data == b"old"
        assert raw.stat("backup/of/k").etag == copied

    def test_copy_of_nothing(self, storage, raw):
        """Copying what is not there says so and makes nothing."""
        with pytest.raises(Damaged) as caught:
            storage.copy("missing", "target")
        assert caught.value.code == "object-missing"
        assert raw.stat("target") is None

    def test_copy_twice(self, storage, raw):
        """A copy that is there already counts as made; other bytes in its place are left alone."""
        info = raw.write("k", b"one")
        assert storage.copy("k", "backup") == storage.copy("k", "backup")
        raw.write("k", b"two", replacing=info.etag)
        with pytest.raises(ConditionFailed):
            storage.copy("k", "backup")
        assert raw.read("backup").data == b"one"

    def test_copy_of_what_goes(self, storage, raw):
        """A copy of an object that bears the mark it must bear outlives it; made twice it is one, and replaces nothing."""
        info = raw.write("source/k", b"bytes")
        made = [storage.copy("source/k", "new/folder/k", unchanged=info.etag) for _ in range(2)]
        assert [raw.stat("new/folder/k").etag] * 2 == made
        raw.write("taken", b"other")
        with pytest.raises(ConditionFailed):
            storage.copy("source/k", "taken", unchanged=info.etag)
        storage.delete(["source/k"])
        assert (raw.read("new/folder/k").data, raw.read("taken").data) == (b"bytes", b"other")

    def test_copy_of_what_has_changed(self, storage, raw):
        """An object that bears another mark than it must is not copied."""
        info = raw.write("k", b"one")
        raw.write("k", b"two", replacing=info.etag)
        with pytest.raises(Damaged) as caught:
            storage.copy("k", "copy", unchanged=info.etag)
        assert caught.value.code == "object-missing"
        assert raw.stat("copy") is None

    def test_delete(self, storage, raw):
        """Deleting takes exactly the named objects; what is not there counts as deleted."""
        for key in ("a/1", "a/2", "b", "ab"):
            raw.write(key, b"x")
        storage.delete(["a/1", "b", "missing", "a/missing/deep", "a"])
        assert [found.key for found in raw.list()] == ["a/2", "ab"]
        storage.delete([])
        storage.delete(iter(["a/2", "ab"]))
        assert list(raw.list()) == []

    def test_discard(self, storage, raw):
        """An object goes if it still bears the mark that is named; another one stays."""
        old = raw.write("a/k", b"old")
        new = raw.write("a/k", b"newer", replacing=old.etag)
        assert not storage.discard("a/k", old.etag)
        assert raw.stat("a/k") == new
        assert storage.discard("a/k", new.etag)
        assert raw.read("a/k") is None
        assert not storage.discard("a/k", new.etag)
        assert not storage.discard("missing/k", new.etag)

    def test_delete_many(self, storage, raw):
        """More objects than one request may name are deleted."""
        keys = [f"c/{number:04d}" for number in range(60)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda key: raw.write(key, b""), keys))
        storage.delete(keys + [f"none/{number}" for number in range(1000)])
        assert list(raw.list()) == []

    def test_deleted_names_are_free(self, storage, raw):
        """After a deletion a name can be created again, and the old mark opens nothing."""
        old = raw.write("a/k", b"old")
        storage.delete(["a/k"])
        new = storage.write("a/k", b"longer")
        with pytest.raises(ConditionFailed):
            raw.write("a/k", b"x", replacing=old.etag)
        assert raw.read("a/k").data == b"longer"
        assert raw.stat("a/k") == new

    def test_lists_in_the_order_of_keys(self, storage, raw):
        """Listing sorts by the bytes of whole keys, where '-' comes before the slash of a folder."""
        keys = ["a/z", "a-b", "a!/x", "a0", "B", "é/1", "z", "a/b/c", "a/b-c", "ab"]
        for key in keys:
            raw.write(key, key.encode())
        found = list(storage.list())
        assert [info.key for info in found] == sorted(keys, key=lambda key: key.encode())
        assert all(info.size == len(info.key.encode()) for info in found)
        assert all(info == raw.stat(info.key) for info in found)

    @pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "a/b/", "a-", "x", "a/b/c/d", "é", "B"])
    def test_lists_by_prefix(self, storage, raw, prefix):
        """A prefix selects keys that start with it, in the middle of a name too."""
        keys = ["a/z", "a-b", "a/b/c", "a/b-c", "ab", "B", "é/1"]
        for key in keys:
            raw.write(key, b"")
        expected = sorted((key for key in keys if key.startswith(prefix)), key=lambda key: key.encode())
        assert [info.key for info in storage.list(prefix)] == expected

    def test_lists_nothing(self, storage):
        """An empty storage lists nothing, at any prefix."""
        assert list(storage.list()) == list(storage.list("a/b")) == []
        assert storage.folders() == storage.folders("a/b") == []

    def test_folders(self, storage, raw):
        """Folders are the names that have objects below them, sorted, and no objects."""
        for key in ("b/1", "a b/c/2", "ä/3", "file", "b-1/x", "a b/d"):
            raw.write(key, b"")
        assert storage.folders() == ["a b", "b", "b-1", "ä"]
        assert storage.folders("a b") == storage.folders("a b/") == ["c"]
        assert storage.folders("file") == []

    def test_within(self, storage, raw):
        """The storage of a folder sees the folder's objects under their own names, and shares their marks."""
        inner = storage.within("store.zarr/eeg")
        info = inner.write("c/0", b"x")
        raw.write("store.zarr/eeg2/c", b"")
        assert raw.stat("store.zarr/eeg/c/0").etag == info.etag
        assert [found.key for found in inner.list()] == ["c/0"]
        assert inner.url.endswith("store.zarr/eeg")
        assert storage.within("store.zarr").folders() == ["eeg", "eeg2"]
        for path in ("..", "a/../b", ""):
            with pytest.raises(BadInput):
                storage.within(path)

    def test_above(self, storage):
        """The storage above is the one that `within` came from."""
        above, name = storage.within("store.zarr").within("eeg").above()
        assert name == "eeg"
        assert above.url == storage.within("store.zarr").url
        assert above.within(name).url == storage.within("store.zarr/eeg").url

    def test_views_exclude_each_other(self, storage):
        """Storages opened at different heights of one tree compete for one object."""
        views = [(storage, "a/b/k"), (storage.within("a"), "b/k"), (storage.within("a/b"), "k")]
        etag = storage.write("a/b/k", b"").etag
        for turn in range(self.rounds):

            def swap(number, etag=etag, turn=turn):
                view, key = views[number % 3]
                view.write(key, bytes([turn, number]), replacing=etag)

            assert len(race(6, swap)) == 1
            etag = storage.stat("a/b/k").etag

    def test_pickles(self, storage, raw):
        """A copy that went through pickle sees the same objects."""
        storage.write("k", b"x")
        assert raw.read("k").data == b"x"
        assert raw.url == storage.url
        assert pickle.loads(pickle.dumps(storage.within("a"))).url == storage.within("a").url


def race(clients, write):
    """Let `clients` threads call ``write(number)`` at once; return the numbers of those that succeeded."""
    gate, winners = threading.Barrier(clients), []

    def run(number):
        gate.wait()
        try:
            write(number)
        except ConditionFailed:
            return
        winners.append(number)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(run, range(clients)))
    return winners
