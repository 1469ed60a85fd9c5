"""Appending a staged session: once, and with nothing left behind."""

from __future__ import annotations

import pytest
from make_datasets import assert_holds, make_session

from aggrade import append
from aggrade.errors import Refused
from aggrade.opening import open_windows
from aggrade.staging import drop_staged, is_staged, stage
from tasks.appending import append_session


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
