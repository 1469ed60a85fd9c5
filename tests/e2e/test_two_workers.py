"""Two workers in folders of their own, on one Prefect server, with one bucket for data and results."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from make_runs import WINDOWS, record
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_sites import Site, runs_of, set_up
from waiting import wait_until

import aggrade
from flows.demo_servers import prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]

HERE, THERE = "aggrade", "elsewhere"
SESSIONS = 8


def another_site(folder, environment):
    """Make a site whose deployments have another name and another pool."""
    folder.mkdir()
    site = Site(folder, environment)
    path = folder / "prefect.yaml"
    text = path.read_text().replace("      name: aggrade\n", f"      name: {THERE}\n")
    path.write_text(text.replace("  - name: ingest-sessions\n", f"  - name: {THERE}\n"))
    site.run("prefect", "--no-prompt", "work-pool", "create", THERE, "--type", "process")
    site.run("prefect", "--no-prompt", "deploy", "--name", THERE)
    return site


@pytest.fixture
def sites(tmp_path, s3_server, s3_bucket):
    """Give two sites with a worker each; what tasks return lies in the bucket."""
    with prefect_server(tmp_path / "prefect") as server:
        (tmp_path / "here").mkdir()
        shared = {
            **server.environment,
            **s3_server.environment,
            "AGGRADE_RESULTS": f"{s3_bucket.url}/results",
            "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/aggrade",
        }
        here = Site(tmp_path / "here", shared)
        set_up(here)
        there = another_site(tmp_path / "there", shared)
        api = {PREFECT_API_URL: server.environment["PREFECT_API_URL"]}
        with here.worker(HERE), there.worker(THERE), temporary_settings(api):
            yield here, there


def test_every_session_lands_once_and_is_cut_once(sites, tmp_path, s3_bucket):
    """Both ingest the same recordings into one store at the same time; a third run finds all of it `Cached`."""
    for number in range(SESSIONS):
        record(tmp_path / "recordings", f"sub-{number}", first=100 * number, seconds=10)
    store = f"{s3_bucket.url}/dataset"
    parameters = {"source": str(tmp_path / "recordings"), "store": store, "windows": WINDOWS, "settle_s": 0}
    names = [f"ingest-sessions/{name}" for name in ("ingest-sessions", THERE)]
    command = ["prefect", "deployment", "run", "--params", json.dumps(parameters)]
    for site, name in zip(sites, names, strict=True):
        site.run(*command, name)
    with get_client(sync_client=True) as client:

        def ended(name, count=1):
            return [run.state.name for run in runs_of(client, name) if run.state.is_final()] == [
                "Completed"
            ] * count

        wait_until(lambda: all(map(ended, names)), "both runs", seconds=1200)
        landed = aggrade.open_windows(store, storage_options=s3_bucket.storage_options)["session"].values
        assert Counter(map(str, landed)) == {f"sub-{number}": 1 for number in range(SESSIONS)}
        assert aggrade.verify(store, storage_options=s3_bucket.storage_options).ok
        sites[1].run(*command, names[1])
        wait_until(lambda: ended(names[1], 2), "the second run there", seconds=1200)
        last = runs_of(client, names[1])[-1].id
        tasks = [task for task in client.read_task_runs() if task.flow_run_id == last]
    cut = {task.name: task.state.name for task in tasks if task.name.startswith("window ")}
    assert cut == {f"window sub-{number}": "Cached" for number in range(SESSIONS)}
