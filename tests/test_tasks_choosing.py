"""A run leaves alone what is being written still, and what was set aside and is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggrade.errors import BadInput, Problem
from aggrade.quarantine import quarantined
from aggrade.recordings.discover import SessionSource
from aggrade.window_spec import WindowSpec
from tasks.choosing import choose

SPEC = WindowSpec(window_size_s=2.0)
ERROR = BadInput(Problem("recording.xdf", "half a chunk", "a whole one", "copy it again", "truncated"))


@pytest.fixture
def sessions(tmp_path):
    """Return three sessions of a file each."""
    found = []
    for name in "abc":
        folder = tmp_path / "recordings" / name
        folder.mkdir(parents=True)
        (folder / "recording.xdf").write_bytes(name.encode())
        found.append(SessionSource(name, str(folder)))
    return tuple(found)


class Chooses:
    """Chooses among sessions, and counts how often somebody waits."""

    def __init__(self, root, sessions):
        self.root, self.sessions, self.waits = str(root), sessions, []

    def __call__(self, *, spec=SPEC, known=(), settle_s=5.0, set_aside=True, meanwhile=lambda: None):
        """Choose, while something happens meanwhile."""

        def wait(seconds):
            self.waits.append(seconds)
            meanwhile()

        how = {"known": known, "settle_s": settle_s, "set_aside": set_aside, "credentials": None}
        return choose(self.sessions, self.root, spec, wait=wait, **how)

    def ids(self, **how):
        """Return the ids of what is taken."""
        return [session.id for session in self(**how).taken]


@pytest.fixture
def chooses(tmp_path, sessions):
    """Return a chooser for a dataset that does not exist yet."""
    return Chooses(tmp_path / "dataset", sessions)


def write(sessions, number, text, name="recording.xdf"):
    """Write a file of a session."""
    with Path(sessions[number].url, name).open("ab") as file:
        file.write(text)


def test_all_that_lies_still(chooses):
    """Every session is taken after one wait for all of them."""
    assert chooses.ids() == ["a", "b", "c"]
    assert chooses.waits == [5.0]


def test_one_that_grows_is_left(chooses, sessions):
    """It is named with the reason, and taken when it has come to rest."""
    choice = chooses(meanwhile=lambda: write(sessions, 1, b"more"))
    assert [session.id for session in choice.taken] == ["a", "c"]
    assert choice.left == {"b": "b: its files changed within 5 s and may be growing still"}
    assert chooses.ids() == ["a", "b", "c"]


def test_a_file_that_comes_meanwhile(chooses, sessions):
    """A second file of a session is a change of it too."""
    assert chooses.ids(meanwhile=lambda: write(sessions, 0, b"x", "second.xdf")) == ["b", "c"]


@pytest.mark.parametrize("how", [{"settle_s": 0.0}, {"known": {"a", "b", "c"}}])
def test_nobody_waits_for_nothing(chooses, how):
    """Who doesn't ask for it doesn't wait, nor does a run without new sessions."""
    assert chooses.ids(**how) == ["a", "b", "c"]
    assert chooses.waits == []


def test_one_that_vanishes_is_told_by_whoever_reads_it(chooses, sessions):
    """A session without files is taken: that is an error of its own."""
    Path(sessions[0].url, "recording.xdf").unlink()
    assert chooses.ids() == ["a", "b", "c"]


class TestSetAside:
    """What could not be read."""

    @pytest.fixture
    def bad(self, chooses):
        """Set the second session aside."""
        chooses(settle_s=0.0).keep(chooses.root, SPEC, {"b": ERROR}, [], None)

    @pytest.mark.usefixtures("bad")
    def test_it_is_left_until_it_changes(self, chooses, sessions):
        """The reason is told; with other files it is taken, and forgotten once it has landed."""
        choice = chooses()
        assert [session.id for session in choice.taken] == ["a", "c"]
        assert "found half a chunk" in choice.left["b"]
        write(sessions, 1, b"mended")
        choice = chooses()
        assert [session.id for session in choice.taken] == ["a", "b", "c"]
        choice.keep(chooses.root, SPEC, {}, ["a", "b"], None)
        assert quarantined(chooses.root) == {}

    @pytest.mark.usefixtures("bad")
    def test_cut_in_another_way_it_is_tried_again(self, chooses):
        """It was set aside for one specification."""
        assert chooses.ids(spec=WindowSpec(window_size_s=3.0)) == ["a", "b", "c"]

    @pytest.mark.usefixtures("bad")
    def test_who_does_not_ask_for_it_takes_all(self, chooses):
        """A run without quarantine tries everything."""
        assert chooses.ids(set_aside=False) == ["a", "b", "c"]

    @pytest.mark.usefixtures("bad")
    def test_bad_again_for_another_reason(self, chooses, sessions):
        """The record follows the files."""
        write(sessions, 1, b"other")
        chooses().keep(chooses.root, SPEC, {"b": ERROR}, ["a"], None)
        assert chooses.ids() == ["a", "c"]
