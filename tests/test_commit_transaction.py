"""One commit from intent to release: its order, its refusals, and what it leaves behind when it fails."""

from __future__ import annotations

import logging
import threading
from collections import Counter

import numpy as np
import pytest
from make_commits import DOCUMENTS, add_rows, assert_rows, open_world_store, plan_rows, write_rows
from memory_storage import DiesAt, Hooks, Killed, LosesReply, MemoryStorage, Numbered, World

from aggrade.clock import Clock
from aggrade.commit import (
    Region,
    Transaction,
    find_layer,
    find_receipt,
    manifests,
    read_intent,
    read_snapshot,
    recover_store,
)
from aggrade.commit.backup import backups_beside
from aggrade.errors import Conflict, Damaged, Problem, Unavailable
from aggrade.storage.counting import Counted

BOOK = "data/s.zarr/.aggrade"


@pytest.fixture
def storage():
    """Return the storage of a store that isn't there yet."""
    return open_world_store()


def recorded(storage):
    """Return the same storage with its requests numbered and named, and the record of them."""
    hooks = Numbered()
    return MemoryStorage(storage.world, storage.prefix, hooks), hooks


def writes(hooks):
    """Return the keys that were written or copied, in order, without the folder."""
    kept = [kind.split(" ", 1)[1] for kind in hooks.kinds if kind.split()[0] in {"PUT", "COPY"}]
    return [key.removeprefix("data/") for key in kept]


def stage_of(key):
    """Return the place in DESIGN §4's order that a write belongs to."""
    if ".backups/" in key:
        return "backup"
    if key == "s.zarr/zarr.json":
        return "root"
    if key.endswith("/zarr.json"):
        return "documents"
    for part in ("intent", "receipts", "layers"):
        if f".aggrade/{part}" in key:
            return part
    return "data"


def fail_after_writing(storage, error, *labels):
    """Have the caller's own code fail when everything is written and nothing published."""
    with Transaction(storage, plan_rows(storage, *labels)) as transaction:
        write_rows(transaction)
        raise error


def free(storage):
    """Tell whether the intent is free, with what is on record as dirty."""
    intent, _ = read_intent(storage)
    assert intent.journal is None or intent.state == "held"
    return intent.state == "free", intent.dirty


class TestOrder:
    """Intent, backup, data, root, then receipt, layer records and documents at once, release."""

    def order(self, hooks):
        """Return the stages in the order in which they were first and last written."""
        last = {"receipts", "layers", "documents"}
        stages = ["last" if stage in last else stage for stage in map(stage_of, writes(hooks))]
        return [stage for place, stage in enumerate(stages) if place == 0 or stages[place - 1] != stage]

    def test_of_a_create(self, storage):
        """Nothing is visible before everything that it needs is there."""
        watched, hooks = recorded(storage)
        add_rows(watched, "a", "b")
        assert self.order(hooks) == ["intent", "data", "root", "last", "intent"]

    @pytest.mark.parametrize("backup", ["touched", "full"])
    def test_of_an_append(self, storage, backup):
        """What will be overwritten is kept before the first byte of it is touched."""
        add_rows(storage, "a")
        watched, hooks = recorded(storage)
        add_rows(watched, "b", backup=backup)
        assert self.order(hooks) == ["intent", "backup", "data", "root", "last", "intent"]

    def test_the_root_is_written_once(self, storage):
        """There is one switch."""
        add_rows(storage, "a")
        watched, hooks = recorded(storage)
        add_rows(watched, "b")
        assert writes(hooks).count("s.zarr/zarr.json") == 1

    def test_only_documents_that_change_are_written(self, storage):
        """What doesn't grow is not written again."""
        add_rows(storage, "a")
        watched, hooks = recorded(storage)
        add_rows(watched, "b")
        documents = [key for key in writes(hooks) if stage_of(key) == "documents"]
        assert sorted(documents) == ["s.zarr/total/zarr.json", "s.zarr/x/zarr.json"]

    def test_no_commit_deletes(self, storage):
        """From the first to the last request nothing is removed."""
        watched, hooks = recorded(storage)
        add_rows(watched, "a")
        add_rows(watched, "b", backup="full")
        assert not [kind for kind in hooks.kinds if kind.startswith("DELETE")]

    def test_a_commit_costs_the_same_at_any_size(self, storage):
        """The requests of an append depend on what is added, not on what is there."""
        counts = []
        for labels in ("a", "b", *(f"more{i}" for i in range(8)), "last"):
            watched, hooks = recorded(storage)
            add_rows(watched, labels)
            counts.append(Counter(kind.split()[0] for kind in hooks.kinds))
        tail_shared = [counts[i] for i in (1, 2, 3, 5, 6, 7, 9, 10)]
        assert len({tuple(sorted(count.items())) for count in tail_shared}) == 1


