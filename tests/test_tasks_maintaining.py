"""The tasks that look after a dataset."""

from __future__ import annotations

import pytest
from make_datasets import CHUNKS, make_session
from make_runs import hold_intent, lose_chunk

from aggrade import append
from aggrade.errors import Conflict, Damaged
from tasks.maintaining import look_for_intents, prune_store, recover_store, verify_store


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of three sessions, with two backups."""
    for number in range(3):
        append(
            make_session(f"sub-{number}", windows=2, seed=number),
            f"{tmp_path}/windows.zarr",
            grow=("window",),
            chunks=CHUNKS,
        )
    return tmp_path


def test_nothing_to_recover_is_none(dataset):
    """A dataset at rest has nothing to recover and no writers."""
    assert recover_store.fn(str(dataset)) is None
    assert look_for_intents.fn(str(dataset)) == {}


def test_a_dead_writer_is_seen_and_recovered(dataset):
    """A held intent is named with its store, and recover frees it."""
    hold_intent(dataset / "windows.zarr")
    ((url, sentence),) = look_for_intents.fn(str(dataset)).items()
    assert url == f"{dataset}/windows.zarr"
    assert "recover would roll it forward" in sentence
    assert recover_store.fn(str(dataset)).kind == "recover"
    assert look_for_intents.fn(str(dataset)) == {}


def test_a_whole_dataset_is_reported(dataset):
    """The report comes back when nothing is wrong."""
    assert verify_store.fn(str(dataset)).checked["layers"] == 3


def test_a_store_that_is_being_written_is_no_damage(dataset):
    """Where all that is wrong is an unfinished write, it is a conflict that passes."""
    hold_intent(dataset / "windows.zarr")
    with pytest.raises(Conflict, match="a writer at work"):
        verify_store.fn(str(dataset))


def test_damage_is_raised_with_every_sentence(dataset):
    """Two damaged layers are two problems."""
    for row in (0, 2):
        lose_chunk(dataset / "windows.zarr", row)
    with pytest.raises(Damaged) as caught:
        verify_store.fn(str(dataset))
    assert len(caught.value.problems) == 2
    assert all(problem.where == f"{dataset}/windows.zarr" for problem in caught.value.problems)


def test_backups_are_pruned_or_only_named(dataset):
    """A dry run names what a real one deletes."""
    named = prune_store.fn(str(dataset), 1, dry_run=True)
    assert [manifest.generation for manifest in named] == [1]
    assert prune_store.fn(str(dataset), 1) == named
    assert prune_store.fn(str(dataset), 1) == []
