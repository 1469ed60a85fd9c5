"""Finishing what a dead holder began: forward if its root shows, back otherwise."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest
from make_commits import add_rows, assert_rows, open_world_store, plan_rows, write_rows
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, SleepsAt, World
from waiting import wait_until

from aggrade.clock import Clock
from aggrade.commit import (
    Intent,
    Transaction,
    find_layer,
    find_receipt,
    layers_of,
    read_intent,
    read_snapshot,
    recover_store,
)
from aggrade.commit.intent import INTENT, Journal, Owner, is_abandoned
from aggrade.commit.plan import Base, Target
from aggrade.commit.recovery import acquire, resolve
from aggrade.errors import Conflict, Damaged, Refused

ROOT = "PUT data/s.zarr/zarr.json"


@pytest.fixture
def storage():
    """Return the storage of a store that isn't there yet."""
    return open_world_store()


def die(storage, *labels, at=ROOT, after=False):
    """Have a writer of rows die at one of its requests; return the write id of its intent."""
    hooks = Numbered()
    add_rows(MemoryStorage(storage.world.copy(), storage.prefix, hooks), *labels)
    place = 1 + next(place for place, kind in enumerate(hooks.kinds) if kind.startswith(at))
    with pytest.raises(Killed):
        add_rows(
            MemoryStorage(storage.world, storage.prefix, DiesAt(storage.world, place, after=after)), *labels
        )
    return read_intent(storage)[0].write_id


def left(storage, **changes):
    """Leave an intent that a dead process of this machine held."""
    dead = Owner.here().model_copy(update={"started": "1"})
    values = {"state": "held", "write_id": "dead", "owner": dead, "lease_seconds": 600.0}
    intent = Intent(**{**values, **changes})
    found = read_intent(storage)
    storage.write(INTENT, intent.model_dump_json().encode(), replacing=found[1] if found else None)


def shapes(storage):
    """Return the shape of each array by its own document."""
    names = ("x", "total", "column")
    return {name: json.loads(storage.read(f"{name}/zarr.json").data)["shape"] for name in names}


