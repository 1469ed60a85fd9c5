"""Commands that take something back: what they do and say."""

from __future__ import annotations

import shlex

import pytest
from make_datasets import CHUNKS, assert_holds, make_session

from aggrade import append, list_backups, open_windows, rechunk
from aggrade.errors import BadInput
from flows.command_line import main
from flows.inspecting import backups
from flows.undoing import remove, restore

SESSIONS = [make_session(f"sub-{number:02}", windows=number + 1, seed=number) for number in (1, 2, 3)]


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of three sessions in one store."""
    for session in SESSIONS:
        append(session, str(tmp_path), grow=("window",), chunks=CHUNKS)
    return tmp_path


def test_restore_says_how_to_undo_it(dataset):
    """The command that it names undoes it."""
    first = list_backups(str(dataset))[0].id
    said = restore(str(dataset), first)
    assert_holds(open_windows(str(dataset)).load(), SESSIONS[:1])
    undo = shlex.split(said.splitlines()[-1].removeprefix("to undo it: "))
    with pytest.raises(SystemExit) as caught:
        main(undo[1:])
    assert caught.value.code == 0
    assert_holds(open_windows(str(dataset)).load(), SESSIONS)


def test_remove_says_what_was_emptied(dataset):
    """The session is gone, and the backups that were emptied are named; it is not."""
    said = remove(str(dataset), "sub-02", purge_backups=True)
    assert_holds(open_windows(str(dataset)).load(), [SESSIONS[0], SESSIONS[2]])
    assert list_backups(str(dataset))[-1].id in said
    first, last = backups(str(dataset))
    assert "(generation 1," in first
    assert "can't be restored any more" in last
    assert "sub-02" not in said
    assert "to undo it" not in said


def test_remove_names_rechunked_copies(dataset):
    """A copy loses the session, too, and has no backup: whoever undoes the removal has to rechunk."""
    copy = f"{dataset}/windows_for_training.zarr"
    rechunk(f"{dataset}/windows.zarr", copy)
    assert "windows_for_training.zarr: rows 1" in remove(str(dataset), "sub-02", dry_run=True)
    said = remove(str(dataset), "sub-02").splitlines()
    assert f"gone from rechunked copies, too: {copy}" in said
    undo, _, then = said[-1].removeprefix("to undo it: ").partition(", and ")
    assert then.startswith("rechunk again")
    with pytest.raises(SystemExit):
        main(shlex.split(undo)[1:])
    rechunk(f"{dataset}/windows.zarr", copy)
    assert_holds(open_windows(copy).load(), SESSIONS)


@pytest.mark.parametrize("dry_run", [["--dry-run"], ["--dry-run", "--purge-backups"]])
def test_a_dry_run_changes_nothing(dataset, capsys, dry_run):
    """From the shell: the plan is printed with its price, and every session is still there."""
    with pytest.raises(SystemExit) as caught:
        main(["remove", str(dataset), "sub-02", *dry_run])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "remove sub-02 along session" in said
    assert "PUT" in said
    assert_holds(open_windows(str(dataset)).load(), SESSIONS)
    assert "shown again" in restore(str(dataset), list_backups(str(dataset))[0].id, dry_run=True)


def test_an_unknown_session_is_an_error(dataset):
    """An id that isn't there is bad input."""
    with pytest.raises(BadInput, match="sub-99"):
        remove(str(dataset), "sub-99")


@pytest.mark.usefixtures("prefect_backend")
@pytest.mark.parametrize("undo", [restore, remove])
def test_credentials_are_taken_from_a_block(dataset, undo):
    """A block that isn't there is named, before the store is looked at."""
    with pytest.raises(BadInput, match="no-such-block"):
        undo(str(dataset), "sub-01", credentials="no-such-block")
