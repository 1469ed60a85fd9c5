"""Removals and restores are rehearsed: their prices are what they send."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections import Counter

import pytest
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World
from storage_conformance import StorageConformance
from undo_prices import CASES, Data

from aggrade.storage import OPENERS, ConditionFailed, bare
from aggrade.storage.counting import Counted, requests_in
from aggrade.storage.rehearsing import Rehearsal

ROOT = "world://data"
LONG = {
    "remove with copies and staging",
    "remove with backups after restores",
    "remove of a store of its own",
    "restore of two removes",
    "restore of a full backup",
    "restore of a store by itself",
}


@pytest.fixture
def world():
    """Return an empty world."""
    return World()


@pytest.fixture
def counts(monkeypatch, world):
    """Make ``world://`` URLs lead to the world and count what is sent there; no heartbeat comes in between."""
    counts = Counter()

    def opener(url, options):
        storage = MemoryStorage(
            options.get("world", world), url.removeprefix("world://"), options.get("hooks")
        )
        return Counted(storage, counts)

    monkeypatch.setitem(OPENERS, "world", opener)
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "500")
    return counts


def assert_priced(run, world, counts):
    """Assert that an operation sends what its dry run says, which writes nothing itself."""
    before = dict(world.objects)
    counts.clear()
    plan = run(True)
    assert world.objects == before
    assert requests_in(counts).keys() <= {"GET", "HEAD", "LIST"}
    counts.clear()
    run(False)
    price = plan.price
    assert price.requests == requests_in(counts)
    assert price.bytes_written == pytest.approx(counts["bytes_written"], rel=0.05)
    assert price.bytes_read == pytest.approx(counts["bytes_read"], rel=0.05)
    assert price.weighed
    assert price.peak_memory > 0


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.long if case in LONG else ()) for case in CASES]
)
def test_the_price_is_what_is_sent(case, world, counts):
    """A dry run says how many requests of each kind are sent, and within 5 % how many bytes."""
    assert_priced(CASES[case](Data(ROOT, {})), world, counts)


def test_after_a_writer_that_died(world, counts):
    """What it takes to finish what a dead writer left is in the price of the removal that does it."""
    data, numbered = Data(ROOT, {}), Numbered()
    data.grown()
    Data(ROOT, {"world": world.copy(), "hooks": numbered}).append("e", seed=7)
    place = 1 + numbered.kinds.index("PUT data/windows.zarr/zarr.json")
    with pytest.raises(Killed):
        Data(ROOT, {"hooks": DiesAt(world, place, after=True)}).append("e", seed=7)
    assert_priced(data.to_remove("b"), world, counts)


@pytest.mark.usefixtures("counts")
def test_nobody_is_waited_for(world, monkeypatch):
    """Of a restore whose store somebody else holds, the dry run tells at once what it costs when he is gone."""
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("waited"))
    data, numbered = Data(ROOT, {}), Numbered()
    backup = data.grown()[1]
    Data(ROOT, {"world": world.copy(), "hooks": numbered}).append("e", seed=7)
    place = 1 + numbered.kinds.index("PUT data/windows.zarr/zarr.json")
    with pytest.raises(Killed):
        Data(ROOT, {"hooks": DiesAt(world, place, after=False)}).append("e", seed=7)
    key = "data/windows.zarr/.aggrade/intent.json"
    told, mark = world.objects[key]
    intent = json.loads(told)
    intent["owner"]["host"] = "another machine"
    world.objects[key] = json.dumps(intent).encode(), mark
    assert data.to_restore(backup)(True).price.requests["HEAD"] > 500 / 4
    assert json.loads(world.objects[key][0])["state"] == "held"


