"""Everything in order, in one flow run."""

from __future__ import annotations

import pytest
from make_datasets import make_session
from make_runs import WINDOWS, record, run, snapshot, survey

from aggrade import BadInput, append, rechunk
from aggrade.lightcurves import LightCurves
from aggrade.opening import open_windows
from flows.pipeline import pipeline

HERE = {"cluster_kwargs": {"processes": False, "n_workers": 1, "threads_per_worker": 2}}
STORES = ["lightcurves.zarr", "lightcurves_by_object.zarr", "windows.zarr", "windows_for_training.zarr"]

pytestmark = pytest.mark.usefixtures("prefect_backend")


@pytest.fixture
def given(tmp_path):
    """Make two sessions and two nights; return the pipeline's parameters."""
    for number in range(2):
        record(tmp_path / "recordings", f"sub-{number}", first=1000 * number)
    return {
        "store": str(tmp_path / "dataset"),
        "recordings": str(tmp_path / "recordings"),
        "catalogues": str(tmp_path / "catalogues"),
        "windows": WINDOWS,
        "spec": survey(tmp_path / "catalogues", 2),
        "cluster": HERE,
    }


def stores(tmp_path):
    """Return the names of the Zarr stores of the dataset."""
    return sorted(path.name for path in (tmp_path / "dataset").glob("*.zarr"))


def test_everything_is_done_once_and_in_order(given, tmp_path):
    """Sessions, nights and both copies lie there after one run; the next run changes no file."""
    first = run(pipeline, **given)
    assert first.state.is_completed()
    assert [receipt.kind for receipt in first.result] == [
        "append",
        "append",
        "populate",
        "rechunk",
        "rechunk",
    ]
    assert stores(tmp_path) == STORES
    assert open_windows(given["store"])["session"].values.tolist() == ["sub-0", "sub-1"]
    assert LightCurves(given["store"]).lightcurve(1)["lightcurves"].sel(
        value="mag"
    ).values.ravel().tolist() == [1, 1.125]
    before = snapshot(tmp_path / "dataset")
    second = run(pipeline, **given)
    assert second.result == first.result
    assert snapshot(tmp_path / "dataset") == before


@pytest.mark.long
def test_parts_that_are_not_given_are_left_out(given, tmp_path):
    """With catalogues alone, no windows are cut and only light curves are copied."""
    run(pipeline, **{name: value for name, value in given.items() if name not in ("recordings", "windows")})
    assert stores(tmp_path) == STORES[:2]


def test_a_part_that_fails_stops_no_other(given, tmp_path):
    """A bad session fails the run in the end, after everything else was done."""
    (tmp_path / "recordings" / "sub-0" / "recording.xdf").write_bytes(b"nothing")
    done = run(pipeline, **given)
    assert done.state.is_failed()
    assert isinstance(done.result, BadInput)
    assert {problem.where.split(",")[0] for problem in done.result.problems} == {"ingest"}
    assert "sub-0" in str(done.result)
    assert stores(tmp_path) == STORES


def test_an_input_needs_its_specification(given, tmp_path):
    """Recordings without windows, catalogues without spec: both are named, and nothing is begun."""
    done = run(pipeline, **given | {"windows": None, "spec": None})
    assert isinstance(done.result, BadInput)
    assert [problem.where for problem in done.result.problems] == ["parameter windows", "parameter spec"]
    assert not (tmp_path / "dataset").exists()


def test_a_specification_needs_its_input(given, tmp_path):
    """Windows without recordings, a spec without catalogues: an input was forgotten, and nothing is begun."""
    done = run(pipeline, **given | {"recordings": None, "catalogues": None})
    assert isinstance(done.result, BadInput)
    assert {problem.where for problem in done.result.problems} == {
        "parameter recordings",
        "parameter catalogues",
    }
    assert not (tmp_path / "dataset").exists()


def test_copies_are_made_as_asked(tmp_path):
    """All of a copy is compared, and no former version of it stays."""
    for number in range(2):
        append(
            make_session(f"sub-{number}", windows=4, seed=number),
            f"{tmp_path}/windows.zarr",
            grow=("window",),
        )
        if not number:
            rechunk(f"{tmp_path}/windows.zarr", f"{tmp_path}/windows_for_training.zarr")
    asked = {"store": str(tmp_path), "cluster": HERE, "compare": "full", "keep_versions": 0}
    (plan,) = run(pipeline, **asked, dry_run=True).result
    assert plan.prunes > 1
    (receipt,) = run(pipeline, **asked).result
    assert receipt.details["compared"] > 1


def test_versions_that_can_not_be_kept_are_refused_first(given, tmp_path):
    """How many versions of a copy stay is judged before anything is ingested."""
    done = run(pipeline, **given | {"keep_versions": 2})
    assert [problem.where for problem in done.result.problems] == ["parameter keep_versions"]
    assert not (tmp_path / "dataset").exists()


def test_a_dry_run_writes_nothing(given, tmp_path):
    """Plans of all that can be planned come back; no file comes into being."""
    done = run(pipeline, **given | {"dry_run": True})
    assert [type(plan).__name__ for plan in done.result] == ["AppendPlan", "AppendPlan", "PopulatePlan"]
    assert not (tmp_path / "dataset").exists()
