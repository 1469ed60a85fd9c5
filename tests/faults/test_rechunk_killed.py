"""Rechunks on a cluster of which a worker, the scheduler or the flow's process is killed by SIGKILL at random moments."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import warnings

import numpy as np
import pytest
import xarray as xr
from dask_processes import ROOT, Cluster, finish, start
from make_stores import write_zarr
from tally_storage import reads_in
from waiting import wait_until

import aggrade

SHAPE, CHUNK, EPOCHS = (600, 12), 10, 12
LAYOUT = {"chunks": {"x": (CHUNK, EPOCHS)}, "shards": None, "max_memory": 4 * CHUNK * EPOCHS * 8}
LATENCY = 0.02
TIMES = 20

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


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
    return start(script, source, target, address, tally, LATENCY, json.dumps(LAYOUT), stderr=subprocess.PIPE)


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
    done, said = finish(_rechunk(source, folder / "t.zarr", cluster.ready(), folder / "tally"))
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
    done, said = finish(flow)
    assert done == (victim == "worker"), f"{victim} at {moment}: {said}"
    assert aggrade.recover(str(target)) is None or not done
    if not done:
        done, said = finish(_rechunk(source, target, cluster.ready(), tally))
    assert done, f"{victim} at {moment}: {said}"
    assert _objects(target) == expected, f"{victim} at {moment}"
    assert aggrade.verify(str(target)).ok
    assert len(reads_in(tally)) <= 1.1 * reads, f"{victim} at {moment}"
    shutil.rmtree(target)
