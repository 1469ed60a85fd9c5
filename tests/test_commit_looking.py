"""What was read before the intent was taken, and when it still holds afterwards."""

from __future__ import annotations

from collections import Counter

import pytest
from make_commits import DOCUMENTS, add_rows, assert_rows, open_world_store, plan_rows, write_rows
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered

from aggrade.commit import Transaction, look, read_intent, recover_store
from aggrade.commit.salting import salted
from aggrade.errors import Conflict

LABELS = ["b"]


@pytest.fixture
def storage():
    """Return the storage of a store with one row."""
    storage = open_world_store()
    add_rows(storage, "a")
    return storage


def seen(storage, labels=LABELS):
    """Look at a store, and again, as an append does; return what was seen and the plan."""
    plan = plan_rows(storage, *labels)
    first = look(storage)
    return first.again(storage, labels, plan.shared(first.snapshot.documents if first.snapshot else {})), plan


def commit(storage, plan, found):
    """Carry out a plan on what was seen; return the kinds of requests before the first write of data."""
    hooks = Numbered()
    with Transaction(MemoryStorage(storage.world, storage.prefix, hooks), plan, found) as transaction:
        kinds = Counter(kind.split()[0] for kind in hooks.kinds)
        transaction.publish(write_rows(transaction))
    return kinds


def die(storage, *labels):
    """Have a writer die just before its switch, leaving its objects."""
    rehearsal = Numbered()
    add_rows(MemoryStorage(storage.world.copy(), storage.prefix, rehearsal), *labels)
    place = 1 + rehearsal.kinds.index("PUT data/s.zarr/zarr.json")
    with pytest.raises(Killed):
        add_rows(
            MemoryStorage(storage.world, storage.prefix, DiesAt(storage.world, place, after=False)), *labels
        )


def test_what_holds_still_is_not_read_again(storage):
    """Between taking the intent and writing data only the backup is written: nothing is read."""
    found, plan = seen(storage)
    assert commit(storage, plan, found) == {"PUT": 3}
    assert_rows(storage, "a", "b")


def test_of_a_new_store():
    """Where there is neither root nor intent, the intent's creation proves that there is still no root."""
    storage = open_world_store()
    found, plan = seen(storage)
    assert found.snapshot is None
    assert commit(storage, plan, found) == {"PUT": 1}
    assert_rows(storage, "b")


def test_a_store_of_another_tool(storage):
    """Without an intent nobody ever held one, whatever root there is."""
    storage.delete([".aggrade/intent.json"])
    found, plan = seen(storage)
    assert commit(storage, plan, found) == {"PUT": 3}


def test_the_root_changes_between_the_looks(storage):
    """A commit between the two looks voids the first."""
    first = look(storage)
    add_rows(storage, "c")
    with pytest.raises(Conflict) as caught:
        first.again(storage, LABELS, [])
    assert caught.value.code == "moved-on"


def test_somebody_commits_after_the_looks(storage):
    """The intent is another one than was seen: all is read again, and the plan is void."""
    found, plan = seen(storage)
    add_rows(storage, "c")
    with pytest.raises(Conflict) as caught:
        commit(storage, plan, found)
    assert caught.value.code == "moved-on"
    assert_rows(storage, "a", "c")


def test_somebody_held_the_intent_meanwhile_and_changed_nothing(storage):
    """What was seen may not be trusted then, but the plan still holds, on what is read again."""
    found, plan = seen(storage)
    with Transaction(storage, plan_rows(storage, "x")):
        pass
    kinds = commit(storage, plan, found)
    assert kinds["GET"] > 0
    assert kinds["HEAD"] == 1
    assert_rows(storage, "a", "b")


def test_an_intent_that_was_held_when_it_was_seen(storage):
    """What was read while somebody held the intent says nothing."""
    with Transaction(storage, plan_rows(storage, "x")):
        found, plan = seen(storage)
    assert not found.is_calm
    assert commit(storage, plan, found)["HEAD"] == 1
    assert_rows(storage, "a", "b")


def test_left_overs_are_looked_for_under_the_intent(storage):
    """A dirty store is read anew: left-overs must be known with the marks that they bear."""
    die(storage, "left", "over")
    recover_store(storage)
    found, plan = seen(storage)
    assert not found.is_calm
    assert commit(storage, plan, found)["LIST"] > 0
    assert_rows(storage, "a", "b")


def test_an_object_that_was_not_read(storage):
    """A look that left out what will be overwritten is no use."""
    plan = plan_rows(storage, *LABELS)
    found = look(storage).again(storage, LABELS, [])
    assert commit(storage, plan, found)["HEAD"] == 1
    assert_rows(storage, "a", "b")


def test_a_single_look_is_not_trusted(storage):
    """Beside the intent, the root may have been read before it: only the second look counts."""
    found, plan = look(storage), plan_rows(storage, *LABELS)
    assert not found.is_confirmed
    assert commit(storage, plan, found)["HEAD"] == 1


def test_an_object_that_a_late_writer_replaced(storage):
    """A shared chunk that changed after it was read is not overwritten: its mark is another one."""
    found, plan = seen(storage)
    before = storage.read("total/c/0")
    late = salted(DOCUMENTS["total"], before.data, 99)
    storage.write("total/c/0", late, replacing=before.etag)
    with pytest.raises(Conflict) as caught:
        commit(storage, plan, found)
    assert caught.value.code == "key-taken"
    assert_rows(storage, "a")


def test_a_record_that_came_after_the_root(storage):
    """A commit whose record was still to come when it was planned on: the same label is not added twice."""
    plan = plan_rows(storage, "a")
    with pytest.raises(Conflict) as caught:
        commit(storage, plan, None)
    assert caught.value.code == "moved-on"
    assert_rows(storage, "a")
    assert read_intent(storage)[0].state == "free"


def test_records_of_the_layers_are_known(storage):
    """What is there already is found with the second look."""
    found, _ = seen(storage, ["b", "c"])
    assert found.records == {}
    again = look(storage).again(storage, ["a", "b"], [])
    assert {label: record.index for label, record in again.records.items()} == {"a": 0}