class TestBack:
    """Commits that never showed."""

    @pytest.mark.parametrize("at", ["PUT data/s.zarr/x/c/", "PUT data/s.zarr/total/c", ROOT])
    @pytest.mark.parametrize("before", [(), ("a",)], ids=["create", "append"])
    def test_the_old_state_stays(self, storage, before, at):
        """Whatever was written before the switch is out of sight, and the intent is free."""
        if before:
            add_rows(storage, *before)
        write_id = die(storage, "left", at=at)
        receipt = recover_store(storage)
        assert (receipt.kind, receipt.details) == ("recover", {"rolled": "back", "what": "append"})
        assert (receipt.write_id, receipt.layers) == (write_id, {})
        assert_rows(storage, *before)
        assert read_intent(storage)[0].state == "free"
        assert find_receipt(storage, write_id) is None
        assert find_layer(storage, "left") is None

    def test_nothing_is_deleted(self, storage):
        """Roll-back removes no object, neither the dead writer's nor anybody's."""
        add_rows(storage, "a")
        die(storage, "left")
        hooks = Numbered()
        before = {info.key for info in storage.list()}
        recover_store(MemoryStorage(storage.world, storage.prefix, hooks))
        assert not [kind for kind in hooks.kinds if kind.startswith(("DELETE", "COPY"))]
        assert before <= {info.key for info in storage.list()}

    def test_documents_are_as_they_were(self, storage):
        """Who opens one array by its own document sees no more than the root shows."""
        add_rows(storage, "a")
        die(storage, "left")
        assert shapes(storage) == {"x": [1, 3], "total": [1], "column": [3]}
        recover_store(storage)
        assert shapes(storage) == {"x": [1, 3], "total": [1], "column": [3]}

    def test_its_regions_are_on_record(self, storage):
        """What lies beyond the published shape is remembered as dirty, with what it was meant to be."""
        add_rows(storage, "a")
        plan = plan_rows(storage, "left")
        die(storage, "left")
        recover_store(storage)
        dirty = read_intent(storage)[0].dirty
        assert {(t.variable, t.bounds) for t in dirty} == {("x", ((1, 2), (0, 3))), ("total", ((1, 2),))}
        assert {t.content for t in dirty} == {plan.content}

    def test_the_root_is_fenced(self, storage):
        """The generation rises, so that the dead writer's own switch can never succeed, were it only asleep."""
        add_rows(storage, "a")
        write_id = die(storage, "left")
        before = read_snapshot(storage)
        recover_store(storage)
        after = read_snapshot(storage)
        assert after.generation == before.generation + 1
        assert after.etag != before.etag
        assert after.mark["fenced"] == write_id
        assert {**after.mark, "generation": 0, "write_id": "", "fenced": ""} == {
            **before.mark,
            "generation": 0,
            "write_id": "",
            "fenced": "",
        }

    def test_where_there_is_no_root_the_fence_makes_one(self, storage):
        """A paused creator must not publish over holes: its create-only switch meets a root."""
        die(storage, "left")
        recover_store(storage)
        snapshot = read_snapshot(storage)
        assert (snapshot.generation, snapshot.documents) == (1, {})
        add_rows(storage, "a")
        assert_rows(storage, "a")

    def test_a_void_intent_leaves_no_dirt(self, storage):
        """A writer that won its intent on a base that was gone by then wrote nothing, and nothing is recorded."""
        add_rows(storage, "a")
        plan = plan_rows(storage, "b")
        add_rows(storage, "c")
        journal = Journal(
            kind="append", dim="row", base=plan.base, targets=plan.targets(), layers=plan.layers
        )
        left(storage, journal=journal)
        recover_store(storage)
        assert read_intent(storage)[0].dirty == ()
        assert_rows(storage, "a", "c")

    @pytest.mark.parametrize("at", ["PUT data/s.zarr/x/c/", "PUT data/s.zarr/total/c", ROOT])
    def test_the_regions_of_a_copied_store_are_on_record(self, storage, at):
        """Where a store was copied with the intent in it, all marks are others: what was left is left there, too."""
        add_rows(storage, "a")
        die(storage, "left", at=at)
        storage.world.objects |= {
            key: (data, f"copied {mark}") for key, (data, mark) in storage.world.objects.items()
        }
        recover_store(storage)
        dirty = read_intent(storage)[0].dirty
        assert {(t.variable, t.bounds) for t in dirty} == {("x", ((1, 2), (0, 3))), ("total", ((1, 2),))}
        add_rows(storage, "b", "c")
        assert_rows(storage, "a", "b", "c")

    def test_older_dirt_is_kept(self, storage):
        """What earlier dead writers left stays on record."""
        older = Target(variable="x", bounds=((7, 9), (0, 3)), unit=(1, 3), key_encoding={"name": "default"})
        left(storage, journal=Journal(kind="append"), dirty=(older,))
        recover_store(storage)
        assert older in read_intent(storage)[0].dirty

    def test_without_a_journal(self, storage):
        """An intent that says nothing of what it was for is just freed."""
        add_rows(storage, "a")
        left(storage)
        assert recover_store(storage).details == {"rolled": "back", "what": "unknown"}
        assert_rows(storage, "a")


class TestForward:
    """Commits whose switch took effect."""

    @pytest.mark.parametrize(
        ("at", "after"),
        [
            (ROOT, True),
            ("PUT data/s.zarr/.aggrade/receipts/", False),
            ("PUT data/s.zarr/.aggrade/receipts/", True),
            ("PUT data/s.zarr/.aggrade/layers/", False),
            ("PUT data/s.zarr/.aggrade/layers/", True),
        ],
    )
    def test_receipt_and_records_are_completed(self, storage, at, after):
        """The new state stays, and what is known of it is what an undisturbed commit would have kept."""
        add_rows(storage, "a")
        twin = MemoryStorage(storage.world.copy(), storage.prefix)
        add_rows(twin, "b", "c")
        write_id = die(storage, "b", "c", at=at, after=after)
        receipt = recover_store(storage)
        assert (receipt.kind, receipt.details["rolled"]) == ("recover", "forward")
        assert receipt.layers == {"b": 1, "c": 2}
        assert_rows(storage, "a", "b", "c")
        kept = find_receipt(storage, write_id)
        assert (kept.kind, kept.layers, kept.generation) == ("append", {"b": 1, "c": 2}, 2)
        for mine, theirs in zip(layers_of(storage), layers_of(twin), strict=True):
            assert mine == theirs.model_copy(update={"write_id": mine.write_id})
        assert read_intent(storage)[0].state == "free"

    def test_documents_follow_the_root(self, storage):
        """What the dead writer had not written of the array documents is completed, and can be trusted later."""
        add_rows(storage, "a")
        die(storage, "b", "c", at=ROOT, after=True)
        assert shapes(storage) == {"x": [1, 3], "total": [1], "column": [3]}
        recover_store(storage)
        assert shapes(storage) == {"x": [3, 3], "total": [3], "column": [3]}
        marks = read_intent(storage)[0].etags
        assert marks == {key: storage.stat(key).etag for key in marks}
        assert set(marks) == {"x/zarr.json", "total/zarr.json", "column/zarr.json"}

    def test_the_root_is_not_fenced(self, storage):
        """Nobody's switch is under way any more: the generation stays."""
        die(storage, "a", at="PUT data/s.zarr/.aggrade/receipts/")
        before = read_snapshot(storage)
        recover_store(storage)
        assert read_snapshot(storage) == before

    def test_dirt_that_was_covered_is_forgotten(self, storage):
        """A later append finds a clean store."""
        die(storage, "x")
        recover_store(storage)
        assert read_intent(storage)[0].dirty
        die(storage, "a", at="PUT data/s.zarr/.aggrade/receipts/")
        recover_store(storage)
        assert read_intent(storage)[0].dirty == ()

    def test_a_chunk_that_is_missing(self, storage):
        """A commit that shows without its chunks is damage, and is said, not guessed away."""
        die(storage, "a", "b", at="PUT data/s.zarr/.aggrade/receipts/")
        storage.delete(["x/c/1/0"])
        with pytest.raises(
            Damaged, match="x/c/1/0: found no object, expected a chunk of layer 'b'"
        ) as caught:
            recover_store(storage)
        assert caught.value.code == "missing-chunk"


