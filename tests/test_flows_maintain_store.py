"""The weekly care of a dataset."""

from __future__ import annotations

import pytest
from make_datasets import make_session
from make_runs import hold_intent, lose_chunk, run, snapshot

from aggrade import BadInput, Damaged, append, list_backups
from aggrade.recovering import open_intents
from flows.command_line import main
from flows.maintain_store import maintain_store

pytestmark = pytest.mark.usefixtures("prefect_backend")


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of four sessions, with three backups."""
    for number in range(4):
        append(
            make_session(f"sub-{number}", windows=2, seed=number),
            f"{tmp_path}/windows.zarr",
            grow=("window",),
        )
    return tmp_path


def test_it_recovers_verifies_and_prunes(dataset):
    """A dead writer's intent is free, the report is good, and the oldest backups are gone."""
    hold_intent(dataset / "windows.zarr")
    done = run(maintain_store, store=str(dataset), keep=1)
    recovered, report, *pruned = done.result
    assert recovered.kind == "recover"
    assert report.ok
    assert [manifest.generation for manifest in pruned] == [1, 2]
    assert [manifest.generation for manifest in list_backups(str(dataset))] == [3]
    assert open_intents(str(dataset)) == {}


def test_a_dry_run_changes_nothing(dataset):
    """The backups that would go are named, and nothing is deleted."""
    before = snapshot(dataset)
    done = run(maintain_store, store=str(dataset), keep=2, dry_run=True)
    assert [manifest.generation for manifest in done.result[1:]] == [1]
    assert snapshot(dataset) == before


def test_a_dry_run_after_a_death_says_what_would_be_done(dataset, caplog):
    """A write that nobody has finished is no failure of a dry run: recovering it comes first."""
    hold_intent(dataset / "windows.zarr")
    before = snapshot(dataset)
    done = run(maintain_store, store=str(dataset), keep=2, dry_run=True)
    assert done.state.is_completed()
    assert snapshot(dataset) == before
    assert any("recover would roll it forward" in record.getMessage() for record in caplog.records)
    report, *pruned = done.result
    assert [sentence for sentence in report.problems if "is not finished" not in sentence] == []
    assert [manifest.generation for manifest in pruned] == [1]


def test_damage_fails_the_run_and_prunes_nothing(dataset):
    """A store that lost a chunk fails the run with what is wrong, and keeps its backups."""
    lose_chunk(dataset / "windows.zarr")
    done = run(maintain_store, store=str(dataset), keep=0)
    assert done.state.is_failed()
    assert isinstance(done.result, Damaged)
    assert len(list_backups(str(dataset))) == 3


def test_nothing_there_is_bad_input(tmp_path):
    """A dataset that isn't there can't be maintained."""
    assert isinstance(run(maintain_store, store=str(tmp_path / "none")).result, BadInput)


def test_keeping_less_than_nothing_is_refused(dataset):
    """A negative number of backups is refused by the form."""
    assert isinstance(run(maintain_store, store=str(dataset), keep=-1).result, BadInput)


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_the_command_tells_everything_once(dataset, capsys, how):
    """The report and each backup that goes are told in a readable line, not as raw values and not again at the end."""
    there = list_backups(str(dataset))
    with pytest.raises(SystemExit) as caught:
        main(["maintain", str(dataset), "--keep", "0", *how])
    told = "".join(capsys.readouterr())
    assert caught.value.code == 0
    assert told.count("ok: checked") == 1
    for manifest in there:
        (line,) = [line for line in told.splitlines() if manifest.id in line]
        done = "would delete" if how else "deleted"
        assert f"{done} backup {manifest.id} of {dataset}/windows.zarr (generation" in line
        assert "objects=" not in line
