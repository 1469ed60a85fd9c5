"""What the demonstration needs of its process: one run per folder, an environment of its own, no orphans."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aggrade.errors import Conflict, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["apply_environment", "demo_environment", "end_tidily_when_asked", "end_with_parent", "one_run_in"]

_PR_SET_PDEATHSIG = 1
_LOCAL_HOSTS = "127.0.0.1,localhost"
_FOREIGN = ("PREFECT_",)
_FOREIGN_AWS = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)
_OWN_STORE = {"AGGRADE_LEASE_SECONDS": "5"}  # nobody else writes there
_NO_AWS_FILES = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def demo_environment(environ: Mapping[str, str], folder: Path, *, own_store: bool) -> dict[str, str]:
    """Return the environment of the demonstration, which the servers' own settings complete.

    Parameters
    ----------
    environ
        The environment that the user has. Every Prefect setting in it is dropped.
    folder
        The demonstration's folder.
    own_store
        Whether the store lies on the demonstration's own S3 server. Then nothing of the user's may lead
        elsewhere; else what leads to the user's store stays.
    """
    foreign = _FOREIGN_AWS if own_store else ()
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_FOREIGN) and name not in foreign
    }
    no_proxy = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    direct = ",".join(filter(None, (no_proxy, _LOCAL_HOSTS)))
    return {
        **(_OWN_STORE if own_store else {}),
        **kept,
        **(_NO_AWS_FILES if own_store else {}),
        "DASK_LOGGING__DISTRIBUTED": "error",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": direct,
        "no_proxy": direct,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


@contextmanager
def apply_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Make `environment` the process's own, and what it was before the process's again at the end."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def one_run_in(folder: Path, wait_seconds: float = 60.0) -> Iterator[None]:
    """Hold the folder for one run. The lock ends with the process, however that ends.

    Parameters
    ----------
    folder
        Made if it isn't there.
    wait_seconds
        How long to wait for a run that is about to end.

    Raises
    ------
    Conflict
        If another run holds the folder all the while.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        deadline = time.monotonic() + wait_seconds
        while not _locked(lock.fileno()):
            if time.monotonic() > deadline:
                raise Conflict(
                    Problem(
                        str(folder),
                        "another demonstration at work there",
                        "none",
                        "wait for it to end",
                        "busy",
                    )
                )
            time.sleep(0.2)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_tidily_when_asked() -> None:
    """Turn a polite request to end (SIGTERM, SIGHUP) into an exit that closes what is open."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def end_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it dies (Linux; nothing elsewhere)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
