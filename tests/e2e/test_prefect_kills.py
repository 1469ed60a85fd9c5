"""SIGKILL of whatever takes part in a deployment's run: each ends with the stores that it has undisturbed, without a person.

What a supervisor does outside of tests (systemd, Docker, Kubernetes), the tests do: they start anew what was killed.
"""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import psutil
import pytest
import xarray as xr
from make_runs import WINDOWS, record, survey
from postgres_server import postgres_server
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from prefect_sites import PROGRAMS, Site, process_of, runs_of, set_up
from waiting import wait_until

import aggrade
from deployments.setup import automations
from flows.demo_servers import prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]

SESSIONS, MANY_SESSIONS, NIGHTS = 10, 50, 160
BOOKKEEPING = {"receipt", "source_mark"}
"""Variables that tell one run from another; everything else has to be equal."""
INGEST, RESUME = "ingest-sessions/ingest-sessions", "resume-crashed/resume-crashed"


def record_all(folder, count):
    """Write sessions; return where they lie."""
    return [record(folder, f"sub-{number:02}", first=100 * number, seconds=30) for number in range(count)]


@contextmanager
def site_on(server, folder):
    """Set a server up, let crashed runs go on every minute, and give the site with a client."""
    folder.mkdir()
    site = Site(folder, server.environment | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"})
    record_all(site.recordings, SESSIONS)
    set_up(site)
    api = {PREFECT_API_URL: server.environment["PREFECT_API_URL"]}
    with temporary_settings(api), get_client(sync_client=True) as client:
        look_every_minute(client)
        yield site, client


def look_every_minute(client):
    """Let `resume-crashed` run every minute, call runs silent or lost in a sixth of the time, and let nothing follow runs."""
    deployment = client.read_deployment_by_name(RESUME)
    (schedule,) = client.read_deployment_schedules(deployment.id)
    every_minute = CronSchedule(cron="* * * * *")
    sooner = {"silent_s": 100, "lost_s": 310}
    client.update_deployment_schedule(
        deployment.id, schedule.id, active=True, schedule=every_minute, parameters=sooner
    )
    for wanted in automations():
        wanted.trigger.within /= 6
        (there,) = client.read_automations_by_name(wanted.name)
        client.update_automation(there.id, wanted)
    (followed,) = client.read_automations_by_name("rechunk-what-grew")
    client.pause_automation(followed.id)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Give a site on a server of its own, and a client."""
    folder = tmp_path_factory.mktemp("kills")
    with prefect_server(folder / "prefect") as server, site_on(server, folder / "site") as place:
        yield place


def alone(folder, count):
    """Return what so many sessions are as one store, made without flows."""
    for source in record_all(folder / "recordings", count):
        windows = aggrade.cut_windows(str(source), aggrade.WindowSpec(**WINDOWS))
        aggrade.append(windows, f"{folder}/windows.zarr", grow=("window",))
    return xr.open_zarr(f"{folder}/windows.zarr", chunks=None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return what the sessions are as one store."""
    return alone(tmp_path_factory.mktemp("undisturbed"), SESSIONS)


def ordered(site, client, name, **more):
    """Order a run that ingests into a dataset of its own."""
    parameters = {"store": f"data/{name}", "windows": WINDOWS, "settle_s": 0, **more}
    before = {run.id for run in runs_of(client, INGEST)}
    site.run("prefect", "deployment", "run", INGEST, "--params", json.dumps(parameters))
    (run,) = [run for run in runs_of(client, INGEST) if run.id not in before]
    return run


def ingest(site, client, name, sessions=SESSIONS, **more):
    """Order a run; return it when some sessions have landed."""
    run = ordered(site, client, name, **more)
    wait_until(lambda: landed(site, name) >= 2, "two sessions", seconds=1200)
    assert landed(site, name) < sessions
    return run


def landed(site, name):
    """Return how many sessions a dataset has on record."""
    layers = site.folder / "data" / name / "windows.zarr" / ".aggrade" / "layers"
    return len(list(layers.glob("*.json")))


def kill(process):
    """Kill a process and everything that it has started, as a machine that dies does."""
    with suppress(psutil.NoSuchProcess):
        family = [*process.children(recursive=True), process]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def assert_ends_well(site, client, run, name, undisturbed):
    """In the end the run is Completed, and the store holds what it holds undisturbed."""

    def completed():
        with suppress(OSError):
            return client.read_flow_run(run.id).state.is_completed()

    wait_until(completed, "the end of the run", seconds=1200)
    store = site.folder / "data" / name / "windows.zarr"
    found = xr.open_zarr(str(store), chunks=None)
    assert found.sizes == undisturbed.sizes
    for variable in set(undisturbed.variables) - BOOKKEEPING:
        one, other = found[variable].values, undisturbed[variable].values
        if variable != "source":
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), variable
    assert aggrade.verify(store.parent).ok


