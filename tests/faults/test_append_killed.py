"""Appends to real stores whose process is killed by SIGKILL at every single request."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from storage_faults import Fault, faulty_options, open_faulty

import aggrade
from aggrade.storage import OPENERS

KEPT = ["eeg", "label", "n_windows"]
OLD = make_session("s1", 3, 1)[KEPT]
NEW = make_session("s2", 5, 2)[KEPT]


def append(session, url, options=None):
    """Append a session."""
    aggrade.append(session, url, grow=("window",), chunks=CHUNKS, storage_options=options)


def append_through(url, options, action, place):
    """Append NEW through a fault; return the number of requests."""
    fault = Fault(action, place)
    OPENERS["faulty"] = open_faulty
    append(NEW, f"faulty://{url}", faulty_options(url, options, fault))
    return fault.count


def serve_forks():
    """Run each append that standard input asks for in a fork of this process, which has no threads."""
    for line in sys.stdin:
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            try:
                os.write(writing, b"%d" % append_through(*json.loads(line)))
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        count = int(os.read(reading, 100) or 0)
        os.close(reading)
        sys.stdout.write(f"{json.dumps([status, count])}\n")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def run():
    """Give a function that appends NEW in a process of its own and returns its exit code and requests."""
    code = "import test_append_killed as it; it.aggrade.append; it.serve_forks()"
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True) as forker:

        def ask(url, options, action="none", place=0):
            print(json.dumps([url, options, action, place]), file=forker.stdin, flush=True)
            return json.loads(forker.stdout.readline())

        yield ask


def labels(url, options):
    """Return the sessions that a bare reader sees."""
    with xr.open_zarr(url, storage_options=options or None, chunks=None) as found:
        return [str(label) for label in found["session"].values]


def check(run, url, options, place, action):
    """Kill an append at one request; assert that old or new is seen, and that running it again makes it whole."""
    code, _ = run(url, options, action, place)
    assert code == -signal.SIGKILL, f"{action} {place}"
    seen = labels(url, options)
    assert seen in (["s1"], ["s1", "s2"])
    aggrade.recover(url, storage_options=options)
    assert labels(url, options) == seen
    append(NEW, url, options)
    with xr.open_zarr(url, storage_options=options or None, chunks=None) as found:
        assert_holds(found.load(), [OLD, NEW])
    report = aggrade.verify(url, storage_options=options)
    assert report.ok, f"{action} {place}: {report}"
    return len(seen)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 4], ids=["every", "every fourth"])
@pytest.mark.parametrize("action", ["kill-before", pytest.param("kill-after", marks=pytest.mark.long)])
def test_local_folders_survive(run, tmp_path, action, step):
    """Killed at any request, a store in a folder is old or new, and whole after one more run."""
    append(OLD, str(tmp_path / "start.zarr"))
    shutil.copytree(tmp_path / "start.zarr", tmp_path / "rehearsal.zarr")
    code, count = run(str(tmp_path / "rehearsal.zarr"), {})
    assert code == 0
    seen = set()
    for place in sorted({*range(1, count + 1, step), count}):
        folder = tmp_path / f"killed-{place}.zarr"
        shutil.copytree(tmp_path / "start.zarr", folder)
        seen.add(check(run, str(folder), {}, place, action))
        shutil.rmtree(folder)
    assert seen == {1, 2}


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("action", ["kill-before", "kill-after"])
def test_buckets_survive(run, s3_prefix, action):
    """Killed at every fifth request, a store in a bucket is old or new, and whole after one more run."""
    options = s3_prefix.storage_options

    def fresh(name):
        append(OLD, f"{s3_prefix.url}/{name}", options)
        return f"{s3_prefix.url}/{name}"

    code, count = run(fresh("rehearsal.zarr"), options)
    assert code == 0
    seen = set()
    for place in [*range(1, count, 5), count]:
        url = fresh(f"killed-{place}.zarr")
        seen.add(check(run, url, options, place, action))
    assert seen == {1, 2}