class TestState:
    """What a commit leaves."""

    def test_readers_see_it(self, storage):
        """Plain zarr reads every row of every commit."""
        add_rows(storage, "a", "b")
        add_rows(storage, "c")
        snapshot = assert_rows(storage, "a", "b", "c")
        assert snapshot.generation == 2
        assert snapshot.attributes["made"] == "for a test"
        assert snapshot.mark["dim"] == "row"

    def test_the_intent_is_free_and_clean(self, storage):
        """A finished commit leaves no dirt."""
        add_rows(storage, "a")
        assert free(storage) == (True, ())

    def test_layers_and_receipt_are_kept(self, storage):
        """Each layer's record names the receipt."""
        receipt = add_rows(storage, "a", "b")
        assert find_receipt(storage, receipt.write_id) == receipt
        for index, label in enumerate("ab"):
            record = find_layer(storage, label)
            assert (record.index, record.digest, record.generation) == (index, f"digest of {label}", 1)
            assert record.write_id == receipt.write_id == read_snapshot(storage).write_id

    def test_the_receipt_says_what_was_done(self, storage):
        """Labels, digests, generation, backup and counts are those of this commit."""
        add_rows(storage, "a")
        with Transaction(storage, plan_rows(storage, "b")) as transaction:
            receipt = transaction.publish(write_rows(transaction), details={"cells": 3})
        assert (receipt.kind, receipt.store, receipt.dim) == ("append", storage.url, "row")
        assert (receipt.layers, receipt.digests) == ({"b": 1}, {"b": "digest of b"})
        assert (receipt.generation, receipt.details) == (2, {"cells": 3})
        assert receipt.write_id == transaction.write_id
        assert manifests(storage)[0].id == receipt.backup

    def test_the_receipt_counts_every_request_of_the_commit(self, storage):
        """Requests by kind are those that went to the store, from intent to release."""
        add_rows(storage, "a")
        watched, hooks = recorded(storage)
        plan = plan_rows(watched, "b", "c")
        hooks.kinds.clear()
        with Transaction(watched, plan) as transaction:
            receipt = transaction.publish(write_rows(transaction))
        assert receipt.requests == Counter(kind.split()[0] for kind in hooks.kinds)

    def test_the_receipt_counts_objects_and_bytes(self, storage):
        """Objects and bytes of the store itself, metadata included, bookkeeping left out."""
        receipt = add_rows(storage, "a", "b")
        objects = [info for info in storage.list() if not info.key.startswith(".aggrade")]
        assert receipt.objects == len(objects) == 4 + 3 + 1
        assert receipt.bytes_written == sum(info.size for info in objects)

    def test_marks_of_the_store_are_kept(self, storage):
        """What an earlier commit noted in the root stays, unless the plan says otherwise."""
        add_rows(storage, "a", mark={"dim": "row", "grow": ["column"], "superseded": [0]})
        add_rows(storage, "b", mark={"superseded": [0, 1]})
        mark = read_snapshot(storage).mark
        assert (mark["dim"], mark["grow"], mark["superseded"]) == ("row", ["column"], [0, 1])
        assert "fenced" not in mark

    def test_a_touched_backup_holds_what_was_overwritten(self, storage):
        """The tail chunk and the root, as they were."""
        add_rows(storage, "a")
        before = {key: storage.read(key).data for key in ("total/c/0", "zarr.json")}
        receipt = add_rows(storage, "b")
        (manifest,) = manifests(storage)
        assert set(manifest.objects) == set(before)
        assert (manifest.id, manifest.generation) == (receipt.backup, 1)

    def test_without_a_backup_none_is_made(self, storage):
        """`backup="none"` writes nothing beside the store; neither does a create."""
        add_rows(storage, "a")
        receipt = add_rows(storage, "b", backup="none")
        assert receipt.backup is None
        assert not list(backups_beside(storage).list())


