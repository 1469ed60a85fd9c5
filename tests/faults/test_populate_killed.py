"""Populations whose workers die again and again: the same arrays, and little work is done twice (DESIGN §10)."""

from __future__ import annotations

import json
import random
import subprocess

import numpy as np
import pytest
import xarray as xr
from dask_processes import ROOT, Cluster, finish, start
from make_catalogues import write_table
from memory_storage import Alone, Killed, MemoryStorage, World, open_world
from tally_storage import reads_in
from waiting import wait_until

import aggrade
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

SPEC = {
    "object_id": "id",
    "time": "mjd",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "mag"}},
}
STORE = "world://data/lightcurves.zarr"
NIGHTS, PER_PIECE = 48, 8
MANY, BETWEEN, LATENCY = 400, 60, 0.1


def rows(night):
    """Return one night of four objects."""
    mag = np.random.default_rng(night).uniform(15, 22, 4)
    return {"id": np.arange(4), "mjd": np.full(4, 60000.0 + night), "mag": mag}


class Mortal(Alone):
    """Counts the catalogues that are read, and ends a worker at one of the requests that its piece makes."""

    def __init__(self):
        self.reads, self.left = 0, None

    def before(self, kind, key):
        """Count the request, or die."""
        if not key.startswith("cats/") and "/c/" not in key and "/ledger/" not in key:
            return
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed
        self.reads += kind == "GET" and key.startswith("cats/")


def populated(world, open_world, rng=None):
    """Populate; with `rng`, a worker dies at a random request and its piece goes to another. Return the dead, and reads."""
    mortal, deaths = Mortal(), []

    def map_pieces(work, items):
        chosen = list(items)
        doomed = rng.randrange(len(chosen)) if rng and hasattr(chosen[0], "digest") else None
        for place, item in enumerate(chosen):
            mortal.left = rng.randrange(3 * PER_PIECE) if place == doomed else None
            try:
                done = work(item)
            except Killed:
                deaths.append(place)
                mortal.left = None
                done = work(item)
            yield done
            mortal.left = None

    aggrade.populate("world://cats", STORE, SPEC, map=map_pieces, storage_options=open_world(world, mortal))
    return len(deaths), mortal.reads


def lies_in(world):
    """Return the bytes of every chunk of cells, what a bare reader sees, and how many objects there are."""
    chunks = {
        key: data
        for key, (data, _) in world.objects.items()
        if "/lightcurves/c/" in key or "/status/c/" in key
    }
    shown = xr.open_zarr(ReadStore(MemoryStorage(world, "data/lightcurves.zarr")), consolidated=True).load()
    return chunks, shown.drop_attrs(), len(world.objects)


def test_workers_that_die_leave_the_same_arrays(open_world):
    """Wherever one of six workers dies, the arrays are those of undisturbed work, for at most 1.1 times the reads."""
    world = World()
    for night in range(NIGHTS):
        lines = [
            ",".join(rows(night)),
            *(",".join(map(str, row)) for row in zip(*rows(night).values(), strict=True)),
        ]
        text = "\n".join([*lines, ""]).encode()
        world.objects[f"cats/night_{night:03d}.csv"] = (text, world.mark(text))
    undisturbed = world.copy()
    assert populated(undisturbed, open_world) == (0, 2 * NIGHTS)
    chunks, shown, objects = lies_in(undisturbed)
    for seed in range(3):
        disturbed = world.copy()
        deaths, reads = populated(disturbed, open_world, random.Random(seed))
        assert deaths == 1
        assert reads <= 1.1 * 2 * NIGHTS, f"seed {seed}"
        found = lies_in(disturbed)
        assert found[0] == chunks
        assert found[1].identical(shown)
        assert found[2] == objects


@pytest.fixture
def cluster(tmp_path):
    """Run a cluster of two workers."""
    made = Cluster(tmp_path)
    yield made
    made.end()


@pytest.fixture
def catalogues(tmp_path):
    """Return a folder with many nights."""
    for night in range(MANY):
        write_table(tmp_path / "cats" / f"night_{night:03d}.parquet", rows(night))
    return tmp_path / "cats"


def _populate(catalogues, store, address, tally):
    script = ROOT / "tests/populate_on_dask.py"
    given = [f"tally://{catalogues}", store, address, tally, LATENCY, json.dumps(SPEC)]
    return start(script, *given, stderr=subprocess.PIPE)


def _cells(store):
    """Return the bytes of every chunk of cells, and what kinds of objects lie beside the arrays."""
    chunks = {
        str(path.relative_to(store)): path.read_bytes()
        for name in ("lightcurves", "status")
        for path in (store / name / "c").rglob("*")
        if path.is_file()
    }
    beside = sorted({path.name for path in (store / ".aggrade").iterdir()})
    return chunks, beside


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_worker_is_killed_every_few_seconds(catalogues, cluster, tmp_path):
    """By SIGKILL, whenever sixty more catalogues were read: same arrays as undisturbed, at most 1.1 times the reads."""
    plain, tally = tmp_path / "plain.zarr", tmp_path / "tally"
    done, said = finish(_populate(catalogues, plain, cluster.ready(), tmp_path / "plain-tally"))
    assert done, said
    undisturbed = len(reads_in(tmp_path / "plain-tally"))
    assert undisturbed == 2 * MANY

    store, rng, kills = tmp_path / "killed.zarr", random.Random(6), 0
    process = _populate(catalogues, store, cluster.ready(), tally)
    for moment in range(MANY + BETWEEN, 2 * MANY, BETWEEN):

        def is_there(moment=moment):
            return process.poll() is not None or len(reads_in(tally)) >= moment

        wait_until(is_there, f"read {moment}", seconds=600)
        kills += process.poll() is None
        rng.choice(cluster.workers).kill()
        cluster.ready()
    done, said = finish(process)
    assert done, said
    assert kills >= 5
    assert _cells(store) == _cells(plain)
    assert aggrade.verify(str(store)).ok
    assert undisturbed < len(reads_in(tally)) <= 1.1 * undisturbed
