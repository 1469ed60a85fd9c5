"""Recordings → windows → layers: what lands, what is done once, what a bad session does."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from make_recordings import eeg_stream, marker_stream, write_xdf
from make_runs import WINDOWS, hold_intent, record, run, snapshot
from prefect.results import ResultRecord
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

import aggrade
from aggrade import AppendPlan, BadInput, Receipt, Refused
from aggrade.opening import open_windows
from aggrade.recovering import open_intents
from flows.ingest_sessions import ingest_sessions
from tasks.caching import readable

pytestmark = pytest.mark.usefixtures("prefect_backend")


@pytest.fixture
def recordings(tmp_path):
    """Record three sessions, 4 s each, whose samples tell them apart."""
    for number in range(3):
        record(tmp_path / "recordings", f"sub-{number}", first=10_000 * number)
    return tmp_path / "recordings"


@pytest.fixture
def store(tmp_path):
    """Return where the dataset goes."""
    return tmp_path / "dataset"


def ingest(recordings, store, **parameters):
    """Run the flow."""
    return run(ingest_sessions, source=str(recordings), store=str(store), windows=WINDOWS, **parameters)


def samples(store, session):
    """Return the first channel of a session, window after window."""
    return open_windows(str(store))["eeg"].sel(session=session).isel(eeg_channel=0).values.ravel()


def test_each_session_is_a_layer(recordings, store):
    """Every session lands once, in the order of the ids, with its own samples; nothing stays staged."""
    done = ingest(recordings, store)
    assert done.state.is_completed()
    assert [list(receipt.layers) for receipt in done.result] == [["sub-0"], ["sub-1"], ["sub-2"]]
    for number in range(3):
        assert np.array_equal(samples(store, f"sub-{number}"), 10_000 * number + np.arange(128))
    assert sorted(path.name for path in store.iterdir()) == [
        "catalogue",
        "windows.zarr",
        "windows.zarr.backups",
    ]
    assert list(aggrade.read_catalogue(str(store))["session"]) == ["sub-0", "sub-1", "sub-2"]


def test_each_step_has_a_run_with_a_name(recordings, store):
    """The task runs say what they do, and to what; a session is appended by one, alone or with others that wait."""
    done = ingest(recordings, store)
    assert done.task(f"recover {store}") == "Completed"
    names = [f"sub-{number}" for number in range(3)]
    assert {done.task(f"window {name}") for name in names} == {"Completed"}
    commits = {receipt.write_id: [] for receipt in done.result}
    for receipt in done.result:
        commits[receipt.write_id] += receipt.layers
    for together in commits.values():
        assert done.task(f"append {', '.join(together)} → {store}/windows.zarr") == "Completed"
    assert [name for together in commits.values() for name in together] == names


def test_names_with_braces_are_names(tmp_path):
    """They mean nothing to whoever names the runs, and neither do those of the store's path; again is a no-op."""
    names = ["a{0}", "b}", "c{x}", "{d"]
    for number, name in enumerate(names):
        record(tmp_path / "recordings", name, first=100 * number)
    store = tmp_path / "data{1}"
    first = ingest(tmp_path / "recordings", store)
    assert sorted(label for receipt in first.result for label in receipt.layers) == sorted(names)
    assert ingest(tmp_path / "recordings", store).result == first.result


def test_receipts_and_progress_are_artifacts(recordings, store):
    """A person finds the receipts and how far it is in the UI."""
    artifacts = ingest(recordings, store).artifacts
    assert artifacts.keys() == {"receipts", "progress", "quality"}
    assert float(artifacts["progress"]) == 100
    assert "sub-2" in artifacts["receipts"]


def test_the_second_time_nothing_is_done(recordings, store):
    """Cut sessions are cached, appended ones no-ops with the same receipts, and no file changes."""
    first = ingest(recordings, store)
    before = snapshot(store)
    second = ingest(recordings, store)
    assert second.result == first.result
    assert {second.task(f"window sub-{number}") for number in range(3)} == {"Cached"}
    assert snapshot(store) == before


def test_what_is_new_is_added(recordings, store):
    """A session that came later is added; those that are there are left alone."""
    ingest(recordings, store)
    record(recordings, "sub-1b", first=5)
    done = ingest(recordings, store)
    assert [list(receipt.layers) for receipt in done.result] == [["sub-0"], ["sub-1"], ["sub-1b"], ["sub-2"]]
    assert open_windows(str(store))["session"].values.tolist() == ["sub-0", "sub-1", "sub-2", "sub-1b"]


def test_a_bad_session_stops_no_other(recordings, store, caplog):
    """The good sessions land; each bad one and why is told at once, and by the error of the flow."""
    (recordings / "sub-0" / "recording.xdf").write_bytes(b"XDF:" + b"\xff" * 100)
    (recordings / "sub-9").mkdir()
    (recordings / "sub-9" / "notes.txt").write_text("no recording")
    done = ingest(recordings, store)
    assert done.state.is_failed()
    assert isinstance(done.result, BadInput)
    assert {problem.where.split(",")[0] for problem in done.result.problems} == {"sub-0", "sub-9"}
    assert "sub-9" in done.artifacts["failures"]
    told = " ".join(message for message in caplog.messages if " failed: " in message)
    assert all(problem.found in told for problem in done.result.problems)
    assert open_windows(str(store))["session"].values.tolist() == ["sub-1", "sub-2"]