class TestRefusals:
    """Plans that are void, and writes that are incomplete."""

    def test_a_plan_whose_base_is_gone(self, storage):
        """If somebody committed since it was planned, nothing is written and the intent is free again."""
        plan = plan_rows(storage, "a")
        add_rows(storage, "b")
        before = dict(storage.world.objects)
        with pytest.raises(Conflict, match="run it again") as caught, Transaction(storage, plan):
            pytest.fail("a void plan must not begin")
        assert caught.value.code == "moved-on"
        assert free(storage) == (True, ())
        after = dict(storage.world.objects)
        assert {k for k in {*before, *after} if before.get(k) != after.get(k)} == {f"{BOOK}/intent.json"}
        assert_rows(storage, "b")

    def test_a_plan_for_a_store_that_is_gone(self, storage):
        """An append to a store that isn't there any more creates none."""
        add_rows(storage, "a")
        plan = plan_rows(storage, "b")
        storage.delete([info.key for info in storage.list()])
        with pytest.raises(Conflict), Transaction(storage, plan):
            pytest.fail("a void plan must not begin")
        assert read_snapshot(storage) is None

    def test_an_incomplete_publish(self, storage):
        """What was planned and not written is named, and the old state stays."""
        add_rows(storage, "a")
        with (
            pytest.raises(Damaged, match=r"2 objects not written, such as total/c/0") as caught,
            Transaction(storage, plan_rows(storage, "b", "c")) as transaction,
        ):
            transaction.publish(
                [item for item in write_rows(transaction) if item.key not in {"total/c/0", "x/c/2/0"}]
            )
        assert caught.value.code == "incomplete"
        assert_rows(storage, "a")
        assert free(storage)[0]

    def test_nothing_written_at_all(self, storage):
        """A publish without objects does not bring an empty layer."""
        with pytest.raises(Damaged), Transaction(storage, plan_rows(storage, "a")) as transaction:
            transaction.publish([])
        assert_rows(storage)

    @pytest.mark.parametrize("error", [ValueError("of the caller"), KeyboardInterrupt()])
    def test_an_exception_inside(self, storage, error):
        """Whatever is raised inside leaves the old state and frees the intent, and is what the caller gets."""
        add_rows(storage, "a")
        with pytest.raises(type(error)) as caught:
            fail_after_writing(storage, error, "b")
        assert caught.value is error
        assert_rows(storage, "a")
        is_free, dirty = free(storage)
        assert is_free
        assert {target.variable for target in dirty} == {"x", "total"}

    def test_after_an_exception_the_next_commit_goes_through(self, storage):
        """What was left behind neither blocks the next commit nor gets into it."""
        add_rows(storage, "a")
        with pytest.raises(ValueError, match="stop"):
            fail_after_writing(storage, ValueError("stop"), "xyz", "b")
        add_rows(storage, "c")
        assert_rows(storage, "a", "c")
        assert free(storage)[1]
        add_rows(storage, "d")
        assert_rows(storage, "a", "c", "d")
        assert free(storage) == (True, ())

    def test_interrupted_again_while_it_gives_up(self, storage):
        """However it ends, its heartbeat ends with it: a process that lives on keeps nobody waiting."""
        add_rows(storage, "a")

        class Beats(Clock):
            def repeat(self, action, seconds, done, name):
                self.done = done
                super().repeat(action, seconds, done, name)

        class Interrupts(Hooks):
            clock, failing = Beats(), False

            def before(self, kind, key):  # noqa: ARG002
                if self.failing and kind == "GET":
                    raise KeyboardInterrupt

        hooks = Interrupts()
        disturbed = MemoryStorage(storage.world, storage.prefix, hooks)
        with Transaction(disturbed, plan_rows(storage, "b")) as transaction:
            assert not hooks.clock.done.is_set()
            hooks.failing = True
            with pytest.raises(KeyboardInterrupt):
                transaction.__exit__(ValueError, ValueError("own"), None)
        assert hooks.clock.done.is_set()

    def test_leaving_without_publishing(self, storage):
        """A transaction that ends without a publish changes nothing."""
        add_rows(storage, "a")
        with Transaction(storage, plan_rows(storage, "b")) as transaction:
            write_rows(transaction)
        assert_rows(storage, "a")
        assert free(storage)[0]

    def test_a_backup_that_fails(self, storage):
        """If what will be overwritten can't be kept, it isn't overwritten."""
        add_rows(storage, "a")

        class Full(Hooks):
            def before(self, kind, key):
                if kind == "PUT" and ".backups/" in key:
                    raise Unavailable(Problem(key, "no space", "space", "make room", "unavailable"))

        before = {info.key: storage.read(info.key).data for info in storage.list()}
        with pytest.raises(Unavailable, match="no space"):
            add_rows(MemoryStorage(storage.world, storage.prefix, Full()), "b")
        after = {info.key: storage.read(info.key).data for info in storage.list()}
        assert {key for key in after if before.get(key) != after[key]} == {".aggrade/intent.json"}
        assert_rows(storage, "a")
        assert free(storage)[0]