class TestContract(StorageConformance):
    """To whom it is shown, a rehearsal is a storage like any other."""

    @pytest.fixture
    def storage(self, tmp_path):
        """Return a rehearsal over an empty folder."""
        with Rehearsal() as rehearsal:
            yield rehearsal.open(str(tmp_path / "some" / "folder"))

    @pytest.fixture
    def raw(self, storage):
        """Return the same: what is rehearsed lies nowhere else."""
        return storage

    def test_pickles(self, storage):
        """It does not: another process would go on with a rehearsal of its own, uncounted."""
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(storage)


@pytest.fixture
def rehearsal():
    """Return a rehearsal."""
    with Rehearsal() as rehearsal:
        yield rehearsal


class TestOverAStore:
    """What lies there is seen, and is not touched."""

    @pytest.fixture
    def below(self):
        """Return a storage of three objects."""
        storage = MemoryStorage(World(), "s.zarr")
        for name in ("a/1", "a/2", "b"):
            storage.write(name, name.encode())
        return storage

    def test_changes_are_seen_and_not_made(self, below, rehearsal):
        """Replaced, deleted, discarded, copied, created: the rehearsal shows it, the store doesn't."""
        before = dict(below.world.objects)
        storage = rehearsal.within(below)
        storage.write("b", b"new", replacing=storage.read("b").etag)
        storage.copy("a/1", "c/1")
        storage.delete(["a/1"])
        assert storage.discard("a/2", storage.stat("a/2").etag)
        storage.write("d", bytes(1 << 20))
        assert {info.key: info.size for info in storage.list()} == {"b": 3, "c/1": 3, "d": 1 << 20}
        assert storage.read("c/1").data == b"a/1"
        assert storage.read("b").data == b"new"
        assert storage.read("d").data == bytes(1 << 20)
        assert storage.read("a/1") is None
        assert below.world.objects == before

    def test_conditions_hold(self, below, rehearsal):
        """What lies in the store keeps a creation from happening, and an old mark a replacement."""
        storage = rehearsal.within(below)
        for replacing in (None, "an older mark"):
            with pytest.raises(ConditionFailed):
                storage.write("b", b"new", replacing=replacing)
        with pytest.raises(ConditionFailed):
            storage.write("missing", b"new", replacing="a mark")

    def test_there_is_no_way_past_it(self, below, rehearsal):
        """Who looks for the storage below finds the rehearsal."""
        storage = rehearsal.within(below)
        assert bare(Counted(storage)) is storage
        above, name = storage.above()
        assert above.is_rehearsed
        assert above.within(name).is_rehearsed

    def test_a_transfer_is_not_fetched(self, rehearsal):
        """Its sizes are counted, and only who reads it afterwards fetches it."""
        numbered, world = Numbered(), World()
        MemoryStorage(world, "s").write("large", bytes(1000))
        storage = rehearsal.within(MemoryStorage(world, "s", numbered))
        storage.transfer("new", storage, "large", replacing=None, more=16)
        assert not [kind for kind in numbered.kinds if kind.startswith("GET")]
        assert rehearsal.price().bytes_read == 1000
        assert rehearsal.price().bytes_written == 1016
        assert storage.read("new").data == bytes(1000)

    def test_a_bucket_lists_and_deletes_many_at_once(self, below, rehearsal):
        """Where a request lists or deletes so many, they are counted as such."""
        below.at_once = 2
        storage = rehearsal.within(below)
        storage.delete([info.key for info in storage.list()])
        assert rehearsal.price().requests == {"LIST": 2, "DELETE": 2}


@pytest.mark.long
@pytest.mark.parametrize("case", ["remove of one of several", "restore of a remove"])
def test_memory_is_within_the_price(case, tmp_path):
    """What a removal or a restore of large objects takes beyond small ones is within the price, and not far below it."""
    CASES[case](Data(str(tmp_path / "small"), {}))(False)
    data = Data(str(tmp_path / "large"), {}, {"channels": 64, "samples": 8000})
    run = CASES[case](data)
    plan = run(True)
    tracemalloc.start()
    try:
        run(False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < plan.price.peak_memory + (8 << 20)
    assert plan.price.peak_memory < 4 * peak