def test_the_flow(place, undisturbed):
    """Its worker says that it crashed, `resume-crashed` lets it go on."""
    site, client = place
    with site.worker():
        run = ingest(site, client, "flow")
        process_of(run).kill()
        assert_ends_well(site, client, run, "flow", undisturbed)
        assert client.read_flow_run(run.id).run_count == 2


def test_a_run_that_is_cancelled(place, tmp_path):
    """It stops amid its sessions and leaves no intent; the next run goes on."""
    site, client = place
    more = {"source": str(tmp_path / "recordings")}
    expected = alone(tmp_path, MANY_SESSIONS)
    with site.worker():
        run = ingest(site, client, "cancelled", MANY_SESSIONS, **more)
        process = process_of(run)
        client.set_flow_run_state(run.id, Cancelling())
        wait_until(lambda: client.read_flow_run(run.id).state.name == "Cancelled", "its end", seconds=1200)
        wait_until(lambda: not process.is_running(), "the end of its process", seconds=1200)
        store = site.folder / "data" / "cancelled" / "windows.zarr"
        assert landed(site, "cancelled") < MANY_SESSIONS
        assert json.loads((store / ".aggrade" / "intent.json").read_text())["state"] == "free"
        assert aggrade.verify(store).ok
        again = ordered(site, client, "cancelled", **more)
        assert_ends_well(site, client, again, "cancelled", expected)


def test_a_run_that_crashes_each_time(place):
    """It is started three times, then left to a person, who is told so by the run that gave it up."""
    site, client = place
    deployment = client.read_deployment_by_name(INGEST)
    dies = {"command": f"{PROGRAMS / 'python'} -c 'import os; os.kill(os.getpid(), 9)'"}
    parameters = {"store": "data/never", "windows": WINDOWS}
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters, job_variables=dies)

    def given_up():
        shown = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["crashed-runs"]))
        )
        rows = [row for one in shown for row in json.loads(one.data) if row["id"] == str(run.id)]
        return [row["attempts"] for row in rows if row["becomes"] == "given up"]

    with site.worker():
        wait_until(given_up, "the end of its turns", seconds=1200)
    assert set(given_up()) == {3}
    assert client.read_flow_run(run.id).state.is_crashed()
    states = [state.name for state in client.read_flow_run_states(run.id)]
    assert states.count("AwaitingRetry") == 2


def test_the_worker(place, undisturbed):
    """What it had started goes on by itself."""
    site, client = place
    with site.worker() as worker:
        run = ingest(site, client, "worker")
        worker.kill()
        worker.wait()
        with site.worker():
            assert_ends_well(site, client, run, "worker", undisturbed)
        assert client.read_flow_run(run.id).run_count == 1


def test_the_machine(place, undisturbed):
    """No heartbeat: the automation says that the run crashed, `resume-crashed` lets it go on elsewhere."""
    site, client = place
    with site.worker() as worker:
        run = ingest(site, client, "machine")
        kill(psutil.Process(worker.pid))
        worker.wait()
        assert client.read_flow_run(run.id).state.is_running()
    with site.worker():
        assert_ends_well(site, client, run, "machine", undisturbed)
        assert client.read_flow_run(run.id).run_count == 2


def test_the_machine_before_the_flow_begins(place, undisturbed):
    """No worker takes what another one took: the automation says that the run crashed, `resume-crashed` lets it go on."""
    site, client = place
    with site.worker() as worker:
        run = ordered(site, client, "start")
        wait_until(lambda: client.read_flow_run(run.id).state.name == "Submitting", "a start", seconds=1200)
        kill(psutil.Process(worker.pid))
        worker.wait()
        assert client.read_flow_run(run.id).state.is_pending()
    with site.worker():
        assert_ends_well(site, client, run, "start", undisturbed)


