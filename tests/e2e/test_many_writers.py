"""Many processes that append to one store on a real server: at once, killed, cut off, interrupted, out of time."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import xarray as xr
from make_datasets import assert_holds
from session_writer import append, session
from waiting import wait_until

import aggrade
from aggrade.commit import read_intent
from aggrade.storage import open_storage
from flows.demo_servers import s3_server as run_s3_server

TESTS = Path(__file__).parents[1]
PYTHONPATH = os.pathsep.join([str(TESTS.parent), str(TESTS)])

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def store(s3_prefix):
    """Return the URL and the storage options of a store that isn't there yet."""
    return f"{s3_prefix.url}/windows.zarr", s3_prefix.storage_options


def begin(store, labels, *arguments, **environment):
    """Start a process that appends sessions."""
    url, options = store
    return subprocess.Popen(
        [sys.executable, "-m", "session_writer", url, *labels, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": PYTHONPATH,
            "STORAGE_OPTIONS": json.dumps(options),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Wait for a process that has to succeed."""
    said, complaints = process.communicate()
    assert process.returncode == 0, complaints[-3000:]
    return said.split()


def names(writer, count):
    """Return the labels of one writer's sessions."""
    return [f"w{writer}-{number:03}" for number in range(count)]


def assert_each_once(store, labels):
    """Assert that each session is there once and as it was given, nothing is held, and nothing is left over."""
    url, options = store
    aggrade.recover(url, storage_options=options)
    with xr.open_zarr(url, storage_options=options, chunks=None) as found:
        order = [str(label) for label in found["session"].values]
        assert sorted(order) == sorted(labels)
        assert_holds(found.load(), [session(label) for label in order])
    report = aggrade.verify(url, storage_options=options)
    assert report.ok, str(report)
    assert not report.notes, str(report)
    intent, _ = read_intent(open_storage(url, options))
    assert intent.state == "free"


@pytest.mark.parametrize(("writers", "each"), [(2, 3), pytest.param(8, 25, marks=pytest.mark.long)])
def test_all_at_once(store, writers, each):
    """Every process gets every session of its own in, and each is there once."""
    chosen = [names(writer, each) for writer in range(writers)]
    running = [begin(store, labels) for labels in chosen]
    assert [end(process) for process in running] == chosen
    assert_each_once(store, list(itertools.chain.from_iterable(chosen)))


LEASE = 3.0


@contextmanager
def one_is_killed_every(seconds, processes):
    """Kill one of several processes, by turns, every so many seconds, for the length of a ``with`` block."""
    over, killed = threading.Event(), []

    def kill():
        for number in itertools.count():
            if over.wait(seconds):
                return
            process = processes[number % len(processes)]
            if process is not None and process.poll() is None:
                process.kill()
                killed.append(number)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def persist(store, labels, processes, place):
    """Run a writer again and again until it has got in everything. Odd ones are on a machine of their own."""
    host = [f"--host=elsewhere-{place}"] if place % 2 else []
    while True:
        process = begin(store, labels, *host, AGGRADE_LEASE_SECONDS=str(LEASE))
        processes[place] = process
        _, complaints = process.communicate()
        if process.returncode == 0:
            return
        assert process.returncode == -signal.SIGKILL, complaints[-3000:]


@pytest.mark.long
def test_a_killer_goes_round(store):
    """Killed by turns every three lease times and started again, four processes get 200 sessions in, each once."""
    chosen = [names(writer, 50) for writer in range(4)]
    processes = [None] * 4
    failures = []

    def work(place):
        try:
            persist(store, chosen[place], processes, place)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    with one_is_killed_every(3 * LEASE, processes) as killed:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert killed
    assert_each_once(store, list(itertools.chain.from_iterable(chosen)))


@pytest.mark.long
def test_a_server_that_is_killed_and_comes_back(tmp_path):
    """Writers whose server dies in the middle and comes back end well or clearly; run again, all is there, once."""
    labels = names(0, 12)
    with run_s3_server(tmp_path, ["data"]) as server:
        store = ("s3://data/windows.zarr", server.storage_options)
        append(store[0], "w9-before", store[1])
        with begin(store, labels) as writer:
            assert writer.stdout.readline().strip() == labels[0]
            kill_server(tmp_path)
            with run_s3_server(tmp_path, ["data"]) as again:
                assert again.storage_options == store[1]
                writer.communicate()
                assert end(begin(store, labels)) == labels
                assert_each_once(store, ["w9-before", *labels])


def kill_server(home):
    """Kill the server that runs in a folder, with SIGKILL, and wait until it is gone."""
    import psutil

    def serving():
        return [process for process in psutil.process_iter() if serves(process)]

    def serves(process):
        try:
            program, *arguments = process.cmdline() or [""]
        except psutil.Error:
            return False
        return program.endswith("weed") and any(one.startswith(f"-dir={home}") for one in arguments)

    found = serving()
    assert found
    for process in found:
        process.kill()
    wait_until(lambda: not serving(), "the end of the server")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_interrupted_in_the_middle(store, number):
    """Ctrl-C and SIGTERM end a writer; what it had begun shows as a whole or not at all, and goes in once afterwards."""
    labels = names(0, 40)
    writer = begin(store, labels)
    assert writer.stdout.readline().strip() == labels[0]
    writer.send_signal(number)
    said, _ = writer.communicate()
    assert writer.returncode != 0
    assert len(said.split()) < len(labels) - 1
    url, options = store
    with xr.open_zarr(url, storage_options=options, chunks=None) as found:
        shown = [str(label) for label in found["session"].values]
        assert_holds(found.load(), [session(label) for label in shown])
    wanted = labels[: len(shown) + 2]
    assert end(begin(store, wanted)) == wanted
    assert_each_once(store, wanted)


@pytest.mark.long
@pytest.mark.parametrize("hours", [1, -1])
def test_a_writer_whose_clocks_are_off(store, hours):
    """A writer whose clocks are an hour off takes over from nobody who lives, and nobody takes over from it."""
    chosen = [names(0, 3), names(1, 3)]
    running = [begin(store, chosen[0], f"--hours={hours}", "--host=elsewhere"), begin(store, chosen[1])]
    assert [end(process) for process in running] == chosen
    assert_each_once(store, list(itertools.chain.from_iterable(chosen)))


FULL = """
import os, subprocess, sys
folder = sys.argv[1]
import aggrade, xarray as xr
from make_datasets import assert_holds
from session_writer import append, session

subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
url, filler = f"{folder}/windows.zarr", f"{folder}/filler"
append(url, "zeroth", None)
append(url, "first", None)
with open(filler, "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)) == 4096:
            pass
    except OSError:
        pass
try:
    append(url, "second", None)
except aggrade.Refused as error:
    print(error.code)
try:
    aggrade.remove(url, "first")
except aggrade.Unavailable as error:
    print(error.code, "No space left" in str(error), "prune_backups" in str(error))
assert_holds(xr.open_zarr(url).load(), [session("zeroth"), session("first")])
print("pruned", len(aggrade.prune_backups(url, keep=0)))
os.remove(filler)
append(url, "second", None)
assert_holds(xr.open_zarr(url).load(), [session(label) for label in ("zeroth", "first", "second")])
print("whole", aggrade.verify(url).ok)
"""


def test_a_disk_that_is_full(tmp_path):
    """On a full disk an append is refused, a removal fails clearly, backups can be pruned; with room all goes on."""
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", FULL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()[-200:]}")
    told = ["disk-room", "disk-full True True", "pruned 1", "whole True"]
    assert done.stdout.splitlines() == told, done.stderr[-2000:]
