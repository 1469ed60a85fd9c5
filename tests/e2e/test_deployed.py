"""Deployments on a real Prefect server with a real worker: set up, run, scheduled, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest
import xarray as xr
from make_runs import receipts_in, record
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_sites import Site, runs_of, set_up
from pydantic import BaseModel
from waiting import wait_until

import aggrade
from flows.demo_servers import prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Set a fresh server up as the README says, twice, and give the site with a worker, and what was there each time."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        site = Site(tmp_path_factory.mktemp("site"), server.environment)
        site.told = []
        with temporary_settings({PREFECT_API_URL: server.environment["PREFECT_API_URL"]}):
            for _ in range(2):
                set_up(site)
                site.told.append(told())
            with site.worker():
                yield site


def told():
    """Return what a server has been told: its deployments with their schedules, its pools and its automations, by name."""
    with get_client(sync_client=True) as client:
        found = {one.name: without(one, "created", "updated") for one in client.read_deployments()}
        found |= {one.name: without(one, "created", "updated") for one in client.read_work_pools()}
        anew = ("id", "created", "updated")  # those of a deployment's triggers are made anew with it
        return found | {one.name: without(one, *anew) for one in client.read_automations()}


def without(value, *names):
    """Return a model or what is in it as plain values, without fields of these names, wherever they are."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: without(one, *names) for name, one in value.items() if name not in names}
    return [without(one, *names) for one in value] if isinstance(value, list) else value


@pytest.fixture
def client(site):  # noqa: ARG001 - the server has to run
    """Return a client of the site's server."""
    with get_client(sync_client=True) as client:
        yield client


def test_twice_in_a_row_makes_no_difference(site):
    """The second set-up leaves every deployment, schedule, pool and automation as the first one made it."""
    first, second = site.told
    assert {"ingest-sessions", "aggrade", "crash-silent-runs", "rechunk-what-grew"} <= first.keys()
    assert second == first


def test_from_nothing_to_completed(site, client):
    """A deployment run cuts, appends and rechunks what lies in the folder that the deployment names."""
    record(site.recordings, "first")
    said = site.run("prefect", "deployment", "run", "pipeline/pipeline", "--watch")
    assert "Completed" in said
    assert [run.state.name for run in runs_of(client, "pipeline/pipeline")] == ["Completed"]
    assert site.sessions() == {"first": 1}
    assert (site.store / "windows_for_training.zarr").exists()


def test_an_ingest_is_followed_by_a_rechunk(site, client):
    """What a deployment has added to the dataset that it names, the dataset's copy for reading gets by an event."""
    name = "rechunk-store/rechunk-store"
    before = {run.id for run in runs_of(client, name)}

    def followed():
        return [run for run in runs_of(client, name) if run.id not in before]

    command = ["prefect", "deployment", "run", "ingest-sessions/ingest-sessions", "-p", "store=data/other"]
    site.run(*command, "-p", "settle_s=0", "--watch")
    wait_until(
        lambda: bool(followed()) and all(run.state.is_final() for run in followed()),
        "the rechunk",
        seconds=1200,
    )
    assert {(run.state.name, run.parameters["source"], run.parameters["dry_run"]) for run in followed()} == {
        ("Completed", "data/other", False)
    }
    copy = xr.open_zarr(site.folder / "data" / "other" / "windows_for_training.zarr", chunks=None)
    assert copy["session"].values.tolist() == ["first"]


class Grows:
    """A recording that is written bit by bit until it is whole."""

    def __init__(self, path, data):
        self.path, self._data, self._whole = path, data, threading.Event()
        self._thread = threading.Thread(target=self._write)
        path.parent.mkdir(parents=True)
        path.write_bytes(data[:100])
        self._thread.start()

    def _write(self):
        """Write a byte a second; it is never at rest for long."""
        size = 100
        while not self._whole.wait(1):
            size = min(size + 1, len(self._data) - 1)
            self.path.write_bytes(self._data[:size])
        self.path.write_bytes(self._data)

    def finish(self):
        """Write the rest."""
        self._whole.set()
        self._thread.join()


def test_a_schedule_over_a_folder_that_fills(site, client, tmp_path):
    """Every minute: each good session lands once, a growing one when it is whole, a bad one when it is mended."""
    for number in range(2):
        record(site.recordings, f"early-{number}", first=100 * number)
    good = (record(tmp_path, "any", first=7) / "recording.xdf").read_bytes()
    bad = site.recordings / "bad" / "recording.xdf"
    bad.parent.mkdir()
    bad.write_bytes(good[:300])
    growing = Grows(site.recordings / "growing" / "recording.xdf", good)
    name = "ingest-sessions/ingest-sessions"
    deployment = client.read_deployment_by_name(name)
    (schedule,) = client.read_deployment_schedules(deployment.id)
    before = {run.id for run in runs_of(client, name)}
    every_minute = CronSchedule(cron="* * * * *")
    client.update_deployment_schedule(deployment.id, schedule.id, schedule=every_minute, active=True)

    def scheduled():
        return [run for run in runs_of(client, name) if run.id not in before]

    def ended():
        runs = [run for run in scheduled() if run.state.is_final()]
        return [run.state.name for run in sorted(runs, key=lambda run: str(run.end_time))]

    try:
        wait_until(lambda: len(ended()) >= 2, "two scheduled runs", seconds=1200)
        assert ended()[:2] == ["Failed", "Completed"]
        assert {"early-0", "early-1"} <= site.sessions().keys()
        assert site.sessions().keys().isdisjoint({"bad", "growing"})
        bad.write_bytes(good)
        growing.finish()
        record(site.recordings, "late", first=50)
        wait_until(lambda: len(ended()) >= 5, "five scheduled runs", seconds=1200)
    finally:
        growing.finish()
        client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    assert ended()[2:5] == ["Completed"] * 3
    assert set(site.sessions().values()) == {1}
    assert {"early-0", "early-1", "bad", "growing", "late"} <= site.sessions().keys()
    ids = {run.id for run in scheduled()}
    cut = Counter(
        task.name
        for task in client.read_task_runs()
        if task.flow_run_id in ids
        and task.name.startswith("window ")
        and task.state.name in {"Completed", "Failed"}
    )
    assert cut == {f"window {name}": 1 for name in ("early-0", "early-1", "growing", "late")} | {
        "window bad": 2
    }


