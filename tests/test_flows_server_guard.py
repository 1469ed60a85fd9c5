"""The guard of a server: it ends the server when its own input or its parent ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest

from flows import server_guard

SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
FAMILY = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


@pytest.fixture
def guarded(tmp_path):
    """Start guards for Python programs; what is left of them at the end is killed."""
    started = []

    def start(program, *leftovers):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        removed = os.pathsep.join([str(scratch), *leftovers])
        guard = [sys.executable, "-I", "-S", server_guard.__file__, str(os.getpid()), removed]
        command = [*guard, sys.executable, "-c", program]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def gone(pid):
    """Wait until a process is no more."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize("program", [SLEEPER, FAMILY, STUBBORN])
def test_the_end_of_input_ends_the_server(guarded, tmp_path, program):
    """When the pipe closes, the server and what it started are killed, whatever signals they ignore."""
    guard = guarded(program)
    pid = int(guard.stdout.readline())
    guard.stdin.close()
    assert guard.wait(60) != 0
    assert gone(pid)
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_the_guard_s_own_end_ends_the_server(guarded, number):
    """A guard that is told to end, or killed, takes the server with it."""
    guard = guarded(SLEEPER)
    pid = int(guard.stdout.readline())
    guard.send_signal(number)
    guard.wait(60)
    assert gone(pid)


def test_the_server_s_end_ends_the_guard(guarded, tmp_path):
    """A server that ends by itself gives the guard its status; leftovers go, missing ones don't matter."""
    (tmp_path / "left").write_bytes(b"")
    guard = guarded("raise SystemExit(3)", str(tmp_path / "left"), str(tmp_path / "missing"))
    assert guard.wait(60) == 3
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_the_server_has_a_temporary_folder(guarded, tmp_path):
    """The server's temporary files go to the scratch folder."""
    guard = guarded("import tempfile; print(tempfile.gettempdir(), flush=True)")
    assert guard.stdout.readline().decode().strip() == str(tmp_path / "scratch")


def test_another_parent_is_a_dead_one(tmp_path):
    """A guard whose parent is not the named one, since that one died meanwhile, ends the server at once."""
    (tmp_path / "scratch").mkdir()
    dead = subprocess.Popen([sys.executable, "-S", "-c", ""])
    dead.wait()
    guard = [sys.executable, "-I", "-S", server_guard.__file__, str(dead.pid), str(tmp_path / "scratch")]
    run = subprocess.run(
        [*guard, sys.executable, "-c", SLEEPER], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert run.returncode != 0