class TestOvertaken:
    """Somebody else took over."""

    def test_before_the_switch(self, storage):
        """A holder that lost its intent publishes nothing and leaves the intent to whoever has it."""
        add_rows(storage, "a")
        codes = []

        def overtaken():
            with Transaction(storage, plan_rows(storage, "b")) as transaction:
                written = write_rows(transaction)
                intent, etag = read_intent(storage)
                theirs = intent.model_copy(update={"write_id": "theirs"})
                storage.write(".aggrade/intent.json", theirs.model_dump_json().encode(), replacing=etag)
                with pytest.raises(Conflict) as caught:
                    transaction.lease.confirm()
                codes.append(caught.value.code)
                transaction.publish(written)

        with pytest.raises(Conflict) as caught:
            overtaken()
        assert [*codes, caught.value.code] == ["lease-lost", "lease-lost"]
        assert read_intent(storage)[0].write_id == "theirs"
        assert_rows(storage, "a")

    def test_at_the_switch(self, storage):
        """If the root is another one than was read, nothing of this commit shows, and that root is left alone."""
        add_rows(storage, "a")

        class Fenced(Hooks):
            done = False

            def before(self, kind, key):
                if kind == "PUT" and key == "data/s.zarr/zarr.json" and not self.done:
                    self.done = True
                    data, _ = storage.world.objects[key]
                    fenced = data.replace(b'"generation": 1', b'"generation": 7')
                    storage.world.objects[key] = (fenced, storage.world.mark(fenced))

        with pytest.raises(Conflict) as caught:
            add_rows(MemoryStorage(storage.world, storage.prefix, Fenced()), "b")
        assert caught.value.code in {"moved-on", "overtaken"}
        snapshot = assert_rows(storage, "a")
        assert snapshot.generation == 7

    def test_a_lost_reply_at_the_switch(self, storage):
        """The switch took effect although its reply was lost: that is a success."""
        add_rows(storage, "a")
        watched, hooks = recorded(MemoryStorage(storage.world.copy(), storage.prefix))
        add_rows(watched, "b")
        place = 1 + hooks.kinds.index("PUT data/s.zarr/zarr.json")
        receipt = add_rows(MemoryStorage(storage.world, storage.prefix, LosesReply(place)), "b")
        assert find_receipt(storage, receipt.write_id) == receipt
        assert_rows(storage, "a", "b")
        assert free(storage) == (True, ())

    def test_a_store_that_is_out_of_reach_is_left_to_recovery(self, storage, caplog):
        """Where rolling back fails as well, the error is the first one and the intent stays held."""
        add_rows(storage, "a")

        class Gone(Hooks):
            gone = False

            def before(self, kind, key):
                if self.gone and threading.current_thread().name != "aggrade-heartbeat":
                    raise Unavailable(Problem(key, f"no reply to {kind}", "a reply", "retry", "unavailable"))

        hooks = Gone()
        away = MemoryStorage(storage.world, storage.prefix, hooks)

        def fail():
            with Transaction(away, plan_rows(away, "b")):
                hooks.gone = True
                raise ValueError("mine")

        with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="mine"):
            fail()
        assert "left the intent" in caplog.text
        assert read_intent(storage)[0].state == "held"
        assert_rows(storage, "a")