def test_every_way_leaves_the_same_receipts(site, client, tmp_path):
    """A schedule, the form's request, `prefect deployment run`, `python -m` and a call do the same, receipt by receipt.

    Sessions whose channels may be united are appended one by one; of others it is chance which are appended together.
    """
    for number in range(3):
        record(tmp_path, f"sub-{number}", first=100 * number, seconds=6)
    ways = {way: site.folder / "data" / f"way-{way}" for way in ("schedule", "requests", "deployed")}
    what = {"source": str(tmp_path), "windows": {"window_size_s": 1.0}, "channels": "union"}
    asked = {way: what | {"store": str(store), "settle_s": 0} for way, store in ways.items()}
    name = "ingest-sessions/ingest-sessions"
    deployment = client.read_deployment_by_name(name)
    (schedule,) = client.read_deployment_schedules(deployment.id)
    before = {run.id for run in runs_of(client, name)}

    def completed():
        runs = [run for run in runs_of(client, name) if run.id not in before and run.state.is_completed()]
        return {run.parameters["store"] for run in runs}

    every_minute = {"schedule": CronSchedule(cron="* * * * *"), "parameters": asked["schedule"]}
    client.update_deployment_schedule(deployment.id, schedule.id, active=True, **every_minute)
    try:
        wait_until(lambda: asked["schedule"]["store"] in completed(), "the scheduled run", seconds=1200)
    finally:
        client.update_deployment_schedule(deployment.id, schedule.id, active=False, parameters={})
    client.create_flow_run_from_deployment(deployment.id, parameters=asked["requests"])
    site.run("prefect", "deployment", "run", name, "--params", json.dumps(asked["deployed"]))
    wait_until(lambda: {str(store) for store in ways.values()} <= completed(), "the other runs", seconds=1200)
    command, call = (site.folder / "data" / f"way-{way}" for way in ("commands", "a-caller"))
    how = ["--windows", json.dumps(what["windows"]), "--channels", "union"]
    site.run("python", "-m", "flows.ingest_sessions", str(tmp_path), str(command), *how)
    plain = "import json, sys; from flows.ingest_sessions import ingest_sessions; ingest_sessions(**json.loads(sys.argv[1]))"
    site.run("python", "-c", plain, json.dumps(what | {"store": str(call)}))
    expected, sizes = receipts_and_sizes(call / "windows.zarr")
    assert [list(one["layers"]) for one in expected] == [["sub-0"], ["sub-1"], ["sub-2"]]
    for store in (*ways.values(), command):
        found, written = receipts_and_sizes(store / "windows.zarr")
        assert found == expected, store.name
        assert written == pytest.approx(sizes, abs=16), store.name


def receipts_and_sizes(store):
    """Return a store's receipts apart from how many bytes each wrote, since write ids of several receipts compress unlike."""
    receipts = receipts_in(store)
    return receipts, [one.pop("bytes_written") for one in receipts]


def test_a_killed_run_goes_on(site, client):
    """SIGKILL of a run's process: the worker says that it crashed, and `aggrade resume` lets the same run complete."""
    for number in range(12):
        record(site.recordings, f"many-{number:02}", first=10 * number, seconds=30)
    name = "ingest-sessions/ingest-sessions"
    before = {run.id for run in runs_of(client, name)}
    site.run("prefect", "deployment", "run", name, "-p", "settle_s=0")
    (run,) = [run for run in runs_of(client, name) if run.id not in before]
    wait_until(lambda: site.sessions().keys() & {"many-01"}, "the second session", seconds=1200)
    process = subprocess.run(
        ["pgrep", "-f", "prefect.engine|flow-run execute"], capture_output=True, text=True, check=True
    )
    for found in process.stdout.split():
        if str(run.id) in Path(f"/proc/{found}/environ").read_text(errors="replace"):
            os.kill(int(found), signal.SIGKILL)
    wait_until(lambda: client.read_flow_run(run.id).state.name == "Crashed", "the crash", seconds=1200)
    said = site.run("aggrade", "resume")
    assert "goes on" in said

    def has_ended_again():
        found = client.read_flow_run(run.id)
        return found.run_count == 2 and found.state.is_final()

    wait_until(has_ended_again, "its end", seconds=1200)
    assert client.read_flow_run(run.id).state.name == "Completed"
    assert {count for label, count in site.sessions().items() if label.startswith("many")} == {1}
    assert sum(label.startswith("many") for label in site.sessions()) == 12
    assert aggrade.verify(site.store).ok
