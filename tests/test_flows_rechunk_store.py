"""From the writing to the reading layout, as a flow."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr
from make_datasets import make_session
from make_runs import run, snapshot
from prefect.serializers import JSONSerializer

from aggrade import BadInput, append
from aggrade.commit import PieceReceipt, WrittenObject
from flows.rechunk_store import rechunk_store

HERE = {"cluster_kwargs": {"processes": False, "n_workers": 1, "threads_per_worker": 2}}
NO_CLUSTER = {"cluster_class": "no.such.Cluster"}

pytestmark = pytest.mark.usefixtures("prefect_backend")


@pytest.fixture
def source(tmp_path):
    """Make a store of two sessions."""
    for number in (1, 2):
        session = make_session(f"sub-{number}", windows=4, seed=number, channels=3, samples=16)
        append(session, f"{tmp_path}/windows.zarr", grow=("window",))
    return tmp_path / "windows.zarr"


def rechunk(source, *, cluster=HERE, **parameters):
    """Run the flow."""
    target = source.parent / "windows_for_training.zarr"
    return run(rechunk_store, source=str(source), target=str(target), cluster=cluster, **parameters), target


def test_the_copy_holds_the_same(source):
    """Every value of the copy equals the source, in the chunks that were asked for."""
    done, target = rechunk(source, chunks={"window": 2, "eeg_channel": 1})
    assert done.state.is_completed()
    copy, original = (xr.open_zarr(str(place), chunks=None) for place in (target, source))
    for name in original.variables:
        assert np.array_equal(
            copy[name].values, original[name].values, equal_nan=copy[name].dtype.kind == "f"
        )
    assert copy["eeg"].encoding["chunks"][1:3] == (2, 1)


def test_pieces_are_tasks(source):
    """Pieces are done by task runs, small ones together, and plan, progress and receipt are artifacts."""
    done, target = rechunk(source)
    assert done.task(f"rechunk {source} → {target}") == "Completed"
    assert len([name for name in done.finals() if name.startswith("rechunk pieces 1 to ")]) == 1
    assert done.artifacts.keys() == {"plan", "progress", "receipts"}


def test_a_strip_is_a_task(tmp_path):
    """Pieces that share what they read are one task, whose result is read back by a later run as it was."""
    source, target = tmp_path / "s.zarr", tmp_path / "t.zarr"
    values = np.random.default_rng(0).random((200, 30))
    dataset = xr.Dataset({"x": (("a", "b"), values)})
    dataset.to_zarr(source, zarr_format=3, consolidated=False, encoding={"x": {"chunks": (50, 3)}})
    layout = {"chunks": {"a": 16, "b": 30}, "max_memory": f"{(56 + 2 * 16) * 30 * 8} B"}
    done = run(rechunk_store, source=str(source), target=str(target), cluster=HERE, **layout)
    assert done.state.is_completed()
    assert [name for name in done.finals() if " piece 1 of 1" in name]
    assert done.result[0].details["pieces"] > 1
    assert np.array_equal(xr.open_zarr(target, chunks=None).x.values, values)


def test_what_a_strip_returns_survives_json():
    """Results are persisted as JSON: receipts in a list of each strip come back as they were."""
    written = (WrittenObject("x/c/0", 3, "etag", "digest"),)
    results = [[PieceReceipt(digest=name, written=written, details={"bytes": 3})] * 2 for name in "ab"]
    assert JSONSerializer().loads(JSONSerializer().dumps(results)) == results


def test_all_of_it_is_compared(source):
    """Comparing is done by task runs of its own, and the receipt says how many pieces it were."""
    done, _ = rechunk(source, compare="full")
    assert done.state.is_completed()
    names = [name.split()[0] for name in done.finals() if " pieces 1 to " in name]
    assert sorted(names) == ["compare", "rechunk"]
    assert done.result[0].details["compared"] > 1


def test_a_dataset_gets_its_copies(source):
    """Without a target, each store of a dataset that has a copy for reading gets it, beside it."""
    append(make_session("sub-1", windows=4, seed=1), f"{source.parent}/night.zarr", grow=("window",))
    plans = run(rechunk_store, source=str(source.parent), cluster=NO_CLUSTER, dry_run=True)
    assert sorted(plan.target for plan in plans.result) == [
        f"{source.parent}/{name}_for_training.zarr" for name in ("night", "windows")
    ]
    done = run(rechunk_store, source=str(source.parent), cluster=HERE)
    assert [len(done.result), len(list(source.parent.glob("*_for_training.zarr")))] == [2, 2]


def test_a_dataset_without_copies_is_left_alone(tmp_path, caplog):
    """There is nothing to do, which is said, and that is no failure: an event may ask for it."""
    append(make_session("sub-1", windows=4, seed=1), f"{tmp_path}/sessions/sub-1.zarr", grow=("window",))
    logging.getLogger("aggrade").setLevel(logging.WARNING)
    assert run(rechunk_store, source=str(tmp_path), cluster=NO_CLUSTER).result == []
    assert f"nothing to rechunk in {tmp_path}" in caplog.text


@pytest.mark.parametrize("where", ["nothing", "recordings"])
def test_a_dataset_that_is_not_there_is_bad_input(tmp_path, where):
    """A misspelt dataset, or a folder that is none, is no dataset in which there is nothing to do."""
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "a.edf").write_bytes(b"?")
    error = run(rechunk_store, source=f"{tmp_path}/{where}", cluster=NO_CLUSTER).result
    assert isinstance(error, BadInput)
    assert "found no Zarr store, expected a dataset root or a Zarr store; check the path" in str(error)


def test_one_store_needs_a_target(source):
    """A store isn't taken for a dataset."""
    error = run(rechunk_store, source=str(source), cluster=NO_CLUSTER).result
    assert isinstance(error, BadInput)
    assert "target" in str(error)


def test_a_copy_that_is_up_to_date_is_left_alone(source):
    """The second run writes nothing and starts no cluster."""
    first, target = rechunk(source)
    before = snapshot(target)
    second, _ = rechunk(source, cluster=NO_CLUSTER)
    assert second.result == first.result
    assert snapshot(target) == before


def test_a_stale_copy_is_renewed(source):
    """When the source has grown, the copy follows."""
    rechunk(source)
    append(make_session("sub-3", windows=4, seed=3, channels=3, samples=16), str(source), grow=("window",))
    _, target = rechunk(source)
    assert xr.open_zarr(str(target), chunks=None)["session"].values.tolist() == ["sub-1", "sub-2", "sub-3"]


def test_a_dry_run_writes_nothing(source):
    """The plan names what would be written; no target comes into being."""
    done, target = rechunk(source, cluster=NO_CLUSTER, dry_run=True)
    assert done.state.is_completed()
    assert "rechunk" in str(done.result[0])
    assert not target.exists()


def test_a_source_that_is_not_there_is_bad_input(tmp_path):
    """A misspelt source fails at once and makes nothing."""
    done, target = rechunk(tmp_path / "nowhere.zarr")
    assert isinstance(done.result, BadInput)
    assert not target.exists()
