"""A thousand sessions, four processes, killed five times: each once, and the catalogue agrees with the store.

``AGGRADE_TEST_SESSIONS`` says how many sessions, where a machine has no time for a thousand.
"""

from __future__ import annotations

import itertools
import os
import threading

import pytest
from make_datasets import assert_holds
from session_writer import session
from test_many_writers import names, persist
from waiting import wait_until

import aggrade
from aggrade.commit import read_snapshot
from aggrade.storage import open_storage
from flows.demo_servers import s3_server

WRITERS, KILLS = 4, 5

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(4 * 3600)]


@pytest.fixture(params=["folder", "s3"])
def root(request, tmp_path):
    """Return URL and storage options of a dataset root in a folder, and of one on a server."""
    if request.param == "folder":
        yield f"{tmp_path}/Ab 01 ä#?%", None
    else:
        with s3_server(tmp_path, ["data"]) as server:
            yield "s3://data/Ab 01 ä#%", server.storage_options


def landed(root):
    """Return how many sessions a dataset shows, asked some times a second."""
    threading.Event().wait(0.25)
    shown = read_snapshot(open_storage(f"{root[0]}/windows.zarr", root[1]))
    return shown.length("session") if shown else 0


def kill_in_between(root, processes, count):
    """Kill one process after another, each time when some more sessions have landed."""
    for number in range(KILLS):
        wanted = count * (number + 1) // (KILLS + 2)
        wait_until(lambda wanted=wanted: landed(root) >= wanted, f"{wanted} sessions", seconds=3 * 3600)
        living = [one for one in processes if one is not None and one.poll() is None]
        assert living, "every process ended before it could be killed"
        living[number % len(living)].kill()


def test_each_once_whoever_is_killed(root):
    """Every session is there once and as it was given, and has its one line; verify finds nothing."""
    url, options = root
    count = int(os.environ.get("AGGRADE_TEST_SESSIONS", "1000"))
    chosen = [names(writer, count // WRITERS) for writer in range(WRITERS)]
    labels = list(itertools.chain.from_iterable(chosen))
    processes = [None] * WRITERS
    work = [
        threading.Thread(target=persist, args=(root, chosen[place], processes, place))
        for place in range(WRITERS)
    ]
    for thread in work:
        thread.start()
    kill_in_between(root, processes, len(labels))
    for thread in work:
        thread.join()
    aggrade.recover(url, storage_options=options)
    found = aggrade.open_windows(url, storage_options=options).load()
    order = [str(label) for label in found["session"].values]
    assert sorted(order) == sorted(labels)
    assert_holds(found, [session(label) for label in order])
    lines = aggrade.read_catalogue(url, storage_options=options)
    assert lines["session"].tolist() == order
    assert lines["index"].tolist() == list(range(len(order)))
    report = aggrade.verify(url, storage_options=options)
    assert report.ok, str(report)