class TestDirt:
    """What a dead predecessor left."""

    def die(self, storage, *labels):
        """Have a writer die just before the switch, and recover what it left."""
        watched, hooks = recorded(MemoryStorage(storage.world.copy(), storage.prefix))
        add_rows(watched, *labels)
        place = 1 + hooks.kinds.index("PUT data/s.zarr/zarr.json")
        dying = MemoryStorage(storage.world, storage.prefix, DiesAt(storage.world, place, after=False))
        with pytest.raises(Killed):
            add_rows(dying, *labels)
        recover_store(storage)

    def test_the_same_rows_again_keep_what_lies_there(self, storage):
        """A run that repeats what died finds its objects of its own and writes them no second time."""
        add_rows(storage, "a")
        self.die(storage, "b", "c")
        watched, hooks = recorded(storage)
        add_rows(watched, "b", "c")
        assert not [key for key in writes(hooks) if key.startswith("s.zarr/x/c/")]
        assert_rows(storage, "a", "b", "c")
        assert free(storage) == (True, ())

    def test_other_rows_replace_what_lies_there(self, storage):
        """Fewer and other rows than the dead writer's: none of its values shows, now or later."""
        add_rows(storage, "a")
        self.die(storage, "left1", "left2", "left3", "left4")
        add_rows(storage, "b")
        assert_rows(storage, "a", "b")
        add_rows(storage, "c", "d", "e", "f")
        assert_rows(storage, "a", "b", "c", "d", "e", "f")
        assert free(storage) == (True, ())

    def test_a_plan_that_writes_less_rebuilds_the_rest(self, storage):
        """Where a commit grows an array without writing it, what lies there is replaced by fill."""
        add_rows(storage, "a")
        self.die(storage, "left1", "left2")
        rows = [region for region in plan_rows(storage, "b").regions if region.variable != "x"]
        plan = plan_rows(storage, "b", regions=tuple(rows))
        with Transaction(storage, plan) as transaction:
            transaction.publish(write_rows(transaction))
        group = read_snapshot(storage).open(storage)
        assert group["x"][1].tolist() == [-1, -1, -1]
        assert storage.stat("x/c/1/0") is not None


class TestUse:
    """How it is handled."""

    def test_a_writer_of_a_create_knows_nothing_published(self, storage):
        """On create there is nothing to keep."""
        with Transaction(storage, plan_rows(storage, "a")) as transaction:
            assert transaction.published == {}
            assert transaction.writer().etags == {}
            assert transaction.generation == 1

    def test_a_counted_storage_is_counted_twice(self, storage):
        """A storage that the caller counts sees every request as well."""
        counted = Counted(storage)
        receipt = add_rows(counted, "a")
        assert counted.counts["PUT"] == receipt.requests["PUT"]

    def test_scalars_and_fixed_arrays(self, storage):
        """A commit may write arrays that don't grow."""
        column = Region(variable="column", bounds=((0, 3),))
        plan = plan_rows(
            storage, regions=(column,), documents={"column": DOCUMENTS["column"]}, dim=None, mark={}
        )
        with Transaction(storage, plan) as transaction:
            written = transaction.writer().write("column", (slice(0, 3),), np.arange(3, dtype="f4"))
            receipt = transaction.publish(written)
        assert receipt.layers == {}
        assert read_snapshot(storage).open(storage)["column"][...].tolist() == [0, 1, 2]

    def test_generations_never_repeat(self, storage):
        """Every commit has the next one, also after a create that failed."""
        seen = []
        for label in "abcd":
            if label == "c":
                with Transaction(storage, plan_rows(storage, "x")):
                    pass
            seen.append(add_rows(storage, label).generation)
        assert seen == sorted(set(seen))

    def test_two_worlds_do_not_meet(self):
        """Stores in other folders have intents of their own."""
        world = World()
        one, other = MemoryStorage(world, "data/s.zarr"), MemoryStorage(world, "data/t.zarr")
        with Transaction(one, plan_rows(one, "a")) as transaction:
            add_rows(other, "b")
            transaction.publish(write_rows(transaction))
        assert_rows(one, "a")
        assert_rows(other, "b")