def test_a_mended_session_lands_later(recordings, store):
    """A session that was bad is tried again when its files have changed, and the others are left alone."""
    good = (recordings / "sub-1" / "recording.xdf").read_bytes()
    (recordings / "sub-1" / "recording.xdf").write_bytes(good[:500])
    assert ingest(recordings, store).state.is_failed()
    (recordings / "sub-1" / "recording.xdf").write_bytes(good)
    done = ingest(recordings, store)
    assert done.state.is_completed()
    assert done.task("window sub-0") == "Cached"
    assert np.array_equal(samples(store, "sub-1"), 10_000 + np.arange(128))


def test_a_bad_session_can_be_set_aside(recordings, store):
    """It fails the run that finds it; later runs leave it alone and say why, until its files change."""
    path = recordings / "sub-1" / "recording.xdf"
    good = path.read_bytes()
    path.write_bytes(good[:500])
    first = ingest(recordings, store, quarantine=True, settle_s=0.01)
    assert first.state.is_failed()
    assert first.task("window sub-1") == "Failed"
    second = ingest(recordings, store, quarantine=True, settle_s=0.01)
    assert second.state.is_completed()
    assert [list(receipt.layers) for receipt in second.result] == [["sub-0"], ["sub-2"]]
    assert second.task("window sub-2") == "Cached"
    assert "window sub-1" not in second.finals()
    assert "sub-1: set aside since" in second.artifacts["left-alone"]
    path.write_bytes(good)
    third = ingest(recordings, store, quarantine=True)
    assert third.state.is_completed()
    assert {third.task("window sub-0"), third.task("window sub-2")} == {"Cached"}
    assert np.array_equal(samples(store, "sub-1"), 10_000 + np.arange(128))
    assert not list((store / ".aggrade" / "quarantine").glob("*"))


def kept_results(task, store):
    """Return what is kept of a task's runs for a store, in the order of the names."""
    folder = PREFECT_LOCAL_STORAGE_PATH.value() / task
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.parent.name == readable(store)
    )


def test_what_can_not_be_read_of_results_is_made_again(recordings, store):
    """Half a result and an empty one cost the time to do without them, and no more."""
    first = ingest(recordings, store)
    torn, _, good = kept_results("window", store)
    (empty,) = kept_results("asset", f"{store}/windows.zarr")
    torn.write_bytes(torn.read_bytes()[:200])
    empty.write_bytes(b"")
    before = good.stat().st_mtime_ns
    second = ingest(recordings, store)
    assert second.state.is_completed()
    assert second.result == first.result
    assert ResultRecord.deserialize(torn.read_bytes()).result.session == "sub-0"
    assert ResultRecord.deserialize(empty.read_bytes()).result == first.result[-1].write_id
    assert good.stat().st_mtime_ns == before


NEWER = [
    (r"\"session\":", r"\"of\": \"a newer aggrade\", \"session\":"),
    (r"\"windows\": 4", r"\"windows\": \"4 of 9\""),
    ("aggrade.staging.Staged", "aggrade.newer.Staged"),
]
"""What another version may write: a key, a type and a class that this one does not know."""


def test_a_result_of_a_newer_version_is_refused(recordings, store):
    """Those sessions wait for an update, with a sentence each; the others land, and what the newer version kept stays."""
    record(recordings, "sub-3", first=7)
    ingest(recordings, store)
    *kept, _ = kept_results("window", store)
    for path, (known, newer) in zip(kept, NEWER, strict=True):
        assert known in path.read_text()
        path.write_text(path.read_text().replace(known, newer))
    before = [path.read_text() for path in kept]
    shutil.rmtree(store)
    second = ingest(recordings, store)
    assert isinstance(second.result, Refused)
    for number, problem in enumerate(second.result.problems):
        assert problem.code == "newer-version"
        assert "update aggrade" in str(problem)
        assert f"sub-{number}" in str(problem)
    assert number == 2
    assert [path.read_text() for path in kept] == before
    assert [str(label) for label in open_windows(str(store)).session.values] == ["sub-3"]


def test_other_content_is_refused_unless_replaced(recordings, store):
    """A session that changed is refused, or replaced if that is asked for, from where it was staged."""
    ingest(recordings, store)
    record(recordings, "sub-1", first=70)
    refused = ingest(recordings, store)
    assert isinstance(refused.result, Refused)
    assert [problem.code for problem in refused.result.problems] == ["layer-differs"]
    assert np.array_equal(samples(store, "sub-1"), 10_000 + np.arange(128))
    replaced = ingest(recordings, store, on_conflict="replace")
    assert replaced.state.is_completed()
    assert replaced.task("window sub-1") == "Cached"
    assert np.array_equal(samples(store, "sub-1"), 70 + np.arange(128))


