"""Start a server in a folder, wait until it answers, and stop it; one server per folder at a time."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aggrade.errors import Conflict, Problem, Unavailable
from flows import server_guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["HOST", "Recipe", "answers", "local_url", "log_of", "running"]

HOST = "127.0.0.1"
_PORT, _LOCK = "server.port", ".server.lock"
_STARTS = 3  # somebody else may take a free port before the server does
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start one kind of server, given the first of its ports.

    Parameters
    ----------
    ports
        How many ports in a row it needs.
    seconds
        How long it may take to answer.
    command
        First port and an empty scratch folder → program and arguments.
    environment
        First port → environment variables.
    ready
        First port → whether it does its work yet.
    leftovers
        First port → files that it leaves outside its folder.
    """

    ports: int
    seconds: float
    command: Callable[[int, Path], list[str]]
    environment: Callable[[int], dict[str, str]]
    ready: Callable[[int], bool]
    leftovers: Callable[[int], list[str]] = lambda _: []


@contextmanager
def running(home: Path, recipe: Recipe, wait_seconds: float = 30.0) -> Iterator[int]:
    """Run a server in the folder `home`, made if need be, and yield its first port.

    A server there that is about to end is given `wait_seconds` for it.

    Raises
    ------
    Conflict
        If another process runs a server there.
    Unavailable
        If it does not answer in time.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _held(home, wait_seconds) as lock:
        port, guard = _start(home, recipe, lock)
    try:
        yield port
    finally:
        _stop(guard)


def _start(home: Path, recipe: Recipe, lock: int) -> tuple[int, subprocess.Popen[bytes]]:
    for _ in range(_STARTS):
        port = _free_ports(home / _PORT, recipe.ports)
        guard = _guarded(home, recipe, port, lock)
        try:
            if _waited(guard, lambda port=port: recipe.ready(port), recipe.seconds):  # type: ignore[misc]
                return port, guard
        except BaseException:
            _stop(guard)
            raise
        _stop(guard)
    raise Unavailable(_no_start(log_of(home)))


def _guarded(home: Path, recipe: Recipe, port: int, lock: int) -> subprocess.Popen[bytes]:
    scratch = Path(tempfile.mkdtemp(prefix="aggrade-"))  # short: sockets lie in it
    removed = os.pathsep.join([str(scratch), *recipe.leftovers(port)])
    guard = [sys.executable, "-I", "-S", server_guard.__file__, str(os.getpid()), removed]
    with log_of(home).open("ab") as log:
        return subprocess.Popen(  # noqa: S603
            [*guard, *recipe.command(port, scratch)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=home,
            env=recipe.environment(port),
            pass_fds=[lock],
            start_new_session=True,
        )


def _waited(guard: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if guard.poll() is not None:
            return False
        if ready():
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _stop(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    guard.terminate()  # somebody forked may hold the pipe
    guard.wait()


@contextmanager
def _held(home: Path, wait_seconds: float) -> Iterator[int]:
    """Lock a folder. The guard inherits the lock, so that it lasts until the server is gone."""
    with (home / _LOCK).open("w") as lock:
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                problem = Problem(
                    str(home), "a server at work there", "none", "end the process that runs it", "busy"
                )
                raise Conflict(problem)
            time.sleep(_POLL_SECONDS)
        yield lock.fileno()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_ports(remembered: Path, count: int) -> int:
    """Return the first of `count` free ports in a row: those of the last time, or below those given out at random."""
    if remembered.exists() and _free(first := int(remembered.read_text()), count):
        return first
    candidates = (random.randrange(10_000, _first_ephemeral() - count) for _ in range(1000))  # noqa: S311
    for first in candidates:
        if _free(first, count):
            remembered.write_text(str(first))
            return first
    problem = Problem(HOST, "no free ports", f"{count} in a row", "end what holds them", "no-ports")
    raise Unavailable(problem)


def _first_ephemeral() -> int:
    try:
        return max(int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]), 11_000)
    except OSError:
        return 32_768


def _free(first: int, count: int) -> bool:
    try:
        for port in range(first, first + count):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, port))
    except OSError:
        return False
    return True


def answers(url: str, refusal: int | None = None) -> bool:
    """Tell whether a URL on this machine is answered well, or with the status `refusal`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == refusal
    except OSError:
        return False
    return True


def local_url(port: int) -> str:
    """Return the URL of a port on this machine."""
    return f"http://{HOST}:{port}"


def log_of(home: Path) -> Path:
    """Return the file to which the server in a folder writes what it says."""
    return home / "server.log"


def _no_start(log: Path) -> Problem:
    last = " / ".join(log.read_text(errors="replace").splitlines()[-3:])
    return Problem(
        str(log), f"a server that did not start ({last})", "one that answers", "read its log", "no-start"
    )
