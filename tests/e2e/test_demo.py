"""The demonstration end to end, on real servers: killed, run again, run once more, and on a folder of one's own.

The processes of a run are known by a variable that each of them inherits, so whatever outlives it is found.
"""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr

from aggrade.layout import stores_in
from aggrade.storage import open_storage
from flows.demo_servers import s3_server

ROOT = Path(__file__).parents[2]
logger = logging.getLogger(__name__)
MARK = "AGGRADE_TEST_RUN"
BOOKKEEPING = {"receipt", "source_mark"}
"""Variables that tell one run from another; everything else has to be equal."""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@dataclass
class Demo:
    """A clone in which `make demo` is typed."""

    clone: Path
    store: str | None = None
    lines: list[str] = field(default_factory=list)

    def start(self):
        """Start `make demo` in a session of its own, its output as one stream of lines."""
        self.mark = uuid.uuid4().hex
        command = ["make", "-o", "install", "demo", f"VENV={sys.prefix}"]
        environment = dict(os.environ) | {
            MARK: self.mark,
            "PYTHONPATH": str(self.clone),
            "PYTHONUNBUFFERED": "1",
        }
        return subprocess.Popen(
            [*command, "DEMO_STORE=data"] if self.store else command,
            cwd=self.clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self):
        """Run it to its end, and return what it said."""
        with self.start() as process:
            said, _ = process.communicate()
        assert process.returncode == 0, said[-5000:]
        assert survivors(self.mark) == []
        self.lines = said.splitlines()
        return said

    def interrupt(self, line, delay, number):
        """Send a signal some time after a line of the output, to the demonstration itself or to its terminal."""
        with self.start() as process:
            for _ in zip(range(line), process.stdout, strict=False):
                pass
            time.sleep(delay)  # any moment will do
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                os.kill(demo_process(self.mark, process.pid), number)
            process.stdout.read()
        assert process.returncode != 0
        assert survivors(self.mark) == []


def marked(mark):
    """Return the live processes of a run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def demo_process(mark, make):
    """Return the process that does the work: the one that make started, or make itself until then."""
    children = [process.pid for process in marked(mark) if process.ppid() == make]
    return children[0] if children else make


def survivors(mark):
    """Return what still lives half a minute after a run has ended; nothing, as soon as there is nothing."""
    deadline = time.monotonic() + 30.0
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [" ".join(process.cmdline()) for process in found if process.is_running()]


def datasets(root, storage_options=None):
    """Return each store of a dataset, loaded by xarray alone, with a warning for an error."""
    stores = stores_in(open_storage(root, storage_options))
    assert stores
    return {
        path: xr.open_zarr(f"{root}/{path}", storage_options=storage_options).load()
        for path in stores
        if not path.startswith("sessions/")
    }


def assert_same(found, expected):
    """Assert that two datasets are equal, array by array, bookkeeping aside, each layer once."""
    assert found.keys() == expected.keys()
    for path, dataset in found.items():
        other = expected[path]
        assert dataset.variables.keys() == other.variables.keys(), path
        for name in dataset.variables.keys() - BOOKKEEPING:
            np.testing.assert_array_equal(dataset[name].values, other[name].values, err_msg=f"{path}: {name}")
        for dim in {"session", "epoch"} & set(dataset.dims):
            assert len(set(dataset[dim].values.tolist())) == dataset.sizes[dim], path


def objects(server):
    """Return {key: (etag, time of its last write)} of every object on the server."""
    import botocore.session

    client = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="demo")
    return {
        item["Key"]: (item["ETag"], item["LastModified"])
        for page in pages
        for item in page.get("Contents", [])
    }


def clone_into(folder):
    """Clone this repository, as a newcomer would."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Run the demonstration once into a folder of one's own; give it and what lies in that folder."""
    demo = Demo(clone_into(tmp_path_factory.mktemp("undisturbed") / "aggrade"), store="data")
    demo.run()
    return demo, datasets(str(demo.clone / "data"))


@pytest.fixture(scope="module")
def seed():
    """Give the seed of the moments of death: one a day, so that the days cover what one run can't."""
    return int(os.environ.get("AGGRADE_TEST_SEED", time.strftime("%Y%m%d")))


