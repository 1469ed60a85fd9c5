"""From nothing to a Completed pipeline on an S3 server, as the README says, and nobody outside this machine is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from call_recorder import Calls
from make_runs import WINDOWS, record, survey
from prefect_sites import Site, set_up

import aggrade
from aggrade.lightcurves import LightCurves
from aggrade.storage import open_storage
from flows.demo_servers import prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]

HERE = {"127.0.0.1", "localhost"}


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Record whom processes turn to that are started from now on."""
    (tmp_path / "calls").mkdir()
    calls = Calls(tmp_path / "calls")
    for name, value in calls.environment.items():
        before = os.environ.get(name) if name == "PYTHONPATH" else None
        monkeypatch.setenv(name, f"{value}{os.pathsep}{before}" if before else value)
    return calls


def test_calls_are_seen(calls):
    """Connections, packets and names that are looked up, also by processes of processes; not a socket that sends nothing."""
    asks = """if True:
        import socket
        for kind, ask in (
            (socket.SOCK_STREAM, lambda one: one.connect(("127.0.0.2", 1))),
            (socket.SOCK_DGRAM, lambda one: one.sendto(b"", ("127.0.0.3", 1))),
            (socket.SOCK_DGRAM, lambda one: one.connect(("127.0.0.4", 1))),
            (socket.SOCK_STREAM, lambda one: socket.getaddrinfo("127.0.0.5", 1)),
        ):
            with socket.socket(type=kind) as one:
                try:
                    ask(one)
                except OSError:
                    pass
    """
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    subprocess.run([sys.executable, "-c", parent, asks], check=True)
    assert {host for host, _ in calls.made()} == {"127.0.0.2", "127.0.0.3", "127.0.0.5"}


@pytest.fixture
def site(tmp_path, calls, s3_server):  # noqa: ARG001 - what the server asks is recorded
    """Give a folder with nothing in it but the deployments, and a fresh server."""
    (tmp_path / "site").mkdir()
    with prefect_server(tmp_path / "prefect") as server:
        yield Site(tmp_path / "site", server.environment | s3_server.environment)


def upload(folder, url, storage_options):
    """Copy a local folder into a bucket."""
    storage = open_storage(url, storage_options)
    for path in folder.rglob("*"):
        if path.is_file():
            storage.write(path.relative_to(folder).as_posix(), path.read_bytes())


def test_the_pipeline_on_s3(site, calls, tmp_path, s3_bucket):
    """Set up, deployed, worked for and run in four commands; server, worker, flow and Dask workers turn to this machine."""
    record(tmp_path / "in" / "recordings", "first")
    spec = survey(tmp_path / "in" / "catalogues", 2)
    upload(tmp_path / "in", f"{s3_bucket.url}/in", s3_bucket.storage_options)
    inputs = {name: f"{s3_bucket.url}/in/{name}" for name in ("recordings", "catalogues")}
    store, options = f"{s3_bucket.url}/dataset", s3_bucket.storage_options
    asked = inputs | {"store": store, "windows": WINDOWS, "spec": spec, "settle_s": 0}
    set_up(site)
    with site.worker():
        command = ["prefect", "deployment", "run", "pipeline/pipeline", "--watch"]
        assert "Completed" in site.run(*command, "--params", json.dumps(asked))
    windows = aggrade.open_windows(store, storage_options=options)
    assert windows["session"].values.tolist() == ["first"]
    curve = LightCurves(store, storage_options=options).lightcurve(2)["lightcurves"].sel(value="mag")
    assert curve.values.ravel().tolist() == [2, 2.125]
    copies = {"windows_for_training.zarr", "lightcurves_by_object.zarr"}
    assert copies <= {info.key.split("/")[0] for info in open_storage(store, options).list()}
    assert aggrade.verify(store, storage_options=options).ok
    made = calls.made()
    assert {host for host, _ in made} <= HERE, made
    for who in ("server start", "worker start", "deploy --all", "multiprocessing", "prefect.engine"):
        assert any(who in command for _, command in made), who