def kill_server(server):
    """Kill a Prefect server that this process has started."""
    port = server.environment["PREFECT_SERVER_API_PORT"]
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            is_it = process.environ().get("PREFECT_SERVER_API_PORT") == port
            if is_it and process.cmdline()[1:] == ["-m", "prefect", "server", "start"]:
                process.kill()
                process.wait()
                return
    raise AssertionError("there is no server to kill")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_server(kind, undisturbed, tmp_path):
    """Killed while a run is under way and started anew on the same database: the run ends all the same."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres_server()) if kind == "postgresql" else None
        server = stack.enter_context(prefect_server(tmp_path / "prefect", database))
        site, client = stack.enter_context(site_on(server, tmp_path / "site"))
        stack.enter_context(site.worker())
        run = ingest(site, client, kind)
        kill_server(server)
        again = stack.enter_context(prefect_server(tmp_path / "prefect", database))
        assert again.api_url == server.api_url
        stack.enter_context(site.worker())
        assert_ends_well(site, client, run, kind, undisturbed)


class DaskCluster:
    """A Dask scheduler and two workers, in processes of their own and in another folder than the flow's."""

    def __init__(self, folder, environment):
        self._folder, self._environment, self._running = folder, environment, []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        """Start them."""
        here = ["--host", "127.0.0.1"]
        ports = ["--port", str(self.port), "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._run("scheduler", *here, *ports)
        self._run("worker", self.address, *here, "--nworkers", "2", "--nthreads", "1", "--no-dashboard")

    def _run(self, *command):
        with (self._folder / f"{command[0]}.log").open("ab") as log:
            process = psutil.Popen(
                [PROGRAMS / "dask", *command], cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )
        self._running.append(process)
        return process

    def kill(self):
        """Kill all of them, as far as they run still."""
        while self._running:
            process = self._running.pop()
            kill(process)
            process.wait()


@pytest.fixture
def dask_cluster(place, tmp_path):
    """Give a Dask cluster on this machine."""
    cluster = DaskCluster(tmp_path, place[0].environment)
    yield cluster
    cluster.kill()


@contextmanager
def populating(site, folder, *cluster):
    """Populate a store from a survey; give the process and the store when a piece is done."""
    spec = survey(folder / "catalogues", NIGHTS, objects=200)
    aggrade.populate(str(folder / "catalogues"), str(folder / "undisturbed"), spec)
    command = ["-m", "flows.populate_epochs", str(folder / "catalogues"), str(folder / "killed")]
    with (folder / "populate.log").open("ab") as log:
        process = psutil.Popen(
            [PROGRAMS / "python", *command, "--spec", json.dumps(spec), *cluster],
            cwd=site.folder,
            env=site.environment,
            stdout=log,
            stderr=log,
        )
    store = folder / "killed" / "lightcurves.zarr"

    def a_piece_is_done():
        return process.poll() is not None or any((store / ".aggrade" / "ledger").glob("*.json"))

    try:
        wait_until(a_piece_is_done, "a piece", seconds=1200)
        assert process.poll() is None, (folder / "populate.log").read_text()
        yield process, store
    finally:
        kill(process)
        process.wait()


def assert_populated(process, store, tmp_path):
    """Hold that the command ends well, and that the store is what it is undisturbed."""
    assert process.wait(600) == 0, (tmp_path / "populate.log").read_text()
    found = xr.open_zarr(str(store), chunks=None)
    expected = xr.open_zarr(f"{tmp_path}/undisturbed/lightcurves.zarr", chunks=None)
    assert found.sizes == expected.sizes
    for variable in set(expected.variables) - BOOKKEEPING:
        one, other = found[variable].values, expected[variable].values
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), variable
    assert aggrade.verify(store.parent).ok


def test_a_dask_worker(place, tmp_path):
    """Its nanny starts another one, which does what it had to do."""
    with populating(place[0], tmp_path, "--cluster.cluster-kwargs", '{"n_workers": 2}') as (process, store):
        children = process.children(recursive=True)
        workers = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
        assert len(workers) == 2
        workers[0].kill()
        assert_populated(process, store, tmp_path)


def test_the_dask_scheduler(place, dask_cluster, tmp_path):
    """Killed and started anew at the same address, with new workers: the flow connects again and goes on."""
    with populating(place[0], tmp_path, "--cluster.address", dask_cluster.address) as (process, store):
        dask_cluster.kill()
        dask_cluster.start()
        assert_populated(process, store, tmp_path)
