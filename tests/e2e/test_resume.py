"""A flow process killed with SIGKILL and started again: finished tasks are cached, and the stores come out equal.

On a real Prefect server, each flow in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import xarray as xr
from make_runs import WINDOWS, record, survey
from waiting import wait_until

from aggrade.storage import open_storage
from flows.demo_servers import prefect_server

ROOT = Path(__file__).parents[2]
BOOKKEEPING = {"receipt", "source_mark"}
"""Variables that tell one run from another; everything else has to be equal."""

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Run a Prefect server."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as running:
        yield running


def start(server, module, *arguments):
    """Start a flow's command in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **server.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process):
    """Wait for a command's success."""
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return said


def kill_when(process, holds, what):
    """Kill a process by SIGKILL as soon as a condition holds, then what it had started."""
    wait_until(lambda: holds() or process.poll() is not None, what, seconds=300)
    assert process.poll() is None, process.stdout.read()
    process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def states_of_last_run(server, flow):
    """Return how many task runs of the last run of a flow ended in which state, by the name of the task."""
    api = server.api_url
    query = {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    (run,) = httpx.post(f"{api}/flow_runs/filter", json=query).json()
    found = httpx.post(f"{api}/task_runs/filter", json={"flow_runs": {"id": {"any_": [run["id"]]}}}).json()
    return {task["name"]: task["state"]["name"] for task in found if task["state"]}


def assert_equal_stores(found, expected):
    """Two stores hold the same arrays, bookkeeping aside."""
    one, other = (xr.open_zarr(str(place), chunks=None) for place in (found, expected))
    assert one.sizes == other.sizes
    assert set(one.variables) == set(other.variables)
    for name in set(one.variables) - BOOKKEEPING:
        a, b = one[name].values, other[name].values
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name


def test_an_ingest_goes_on_where_it_was_killed(server, tmp_path):
    """Killed when two of eight sessions have landed: they are cached and no-ops, the rest follows, all equal."""
    for number in range(8):
        record(tmp_path / "recordings", f"sub-{number}", first=1000 * number)
    arguments = ["--windows", json.dumps(WINDOWS)]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"

    def two_have_landed():
        return len(list((killed / "windows.zarr" / ".aggrade" / "layers").glob("*.json"))) >= 2

    process = start(server, "flows.ingest_sessions", str(tmp_path / "recordings"), str(killed), *arguments)
    kill_when(process, two_have_landed, "two sessions")
    finish(start(server, "flows.ingest_sessions", str(tmp_path / "recordings"), str(killed), *arguments))
    wait_until(
        lambda: (
            {states_of_last_run(server, "ingest-sessions").get(f"window sub-{n}") for n in (0, 1)}
            == {"Cached"}
        ),
        "the cached tasks",
    )
    finish(start(server, "flows.ingest_sessions", str(tmp_path / "recordings"), str(undisturbed), *arguments))
    assert_equal_stores(killed / "windows.zarr", undisturbed / "windows.zarr")
    assert list(open_storage(str(killed / ".aggrade")).list()) == []


def cells(store):
    """Return the objects that hold a cube's cells, byte by byte."""
    found = (path for name in ("lightcurves", "status") for path in (store / name / "c").rglob("*"))
    return {
        path.relative_to(store): path.read_bytes()
        for path in found
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_population_goes_on_where_it_was_killed(server, tmp_path):
    """Killed when a piece on Dask is done: the piece is not done again, and the cube comes out as by four workers.

    Its objects are the same byte by byte.
    """
    spec = survey(tmp_path / "catalogues", 160, objects=200)
    arguments = ["--spec", json.dumps(spec), "--cluster.cluster-kwargs", '{"n_workers": 1}']
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"

    def a_piece_is_done():
        return any((killed / "lightcurves.zarr" / ".aggrade" / "ledger").glob("*.json"))

    process = start(server, "flows.populate_epochs", str(tmp_path / "catalogues"), str(killed), *arguments)
    kill_when(process, a_piece_is_done, "a piece")
    finish(start(server, "flows.populate_epochs", str(tmp_path / "catalogues"), str(killed), *arguments))
    arguments[-1] = '{"n_workers": 4}'
    finish(start(server, "flows.populate_epochs", str(tmp_path / "catalogues"), str(undisturbed), *arguments))
    assert_equal_stores(killed / "lightcurves.zarr", undisturbed / "lightcurves.zarr")
    assert cells(killed / "lightcurves.zarr") == cells(undisturbed / "lightcurves.zarr") != {}
    assert not any((killed / "lightcurves.zarr" / ".aggrade" / "ledger").glob("*.json"))
