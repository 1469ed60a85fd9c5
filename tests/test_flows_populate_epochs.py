"""Catalogues → light curves: what lands, what is done once, what a bad catalogue does."""

from __future__ import annotations

import json

import pytest
from make_runs import hold_intent, run, snapshot, survey

from aggrade import BadInput
from aggrade.lightcurves import LightCurves
from aggrade.recovering import open_intents
from flows.populate_epochs import populate_epochs
from tasks.clusters import Cluster
from tasks.populating import Looks

HERE = {"cluster_kwargs": {"processes": False, "n_workers": 1, "threads_per_worker": 2}}
NO_CLUSTER = {"cluster_class": "no.such.Cluster"}


@pytest.fixture
def store(tmp_path):
    """Return where the dataset goes."""
    return tmp_path / "dataset"


def populate(tmp_path, store, nights, *, cluster=HERE, placed=False, **parameters):
    """Write catalogues of some nights and run the flow."""
    spec = survey(tmp_path / "catalogues", nights, placed=placed)
    return run(
        populate_epochs,
        catalogues=f"{tmp_path}/catalogues",
        store=str(store),
        spec=spec,
        cluster=cluster,
        **parameters,
    )


def magnitudes(store, number):
    """Return an object's magnitudes, night after night."""
    return LightCurves(str(store)).lightcurve(number)["lightcurves"].sel(value="mag").values.ravel().tolist()


@pytest.mark.usefixtures("prefect_backend")
def test_every_cell_is_the_catalogues(tmp_path, store):
    """Each object has its own magnitude in each night, and the runs say what they do."""
    done = populate(tmp_path, store, 3)
    assert done.state.is_completed()
    (receipt,) = done.result
    assert receipt.layers == {"000": 0, "001": 1, "002": 2}
    for number in range(3):
        assert magnitudes(store, number) == [number + night / 8 for night in range(3)]
    assert done.task(f"populate {store} from {tmp_path}/catalogues") == "Completed"
    assert done.task("populate piece 1 of 1") == "Completed"


@pytest.mark.usefixtures("prefect_backend")
def test_the_plan_is_seen_before_the_receipt(tmp_path, store):
    """Plan, progress, receipts and epochs are artifacts of the run; objects without positions have no sky."""
    artifacts = populate(tmp_path, store, 2).artifacts
    assert artifacts.keys() == {"plan", "progress", "receipts", "epochs"}
    assert "2 new epochs" in artifacts["plan"]


@pytest.mark.usefixtures("prefect_backend")
def test_the_epochs_of_a_run_and_the_sky_are_seen(tmp_path, store):
    """A row for each epoch that this run has brought, and a picture of where all objects lie."""
    populate(tmp_path, store, 2, placed=True)
    artifacts = populate(tmp_path, store, 3, placed=True).artifacts
    assert artifacts.keys() == {"plan", "progress", "receipts", "epochs", "sky"}
    (row,) = json.loads(artifacts["epochs"])
    assert row | {"epoch_time": 0} == {
        "epoch": "002",
        "epoch_time": 0,
        "objects": 3,
        "detections": 3,
        "limits": 0,
        "flagged": 0,
    }
    assert row["epoch_time"] == 6002
    assert artifacts["sky"].startswith("data:image/png;base64,")


@pytest.mark.usefixtures("prefect_backend")
def test_the_second_time_no_cluster_is_started(tmp_path, store):
    """If no epoch is new, nothing is written, and a cluster that can't even be started isn't missed."""
    first = populate(tmp_path, store, 2)
    before = snapshot(store)
    second = run(
        populate_epochs,
        catalogues=f"{tmp_path}/catalogues",
        store=str(store),
        spec=survey(tmp_path / "elsewhere", 0),
        cluster=NO_CLUSTER,
    )
    assert second.result == first.result
    assert snapshot(store) == before


@pytest.mark.usefixtures("prefect_backend")
def test_new_nights_are_added(tmp_path, store):
    """Nights that came later are added to those that are there."""
    populate(tmp_path, store, 1)
    done = populate(tmp_path, store, 3)
    assert done.result[0].layers == {"001": 1, "002": 2}
    assert magnitudes(store, 2) == [2.0, 2.125, 2.25]


@pytest.mark.usefixtures("prefect_backend")
def test_a_bad_catalogue_stops_no_other(tmp_path, store):
    """The good nights land; the flow fails with an error that names the bad file and why."""
    spec = survey(tmp_path / "catalogues", 2)
    (tmp_path / "catalogues" / "night_009.csv").write_text("number,mjd,mag,err\n1,6009,3,0.1\n")
    done = run(
        populate_epochs, catalogues=f"{tmp_path}/catalogues", store=str(store), spec=spec, cluster=HERE
    )
    assert done.state.is_failed()
    assert isinstance(done.result, BadInput)
    (problem,) = done.result.problems
    assert (problem.where, problem.found) == ("night_009.csv, column id", "no such column")
    assert "number" in problem.expected
    assert magnitudes(store, 1) == [1.0, 1.125]


@pytest.mark.usefixtures("prefect_backend")
def test_a_dry_run_writes_nothing(tmp_path, store):
    """The plan is returned and shown; nothing is written and no cluster started."""
    done = populate(tmp_path, store, 2, cluster=NO_CLUSTER, dry_run=True)
    assert [epoch.report.key for epoch in done.result[0].epochs] == ["000", "001"]
    assert "2 new epochs" in done.artifacts["plan"]
    assert not store.exists()


@pytest.mark.usefixtures("prefect_backend")
def test_it_begins_with_recover(tmp_path, store):
    """An intent that a dead writer held is free after the next run."""
    populate(tmp_path, store, 1)
    hold_intent(store / "lightcurves.zarr")
    assert populate(tmp_path, store, 1).state.is_completed()
    assert open_intents(str(store)) == {}


def test_a_look_is_remembered():
    """The same look at the same thing is had once; at another thing, or another look, it is had."""
    seen = []

    def look(item):
        seen.append(item)
        return item * 2

    looks = Looks()
    assert looks.map(look, [1, 2]) == [2, 4]
    assert looks.map(look, [2, 3]) == [4, 6]
    assert seen == [1, 2, 3]


def test_the_cluster_of_the_tests_is_a_cluster():
    """The clusters named in these tests are described as a user would describe them."""
    assert Cluster.model_validate(HERE).runner().cluster_kwargs["processes"] is False
    with pytest.raises(ImportError):
        Cluster.model_validate(NO_CLUSTER).runner()