def moments(seed, count, lines):
    """Return (line, seconds after it) of some interruptions."""
    rng = random.Random(seed)
    return [(rng.randrange(1, len(lines)), rng.uniform(0, 2)) for _ in range(count)]


def test_a_store_of_ones_own_is_plain_zarr(undisturbed):
    """`make demo DEMO_STORE=data` leaves four stores and two pictures, and nothing on a server."""
    demo, stores = undisturbed
    assert set(stores) == {
        "lightcurves.zarr",
        "lightcurves_by_object.zarr",
        "windows.zarr",
        "windows_for_training.zarr",
    }
    assert {path.name for path in (demo.clone / "demo/pictures").iterdir()} == {
        "window.png",
        "light_curve.png",
    }
    assert not (demo.clone / "demo/s3").exists()


def test_the_demo_says_what_lies_where(undisturbed):
    """The end of the output names each store, each picture and what was written."""
    demo, stores = undisturbed
    said = "\n".join(demo.lines)
    for path in stores:
        assert str(demo.clone / "data" / path) in said.replace("\n", "")
    assert re.search(r"picture +\S+/light_curve\.png", said)
    assert "Written: " in said
    reads = re.findall(
        r"one random (window|light curve): +\d+ requests?, [\d.]+ \w+, [\d.]+ ms, from \S+", said
    )
    assert reads == ["window", "window", "light curve", "light curve"]
    assert "ms, from" in "".join(demo.lines[-8:])


def test_prefect_was_told_everything(undisturbed):
    """The last sentence of the pipeline's log is in Prefect's database: it was sent before the server ended."""
    demo, _ = undisturbed
    query = """
        select log.message from log
        join flow_run on log.flow_run_id = flow_run.id join flow on flow_run.flow_id = flow.id
        where flow.name = 'pipeline' and log.task_run_id is null order by log.timestamp
    """
    with closing(sqlite3.connect(demo.clone / "demo/prefect/prefect.db")) as database:
        told = [message for (message,) in database.execute(query)]
    assert told[-1] == "Finished in state Completed()"


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "share"),
    [(signal.SIGKILL, 0.3), (signal.SIGINT, 1.0)],
    ids=["killed early", "interrupted"],
)
def test_interrupted_and_run_again_it_goes_on(undisturbed, tmp_path_factory, seed, number, share):
    """After a signal at a random moment, one more run makes what an undisturbed run makes.

    And a run after that has nothing to do: not one object on the server is written, bookkeeping of a run included.
    """
    first, expected = undisturbed
    demo = Demo(clone_into(tmp_path_factory.mktemp("killed") / "aggrade"))
    [(line, delay)] = moments(seed, 1, first.lines[: int(share * len(first.lines))])
    logger.info("seed %d: signal %d, %.2f s after line %d", seed, number, delay, line)
    demo.interrupt(line, delay, number)
    demo.run()
    with s3_server(demo.clone / "demo/s3") as server:
        assert_same(datasets("s3://demo/data", server.storage_options), expected)
        before = objects(server)
    said = demo.run()
    assert "Nothing had to be done" in said
    with s3_server(demo.clone / "demo/s3") as server:
        after = objects(server)
    assert any("/c/" in key for key in before)
    assert {key: mark for key, mark in after.items() if "/c/" in key} == {
        key: mark for key, mark in before.items() if "/c/" in key
    }
    assert {key for key in after if after[key] != before.get(key)} <= {
        key for key in after if ".aggrade/" in key
    }


@pytest.mark.long
@pytest.mark.parametrize("number", range(10))
def test_killed_at_ten_random_moments(undisturbed, tmp_path_factory, seed, number):
    """Killed at a random moment in a folder of its own and run again, each time the stores are the undisturbed ones."""
    first, expected = undisturbed
    demo = Demo(clone_into(tmp_path_factory.mktemp("killed") / "aggrade"))
    [(line, delay)] = moments(seed * 10 + number, 1, first.lines)
    logger.info("seed %d: SIGKILL %.2f s after line %d of %d", seed, delay, line, len(first.lines))
    demo.interrupt(line, delay, signal.SIGKILL)
    demo.run()
    with s3_server(demo.clone / "demo/s3") as server:
        assert_same(datasets("s3://demo/data", server.storage_options), expected)
