"""Cutting and staging a session: what it depends on, what it refuses."""

from __future__ import annotations

import pytest
from make_runs import record

from aggrade.errors import BadInput, Conflict
from aggrade.recordings.discover import SessionSource
from aggrade.staging import is_staged, open_staged
from aggrade.window_spec import WindowSpec
from aggrade.windowing import cut_windows
from tasks.windowing import find_sessions, fingerprint_of, plan_session, staging_name, window_session

SPEC = WindowSpec(window_size_s=1.0)


@pytest.fixture
def session(tmp_path):
    """Record one session."""
    return SessionSource("sub-0", str(record(tmp_path / "recordings", "sub-0")))


def test_a_session_is_cut_and_staged(session, tmp_path):
    """What is staged is what `cut_windows` gives, and the receipt says how much it is."""
    staged = window_session.fn(session, fingerprint_of(session, None), str(tmp_path / "out"), SPEC)
    cut = cut_windows(session.url, SPEC)
    assert (staged.session, staged.windows, staged.source) == ("sub-0", 4, str(cut["source"].values[0]))
    assert is_staged(staged)
    assert open_staged(staged)["eeg"].identical(cut["eeg"])


def test_files_that_change_while_they_are_read_are_a_conflict(session, tmp_path):
    """A session whose files are no longer those that were asked for is not staged."""
    with pytest.raises(Conflict, match="changed while they were read"):
        window_session.fn(session, "another fingerprint", str(tmp_path / "out"), SPEC)
    assert not (tmp_path / "out").exists()


def test_a_bad_recording_is_bad_input(tmp_path):
    """The core's error comes out as it is."""
    (tmp_path / "sub-1").mkdir()
    (tmp_path / "sub-1" / "recording.xdf").write_bytes(b"nothing")
    session = SessionSource("sub-1", str(tmp_path / "sub-1"))
    with pytest.raises(BadInput):
        window_session.fn(session, fingerprint_of(session, None), str(tmp_path / "out"), SPEC)


def test_other_files_or_another_specification_are_staged_elsewhere(session):
    """The staging store's name begins with the session and changes with whatever changes the windows."""
    names = {
        staging_name(session, "a", SPEC),
        staging_name(session, "b", SPEC),
        staging_name(session, "a", WindowSpec(window_size_s=2.0)),
        staging_name(SessionSource("sub-0", "s3://elsewhere/sub-0"), "a", SPEC),
    }
    assert len(names) == 4
    assert all(name.startswith("sub-0-") for name in names)
    assert staging_name(session, "a", SPEC) == staging_name(session, "a", WindowSpec(window_size_s=1.0))


def test_sessions_are_found_in_order(tmp_path):
    """The sessions of a folder come sorted by id."""
    for name in ("b", "a"):
        record(tmp_path, name)
    assert [session.id for session in find_sessions(str(tmp_path), None)] == ["a", "b"]


def test_planning_a_session_writes_nothing(session, tmp_path):
    """A plan says where the session would land, and leaves no file."""
    plan = plan_session.fn(session, str(tmp_path / "out"), SPEC, partition="year")
    assert [layer.label for layer in plan.new] == ["sub-0"]
    assert "/windows/" in plan.store
    assert not (tmp_path / "out").exists()