class TestDeadOrAlive:
    """Who is recovered, and who is left alone."""

    def test_nothing_to_recover(self, storage):
        """A new store, and one whose commits all ended, need nothing."""
        assert recover_store(storage) is None
        add_rows(storage, "a")
        before = dict(storage.world.objects)
        assert recover_store(storage) is None
        assert storage.world.objects == before

    def test_it_is_done_once(self, storage):
        """Recovering again finds nothing."""
        die(storage, "a")
        assert recover_store(storage) is not None
        assert recover_store(storage) is None

    def test_a_live_owner_is_left_alone(self, storage, monkeypatch):
        """A commit under way goes on undisturbed, however often recovery looks."""
        monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "6")
        with Transaction(storage, plan_rows(storage, "a")) as transaction:
            written = write_rows(transaction)
            assert recover_store(storage) is None
            transaction.publish(written)
        assert_rows(storage, "a")

    def test_of_two_that_recover_one_does_it(self, storage):
        """The take-over is a compare-and-swap."""
        add_rows(storage, "a")
        die(storage, "left")
        found = read_intent(storage)
        assert resolve(storage, *found) is not None
        assert resolve(storage, *found) is None
        assert read_snapshot(storage).generation == 2

    def test_recovery_that_dies_is_recovered(self, storage):
        """Whatever request of a recovery is its last, the next one finishes."""
        add_rows(storage, "a")
        die(storage, "left")
        hooks = Numbered()
        recover_store(MemoryStorage(storage.world.copy(), storage.prefix, hooks))
        for place in range(2, hooks.count + 1):
            world = storage.world.copy()
            with pytest.raises(Killed):
                recover_store(MemoryStorage(world, storage.prefix, DiesAt(world, place, after=False)))
            again = MemoryStorage(world, storage.prefix)
            recover_store(again)
            assert read_intent(again)[0].state == "free"
            add_rows(again, "b", "c")
            assert_rows(again, "a", "b", "c")

    def test_a_recovery_that_fails_leaves_the_intent_held(self, storage):
        """What could not be finished is there for the next one."""
        die(storage, "a", at="PUT data/s.zarr/.aggrade/receipts/")
        storage.delete(["x/c/0/0"])
        with pytest.raises(Damaged):
            recover_store(storage)
        assert read_intent(storage)[0].state == "held"

    def test_a_newer_format_is_not_taken_over(self, storage):
        """An older aggrade leaves the intent of a newer one as it is."""
        left(storage)
        newer = storage.read(INTENT).data.replace(b'"format":2', b'"format":3')
        storage.write(INTENT, newer, replacing=storage.stat(INTENT).etag)
        with pytest.raises(Refused, match="update aggrade"):
            recover_store(storage)
        assert storage.read(INTENT).data == newer

    def test_a_sleeper_cannot_publish_after_it(self, storage):
        """A writer that sleeps before its switch and wakes after the recovery changes nothing."""
        add_rows(storage, "a")
        with sleeping_before_its_switch(storage) as failures:
            assert recover_store(storage).details["rolled"] == "back"
        assert len(failures) == 1
        assert_rows(storage, "a")
        assert read_intent(storage)[0].state == "free"

    def test_a_sleeper_does_not_fence_its_successor(self, storage):
        """A writer that wakes after a successor's switch leaves the root alone, by which that commit is known."""
        add_rows(storage, "a")
        with sleeping_before_its_switch(storage) as failures:
            recover_store(storage)
            write_id = die(storage, "b", after=True)
        assert len(failures) == 1
        assert read_snapshot(storage).write_id == write_id
        assert recover_store(storage).details["rolled"] == "forward"
        assert find_layer(storage, "b") is not None
        assert_rows(storage, "a", "b")


