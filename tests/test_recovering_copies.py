"""Datasets that are copied, or restored from a volume's backup, while a dead writer's intent lies in them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session

import aggrade

TESTS = Path(__file__).parent
HOW = {"grow": ("window",), "chunks": CHUNKS}
DIES = """
import os, signal, sys
import aggrade
from aggrade.storage.local import LocalStorage
from make_datasets import CHUNKS, make_session
class Dying(LocalStorage):
    def write(self, key, data, *, replacing=None):
        if key == "zarr.json":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(key, data, replacing=replacing)
aggrade.storage.OPENERS["dying"] = lambda url, options: Dying(url.removeprefix("dying://"))
aggrade.append(make_session("dead", 9, 7), "dying://" + sys.argv[1], grow=("window",), chunks=CHUNKS)
"""


@pytest.mark.parametrize("recovered", [False, True], ids=["by the append", "by hand"])
def test_what_a_dead_writer_left_shows_in_no_copy(tmp_path, recovered):
    """Its samples don't come to light in the rows that others append to the copy, at the first try."""
    sessions = [make_session("a", 2, 0), make_session("b", 3, 1)]
    for session in sessions:
        aggrade.append(session, tmp_path / "data", **HOW)
    store = tmp_path / "data" / "windows.zarr"
    done = subprocess.run([sys.executable, "-c", DIES, str(store)], cwd=TESTS, check=False)
    assert done.returncode == -signal.SIGKILL
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "data", copy)
    if recovered:
        aggrade.recover(copy)
    for session in (make_session("short", 1, 20), make_session("long", 12, 21)):
        aggrade.append(session, copy, **HOW)
        sessions.append(session)
    assert_holds(xr.open_zarr(copy / "windows.zarr").load(), sessions)
    assert_holds(aggrade.open_windows(copy).load(), sessions)
    report = aggrade.verify(copy)
    assert report.ok
    assert report.notes == ()
