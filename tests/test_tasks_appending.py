"""Appending a staged session: once, and with nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_datasets import assert_holds, make_session

from aggrade import append
from aggrade.errors import Damaged, Refused
from aggrade.opening import open_windows
from aggrade.staging import drop_staged, is_staged, stage
from tasks.appending import append_session, append_together


@pytest.fixture
def session():
    """Make one session."""
    return make_session("sub-0", windows=3, seed=1)


@pytest.fixture
def staged(session, tmp_path):
    """Stage it."""
    return stage(session, str(tmp_path), "sub-0-abc")


def test_a_staged_session_lands_and_is_unstaged(session, staged):
    """The session lies in its store, and its staging store is gone."""
    receipt = append_session.fn(staged, staged.store())
    assert receipt.digests == {"sub-0": staged.digest}
    assert_holds(open_windows(staged.root), [session])
    assert not is_staged(staged)


def test_a_session_that_has_landed_is_a_no_op(staged):
    """The second time the same receipt comes back, from the store's own records."""
    receipt = append_session.fn(staged, staged.store())
    assert append_session.fn(staged, staged.store()) == receipt


def test_what_a_dead_run_left_staged_is_removed(session, staged):
    """A session that landed before its run died is unstaged by the next run."""
    receipt = append_session.fn(staged, staged.store())
    stage(session, staged.root, staged.name)
    assert append_session.fn(staged, staged.store()) == receipt
    assert not is_staged(staged)


def test_a_session_that_is_nowhere_is_said_to_be(staged):
    """Neither landed nor staged: None, so that it is cut again."""
    drop_staged(staged)
    assert append_session.fn(staged, staged.store()) is None


@pytest.mark.parametrize("torn", [None, b"other bytes"])
def test_a_session_that_is_not_whole_in_staging_is_cut_again(staged, tmp_path, torn):
    """An object that is gone or not what was written: nothing lands, and what is left of it goes."""
    append_session.fn(
        stage(make_session("sub-9", windows=3, seed=9), str(tmp_path), "sub-9-abc"), staged.store()
    )
    inside = (tmp_path / ".aggrade" / "staging").glob("*.zarr/eeg/c/**/*")
    chunk = next(path for path in inside if path.is_file())
    chunk.unlink()
    if torn is not None:
        chunk.write_bytes(torn)
    assert append_session.fn(staged, staged.store()) is None
    assert not is_staged(staged)
    assert not (tmp_path / ".aggrade" / "staging").exists()


def test_damage_of_the_store_is_no_damage_of_what_is_staged(staged):
    """What is wrong elsewhere is raised, and the session stays staged."""
    append(make_session("sub-1", windows=3, seed=2), staged.store(), grow=("window",))
    Path(staged.store(), "zarr.json").write_bytes(b"{")
    with pytest.raises(Damaged):
        append_session.fn(staged, staged.store())
    assert is_staged(staged)


def test_a_refused_session_stays_staged(staged):
    """What the guards refuse stays staged: nothing is lost while a human decides."""
    append(make_session("sub-0", windows=3, seed=2), staged.store(), grow=("window",))
    with pytest.raises(Refused):
        append_session.fn(staged, staged.store())
    assert is_staged(staged)


def test_what_is_asked_is_handed_on(session, staged):
    """on_conflict and backup reach the core."""
    append(make_session("sub-0", windows=3, seed=2), staged.store(), grow=("window",))
    receipt = append_session.fn(staged, staged.store(), on_conflict="replace", backup="none")
    assert receipt.backup is None
    assert_holds(open_windows(staged.root), [session])


@pytest.fixture
def waiting(session, staged):
    """Stage two more sessions, of other lengths."""
    more = [make_session(f"sub-{number}", windows=number + 3, seed=number + 1) for number in (1, 2)]
    stagings = [stage(one, staged.root, f"sub-{number}-abc") for number, one in enumerate(more, 1)]
    return [session, *more], [staged, *stagings]


def test_several_land_in_one_commit_and_are_unstaged(waiting):
    """Each has its own receipt of the same commit, and none is staged any more."""
    sessions, stagings = waiting
    receipts = append_together.fn(stagings, stagings[0].store())
    assert [list(receipt.layers) for receipt in receipts] == [["sub-0"], ["sub-1"], ["sub-2"]]
    assert {receipt.generation for receipt in receipts} == {1}
    assert_holds(open_windows(stagings[0].root), sessions)
    assert not any(is_staged(one) for one in stagings)


def test_several_of_which_one_is_refused(waiting):
    """None of them is appended, all stay staged, and whoever asked is told to look at each."""
    sessions, stagings = waiting
    there = make_session("sub-1", windows=2, seed=9)
    append(there, stagings[0].store(), grow=("window",))
    assert append_together.fn(stagings, stagings[0].store()) is None
    assert_holds(open_windows(stagings[0].root), [there])
    assert all(is_staged(one) for one in stagings)
    receipts = append_together.fn(stagings, stagings[0].store(), on_conflict="replace")
    assert [list(receipt.layers) for receipt in receipts] == [["sub-0"], ["sub-1"], ["sub-2"]]
    assert_holds(open_windows(stagings[0].root), sessions)


def test_several_of_which_one_is_staged_no_more(waiting):
    """Whoever asked is told to look at each: it may have landed, or must be cut again."""
    _, stagings = waiting
    drop_staged(stagings[2])
    assert append_together.fn(stagings, stagings[0].store()) is None
    assert all(is_staged(one) for one in stagings[:2])
