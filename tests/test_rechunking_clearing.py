"""What is deleted before the next version is written, and what is spared."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from make_documents import make_document

from aggrade.errors import Conflict, Problem
from aggrade.rechunking.clearing import make_room
from aggrade.rechunking.plan import SourceState, plan_rechunk
from aggrade.rechunking.slots import with_version
from aggrade.storage import open_storage

STATE = SourceState(store="../s.zarr", generation=1, write_id="w")
DOCUMENT = make_document((4,), (2,), dims=("a",))


class _Lease:
    """An intent that is ours, or not any more."""

    def __init__(self, *, ours):
        self.ours = ours

    def confirm(self):
        if not self.ours:
            raise Conflict(Problem("intent", "another owner", "ours", "run it again", "lease-lost"))


def _transaction(tmp_path, keys, left_over=(), *, ours=True, served=0):
    """Stand in for an open transaction on a target that serves a version of `x` and holds these keys."""
    storage = open_storage(str(tmp_path / "t.zarr"))
    for key in keys:
        storage.write(key, b"1")
    return SimpleNamespace(
        storage=storage,
        published={} if served is None else {"x": with_version(DOCUMENT, served)},
        lease=_Lease(ours=ours),
        writer=lambda: SimpleNamespace(etags=Counter(left_over)),
    )


def _plan(version):
    return plan_rechunk(STATE, {"x": DOCUMENT}, "t", max_memory=1000, chunks={"a": 2}, version=version)


def _left(transaction):
    return {info.key for info in transaction.storage.list()}


SERVED = {"x/zarr.json", "x/c/0", "x/c/1"}


def test_older_versions_go_and_the_served_one_stays(tmp_path):
    """Chunks of the version before the served one, and strays in the slot to be written, are deleted."""
    transaction = _transaction(tmp_path, {*SERVED, "x/0", "x/1", "x/c.0", "x/c.7"})
    assert make_room(transaction, _plan(1), []) == 4
    assert _left(transaction) == SERVED


def test_what_a_dead_run_left_is_spared_where_it_is_gone_on_with(tmp_path):
    """Left-overs that the writer may replace stay if they belong to the new version's grid."""
    transaction = _transaction(tmp_path, {*SERVED, "x/c.0", "x/c.7"}, ["x/c.0", "x/c.7"])
    make_room(transaction, _plan(1), [])
    assert _left(transaction) == {*SERVED, "x/c.0"}


def test_retired_arrays_go_whole(tmp_path):
    """An array of an older version that none has any more is deleted with its document; others are not touched."""
    transaction = _transaction(
        tmp_path, {*SERVED, "old/zarr.json", "old/c/0", "older/zarr.json", ".aggrade/x.json"}
    )
    make_room(transaction, _plan(1), ["old"])
    assert _left(transaction) == {*SERVED, "older/zarr.json", ".aggrade/x.json"}


def test_an_array_that_comes_back_keeps_its_document(tmp_path):
    """A retired array that the new version has again loses its old chunks only."""
    transaction = _transaction(tmp_path, {"x/zarr.json", "x/c/0"}, served=None)
    make_room(transaction, _plan(1), ["x"])
    assert _left(transaction) == {"x/zarr.json"}


def test_ledgers_of_other_plans_go(tmp_path):
    """Entries of pieces of this plan are kept, all others deleted."""
    plan = _plan(1)
    own = f".aggrade/ledger/{plan.pieces[0].digest}.json"
    transaction = _transaction(
        tmp_path, {*SERVED, own, ".aggrade/ledger/other.json", ".aggrade/receipts/r.json"}
    )
    assert make_room(transaction, plan, []) == 1
    assert _left(transaction) == {*SERVED, own, ".aggrade/receipts/r.json"}


def test_nothing_is_deleted_without_the_intent(tmp_path):
    """Whoever may have lost the intent deletes nothing."""
    transaction = _transaction(tmp_path, {*SERVED, "x/0"}, ours=False)
    with pytest.raises(Conflict):
        make_room(transaction, _plan(1), [])
    assert _left(transaction) == {*SERVED, "x/0"}