@contextlib.contextmanager
def sleeping_before_its_switch(storage):
    """Have a writer of a row asleep before its switch for the length of the block; give what it fails with then."""
    hooks = Numbered()
    add_rows(MemoryStorage(storage.world.copy(), storage.prefix, hooks), "late")
    asleep = SleepsAt(storage.world, 1 + hooks.kinds.index(ROOT))
    failures = []

    def sleeper():
        try:
            add_rows(MemoryStorage(storage.world, storage.prefix, asleep), "late")
        except Conflict as error:
            failures.append(error)

    thread = threading.Thread(target=sleeper)
    thread.start()
    assert asleep.asleep.wait(60)
    yield failures
    asleep.woken.set()
    thread.join(60)


class TestAcquire:
    """Taking the intent."""

    def journal(self):
        """Return a journal."""
        return Journal(kind="append", base=Base(etag="1", generation=1))

    def taken(self, storage, write_id="w1"):
        """Take the intent, and end its heartbeat."""
        lease = acquire(storage, self.journal(), write_id)
        lease.stop()
        return lease

    def test_of_a_new_store(self, storage):
        """Where there has never been one, it is created."""
        assert self.taken(storage).intent == read_intent(storage)[0]
        assert read_intent(storage)[0].journal == self.journal()

    def test_dirt_and_marks_are_carried_over(self, storage):
        """What the last holder knew is known to the next."""
        dirty = Target(variable="x", bounds=((1, 2),), unit=(1,), key_encoding={"name": "default"})
        self.taken(storage).release(dirty=(dirty,), etags={"x/zarr.json": "7"})
        found = self.taken(storage, "w2").intent
        assert (found.dirty, found.etags) == ((dirty,), {"x/zarr.json": "7"})

    def test_a_dead_holder_is_recovered_first(self, storage):
        """Whoever wants to write finishes what lies in the way."""
        add_rows(storage, "a")
        die(storage, "left")
        assert self.taken(storage, "mine").intent.write_id == "mine"
        assert read_snapshot(storage).mark["fenced"]
        assert read_intent(storage)[0].dirty

    def test_of_a_live_holder_it_is_waited_for(self, storage, monkeypatch):
        """A second writer waits until the first one has released."""
        monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "6")
        first = acquire(storage, self.journal(), "w1")
        hooks, got = Numbered(), []
        hooks.clock = Clock()
        second = MemoryStorage(storage.world, storage.prefix, hooks)
        thread = threading.Thread(target=lambda: got.append(self.taken(second, "w2")))
        thread.start()
        wait_until(lambda: hooks.count > 2, "a second writer that looks again")
        assert got == []
        first.release(dirty=(), etags={})
        thread.join(60)
        assert read_intent(storage)[0].write_id == "w2"

    def test_a_live_holder_is_not_waited_for_for_ever(self, storage, monkeypatch):
        """After the time one is willing to wait, it is said who is at work."""
        monkeypatch.setenv("AGGRADE_WAIT_SECONDS", "0.1")
        lease = acquire(storage, self.journal(), "w1")
        try:
            with pytest.raises(Conflict, match="another writer at work") as caught:
                acquire(storage, self.journal(), "w2")
            assert caught.value.code == "busy"
            assert str(lease.intent.owner.process) in str(caught.value)
        finally:
            lease.release(dirty=(), etags={})
        assert not is_abandoned(storage, *read_intent(storage), patience=0.01)

    def test_of_two_that_come_at_once_both_get_it_in_turn(self):
        """Many writers that add rows at the same time all succeed, each once."""
        world = World()
        start, failures = threading.Barrier(4), []

        def write(label):
            storage = open_world_store(world)
            start.wait(30)
            for _ in range(50):
                try:
                    add_rows(storage, label)
                except Conflict as error:
                    failures.append(error.code)
                else:
                    return

        threads = [threading.Thread(target=write, args=(label,)) for label in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        labels = sorted(layers_of(open_world_store(world)), key=lambda record: record.index)
        assert sorted(record.label for record in labels) == ["a", "b", "c", "d"]
        assert_rows(open_world_store(world), *(record.label for record in labels))
        assert set(failures) <= {"moved-on", "overtaken"}
