"""Running a server in a folder, with a small one of Python's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from aggrade.errors import Conflict, Unavailable
from flows.server_running import Recipe, answers, local_url, log_of, running

OWNER = """
    import os, sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_flows_server_running import recipe
    from flows.server_running import running
    with running(Path(sys.argv[1]), recipe()) as port:
        if sys.argv[2] == "fork" and os.fork() == 0:
            time.sleep(600)
        print(port, flush=True)
        time.sleep(600)
"""


def recipe(**changes):
    """Return how to start Python's own server."""
    steps = {
        "ports": 2,
        "seconds": 60.0,
        "command": lambda port, _: [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)],
        "environment": lambda _: dict(os.environ),
        "ready": lambda port: answers(local_url(port)),
    }
    return Recipe(**{**steps, **changes})


def closed(port):
    """Tell whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def servers(folder):
    """Return the processes that run in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@contextmanager
def owner(folder, how="plain", script=OWNER):
    """Start a process, leader of its own group, that runs a server in a folder; give it and the port."""
    code = textwrap.dedent(script).format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(folder), how]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment, start_new_session=True
    ) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_runs_for_the_length_of_the_block(tmp_path):
    """The server answers inside the block; after it the port is closed and no process is left."""
    with running(tmp_path / "home", recipe()) as port:
        assert urllib.request.urlopen(local_url(port)).status == 200
        assert servers(tmp_path / "home") != []
    assert closed(port)
    assert servers(tmp_path / "home") == []


def test_ends_with_an_error_in_the_block(tmp_path):
    """An error inside the block ends the server too, and is passed on."""
    with pytest.raises(ZeroDivisionError), running(tmp_path, recipe()) as port:
        raise ZeroDivisionError
    assert closed(port)


def test_keeps_its_port(tmp_path):
    """Started again in the same folder, a server has the same port, unless somebody else took it."""
    with running(tmp_path, recipe()) as first:
        pass
    with running(tmp_path, recipe()) as second:
        assert second == first
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first + 1))
        other.listen()
        with running(tmp_path, recipe()) as third:
            assert third not in {first, first + 1}


def test_ports_are_not_given_out_at_random(tmp_path):
    """Ports lie below those that the kernel hands to clients."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with running(tmp_path, recipe()) as port:
        assert 1024 < port < port + 1 < lowest


def test_one_server_per_folder(tmp_path):
    """A second server in the same folder is refused while the first runs, and leaves it alone."""
    with running(tmp_path, recipe()) as port:
        with pytest.raises(Conflict) as caught, running(tmp_path, recipe(), wait_seconds=0.1):
            pass
        assert caught.value.code == "busy"
        assert not closed(port)


@pytest.mark.parametrize("how", ["plain", "fork"])
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_owner(tmp_path, how, group, number):
    """However the process that runs a server ends, alone or with its group, the server is gone before the next.

    The next start waits for it: the guard holds the folder's lock until the server is dead.
    """
    with owner(tmp_path, how) as (process, port):
        started = [child for child in servers(tmp_path) if child.pid != process.pid]
        assert started != []
        (os.killpg if group else os.kill)(process.pid, number)
        process.wait(60)
        psutil.wait_procs(started, timeout=60)
        assert [child for child in started if child.is_running()] == []
        assert closed(port)
    with running(tmp_path, recipe()) as again:
        assert again == port


def test_a_server_that_ends_at_once(tmp_path):
    """A server that cannot start is `Unavailable`, with the last it said."""
    failing = recipe(command=lambda *_: [sys.executable, "-c", "print('no such disk'); raise SystemExit(1)"])
    with pytest.raises(Unavailable) as caught, running(tmp_path, failing):
        pass
    assert caught.value.code == "no-start"
    assert "no such disk" in str(caught.value)
    assert str(log_of(tmp_path)) in str(caught.value)


def test_a_server_that_never_answers(tmp_path):
    """A server that does not get ready in its time is stopped and reported."""
    with pytest.raises(Unavailable), running(tmp_path, recipe(seconds=0.5, ready=lambda _: False)):
        pass
    assert servers(tmp_path) == []


def test_trouble_while_waiting(tmp_path):
    """An error in the test of readiness stops the server and is passed on."""
    with pytest.raises(ZeroDivisionError), running(tmp_path, recipe(ready=lambda _: 1 / 0)):
        pass
    assert servers(tmp_path) == []


def test_answers_through_no_proxy(tmp_path, monkeypatch):
    """A proxy in the environment is not asked for what lies on this machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with running(tmp_path, recipe()) as port:
        assert answers(local_url(port))
        assert not answers(local_url(port) + "/missing")
        assert answers(local_url(port) + "/missing", refusal=404)