def test_what_was_refused_goes_when_it_is_cut_anew(tmp_path, store):
    """What was staged of older files, and refused, does not stay when the session lands with newer ones."""
    recordings, staging = tmp_path / "recordings", store / ".aggrade" / "staging"
    record(recordings, "sub-1")
    ingest(recordings, store)
    record(recordings, "sub-1", first=70)
    assert isinstance(ingest(recordings, store).result, Refused)
    assert len(list(staging.iterdir())) == 1
    record(recordings, "sub-1", first=90)
    assert ingest(recordings, store, on_conflict="replace").state.is_completed()
    assert np.array_equal(samples(store, "sub-1"), 90 + np.arange(128))
    assert not staging.exists()


def test_a_dry_run_writes_nothing(recordings, store):
    """The plans say what would be appended; no file comes into being."""
    done = ingest(recordings, store, dry_run=True)
    assert done.state.is_completed()
    assert all(isinstance(plan, AppendPlan) for plan in done.result)
    assert [layer.label for plan in done.result for layer in plan.new] == ["sub-0", "sub-1", "sub-2"]
    assert "sub-2" in done.artifacts["plan"]
    assert not store.exists()


def test_a_dry_run_recovers_nothing(recordings, store, caplog):
    """What recover would do is said and left alone; a real run recovers it first."""
    ingest(recordings, store)
    hold_intent(store / "windows.zarr")
    before = snapshot(store)
    ingest(recordings, store, dry_run=True)
    assert snapshot(store) == before
    assert any("recover would roll it" in record.getMessage() for record in caplog.records)
    done = ingest(recordings, store)
    assert done.state.is_completed()
    assert open_intents(str(store)) == {}


def test_a_dry_run_fails_on_a_bad_session(recordings, store):
    """A dry run names what a real run would refuse."""
    (recordings / "sub-0" / "recording.xdf").write_bytes(b"nothing")
    done = ingest(recordings, store, dry_run=True)
    assert isinstance(done.result, BadInput)
    assert "sub-1" in done.artifacts["plan"]


def test_what_was_staged_and_lost_is_cut_again(recordings, store):
    """If a cut session lies neither in its store nor in staging, the cache is not believed."""
    first = ingest(recordings, store)
    shutil.rmtree(store)
    second = ingest(recordings, store)
    assert second.state.is_completed()
    assert [receipt.digests for receipt in second.result] == [receipt.digests for receipt in first.result]
    assert all(isinstance(receipt, Receipt) for receipt in second.result)


def test_sessions_can_have_stores_of_their_own(recordings, store):
    """In the layout per_session every session has its store, and all are read as one."""
    ingest(recordings, store, layout="per_session")
    names = sorted(path.name for path in (store / "sessions").iterdir())
    assert names == [f"sub-{number}_windowed.zarr" for number in range(3)]
    assert sorted(open_windows(str(store))["session"].values) == ["sub-0", "sub-1", "sub-2"]


def test_partitions_go_by_the_sessions_date(recordings, store):
    """A partitioned dataset has a store per month of the sessions' starts."""
    ingest(recordings, store, partition="month")
    (month,) = (store / "windows").glob("*.zarr")
    start = str(open_windows(str(store))["session_start"].values[0])
    assert month.stem == (start[:7] or "undated")


def test_a_source_that_is_not_there_is_bad_input(store, tmp_path):
    """A misspelt folder fails at once and makes nothing."""
    done = ingest(tmp_path / "nowhere", store)
    assert isinstance(done.result, BadInput)
    assert not store.exists()


def test_a_zarr_store_is_no_dataset_root(recordings, store):
    """A dataset root is asked for, and a Zarr store refused."""
    assert isinstance(ingest(recordings, store / "windows.zarr").result, BadInput)


@pytest.mark.long
def test_other_labels_than_the_stores(tmp_path, store):
    """A session whose labels have other codes than the store's is refused, dry as well; what is there stays there."""
    t, markers = 100 + np.arange(128) / 32, marker_stream(100.5 + np.arange(4), ["rest", "left"] * 2)
    for session in ("sub-0", "sub-1"):
        (tmp_path / f"of-{session}" / session).mkdir(parents=True)
        write_xdf(tmp_path / f"of-{session}" / session / "r.xdf", [eeg_stream(t, rate=32.0), markers])
    mapped = {"store": str(store), "windows": {**WINDOWS, "mapping": {"rest": 0, "left": 1}}}
    run(ingest_sessions, source=str(tmp_path / "of-sub-0"), **mapped)
    mapped["windows"] = {**WINDOWS, "mapping": {"left": 0, "rest": 1}}
    for dry in (True, False):
        done = run(ingest_sessions, source=str(tmp_path / "of-sub-1"), dry_run=dry, **mapped)
        assert "cut it again with the store's mapping" in str(done.state.message)
    assert list(open_windows(str(store))["session"].values) == ["sub-0"]
