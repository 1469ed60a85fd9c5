"""Rechunks on a cluster of which a worker, the scheduler or the flow's process is killed by SIGKILL at random moments."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from make_stores import write_zarr
from tally_storage import reads_in
from waiting import wait_until

import aggrade

ROOT = Path(__file__).parents[2]
SHAPE, CHUNK, EPOCHS = (600, 12), 10, 12
LAYOUT = {"chunks": {"x": (CHUNK, EPOCHS)}, "shards": None, "max_memory": 4 * CHUNK * EPOCHS * 8}
LATENCY = 0.02
TIMES = 20
ENV = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__COMM__RETRY__COUNT": "0",
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def _start(*arguments, stderr=subprocess.DEVNULL):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=stderr)


class Cluster:
    """A scheduler and two workers, each a process that can be killed and is started again when it is needed."""

    def __init__(self, folder):
        self.folder, self.number = folder, 0
        self.scheduler, self.workers = None, []

    @property
    def file(self):
        """Where the scheduler says how it is reached."""
        return self.folder / f"scheduler-{self.number}.json"

    def ready(self):
        """Start whatever does not run."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.end()
            self.number += 1
            options = ["--scheduler-file", self.file, "--port", 0, "--no-dashboard", "--host", "127.0.0.1"]
            self.scheduler = _start("-m", "distributed.cli.dask_scheduler", *options)
            wait_until(self._is_told, "a scheduler", seconds=600)
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < 2:
            options = ["--scheduler-file", self.file, "--nthreads", 1, "--no-nanny", "--no-dashboard"]
            place = ["--local-directory", self.folder, "--death-timeout", 20]
            self.workers.append(_start("-m", "distributed.cli.dask_worker", *options, *place))
        return json.loads(self.file.read_text())["address"]

    def _is_told(self):
        return self.file.exists() and self.file.read_text().endswith("}")

    def end(self):
        """Kill what still runs."""
        for process in [*self.workers, self.scheduler]:
            if process is not None:
                process.kill()
                process.wait()
        self.scheduler, self.workers = None, []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Run a cluster."""
    made = Cluster(tmp_path_factory.mktemp("dask"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a store of which each piece of the rechunk reads chunks of its own."""
    path = tmp_path_factory.mktemp("source") / "s.zarr"
    values = np.random.default_rng(0).uniform(1, 2, SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_zarr(
            xr.Dataset({"x": (("a", "b"), values)}), path, encoding={"x": {"chunks": (CHUNK, 1)}}, dim="b"
        )
    return path


def _rechunk(source, target, address, tally):
    """Begin a rechunk in a process of its own."""
    script = ROOT / "tests/rechunk_on_dask.py"
    return _start(script, source, target, address, tally, LATENCY, json.dumps(LAYOUT), stderr=subprocess.PIPE)


def _finish(process):
    """Wait for the end of a rechunk; return whether it succeeded, and what it said."""
    _, said = process.communicate(timeout=1200)
    return process.returncode == 0, said.decode()[-3000:]


def _objects(target):
    """Return the bytes of every object of the arrays, and what kinds of bookkeeping lie beside them."""
    files = [path for path in target.rglob("*") if path.is_file() and path.name != ".aggrade-lock"]
    keys = {str(path.relative_to(target)): path for path in files}
    arrays = {key: path.read_bytes() for key, path in keys.items() if key.startswith("x/c")}
    beside = sorted(key.split("/")[1] for key in keys if key.startswith(".aggrade/"))
    return arrays, beside, len(keys)


@pytest.fixture(scope="module")
def undisturbed(source, cluster, tmp_path_factory):
    """Return what a rechunk leaves that nobody disturbs, and how many reads it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done, said = _finish(_rechunk(source, folder / "t.zarr", cluster.ready(), folder / "tally"))
    assert done, said
    return _objects(folder / "t.zarr"), len(reads_in(folder / "tally"))


def test_each_chunk_is_read_once_but_for_samples(undisturbed):
    """Left alone, the rechunk reads each chunk of the source once, and those of the sample again."""
    chunks = SHAPE[0] // CHUNK * EPOCHS
    assert chunks < undisturbed[1] <= chunks + 8


@pytest.mark.parametrize("number", range(TIMES))
def test_killed_at_a_random_moment(source, cluster, undisturbed, tmp_path, number):
    """Same arrays as undisturbed, at most 1.1 times the reads, and nothing is left over."""
    expected, reads = undisturbed
    rng = random.Random(number)
    victim, moment = ("worker", "flow", "scheduler")[number % 3], rng.randrange(1, reads - 8)
    target, tally = tmp_path / "t.zarr", tmp_path / "tally"
    flow = _rechunk(source, target, cluster.ready(), tally)
    wait_until(lambda: len(reads_in(tally)) >= moment, f"read {moment}", seconds=1200)
    doomed = {"worker": rng.choice(cluster.workers), "flow": flow, "scheduler": cluster.scheduler}[victim]
    doomed.kill()
    done, said = _finish(flow)
    assert done == (victim == "worker"), f"{victim} at {moment}: {said}"
    assert aggrade.recover(str(target)) is None or not done
    if not done:
        done, said = _finish(_rechunk(source, target, cluster.ready(), tally))
    assert done, f"{victim} at {moment}: {said}"
    assert _objects(target) == expected, f"{victim} at {moment}"
    assert aggrade.verify(str(target)).ok
    assert len(reads_in(tally)) <= 1.1 * reads, f"{victim} at {moment}"
    shutil.rmtree(target)
