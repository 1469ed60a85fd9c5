"""What a guarded append costs, counted at a real S3 server, beside plain xarray's append of the same data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import xarray as xr
from append_prices import append, append_plainly, cost_of, cut_session, grow_directly, small_session

import aggrade
from aggrade.storage import open_storage

pytestmark = pytest.mark.e2e

LATENCY = 1.5
MOST = 0.6
ROUND_TRIPS = 10
TRIES = ("one more", "one more still", "the last")
"""Round trips are told from times: on a busy machine a request may seem to wait for another one that it didn't, never less."""


@pytest.fixture(scope="module")
def kinds():
    """Return how to make a session of each kind."""
    return {"small": small_session, "windows": cut_session()}


@pytest.fixture
def store(s3_prefix, s3_proxy, kinds):
    """Return a function that gives the URL of a store of two sessions."""

    def make(kind):
        for label in ("session 0", "session 1"):
            append(kinds[kind](label), f"{s3_prefix.url}/windows.zarr", s3_proxy.storage_options)
        return f"{s3_prefix.url}/windows.zarr"

    return make


@pytest.fixture
def plain_store(s3_prefix, s3_proxy, kinds):
    """Return a function that gives the URL of a store of two sessions that plain xarray wrote."""

    def make(kind):
        for label in ("session 0", "session 1"):
            new = label == "session 0"
            append_plainly(
                kinds[kind](label), f"{s3_prefix.url}/plain.zarr", s3_proxy.storage_options, new=new
            )
        return f"{s3_prefix.url}/plain.zarr"

    return make


@pytest.mark.parametrize("kind", ["small", "windows"])
def test_it_is_cheaper_than_the_unguarded_one(store, plain_store, s3_proxy, kinds, kind):
    """Lease, backup and verification included, it sends at most 0.6 as many requests, and waits at most ten times."""
    url, plain = store(kind), plain_store(kind)
    options = s3_proxy.storage_options
    theirs = cost_of(s3_proxy, lambda: append_plainly(kinds[kind]("one more"), plain, options))
    round_trips = []
    for label in TRIES:
        session = kinds[kind](label)
        ours = cost_of(s3_proxy, lambda new=session: append(new, url, options), latency=LATENCY)
        assert ours.total <= MOST * theirs.total, (ours, theirs)
        round_trips.append(ours.round_trips)
        if ours.round_trips <= ROUND_TRIPS:
            break
    assert min(round_trips) <= ROUND_TRIPS, s3_proxy.requests
    assert aggrade.verify(url, storage_options=options).ok


@pytest.mark.parametrize("kind", ["small", "windows"])
def test_the_price_is_what_the_server_counts(store, s3_proxy, kinds, kind):
    """The dry run's price is equal for requests and within 5 % for bytes, and so are the receipt's requests."""
    url = store(kind)
    options, session = s3_proxy.storage_options, kinds[kind]("one more")
    plan = append(session, url, options, dry_run=True)
    receipts = []
    cost = cost_of(s3_proxy, lambda: receipts.append(append(session, url, options)))
    assert plan.price.requests == cost.requests == receipts[0].requests
    assert plan.price.bytes_written == pytest.approx(cost.sent, rel=0.05)
    assert plan.price.bytes_read == pytest.approx(cost.received, rel=0.05)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["small", "windows"])
def test_with_a_catalogue(store, plain_store, s3_prefix, s3_proxy, kinds, kind):
    """In a dataset root, whose catalogue is kept, it costs two requests more and no round trip, and is priced so."""
    plain, bare, root = plain_store(kind), store(kind), f"{s3_prefix.url}/data"
    options, session = s3_proxy.storage_options, kinds[kind]("one more")
    for label in ("session 0", "session 1"):
        append(kinds[kind](label), root, options)
    plan = append(session, root, options, dry_run=True)
    told = cost_of(s3_proxy, lambda: append(session, root, options))
    ours = cost_of(s3_proxy, lambda: append(session, bare, options))
    theirs = cost_of(s3_proxy, lambda: append_plainly(session, plain, options))
    assert plan.price.requests == told.requests == ours.requests + Counter({"GET": 1, "PUT": 1})
    assert plan.price.bytes_written == pytest.approx(told.sent, rel=0.05)
    assert told.total <= MOST * theirs.total, (told, theirs)
    slow = cost_of(s3_proxy, lambda: append(kinds[kind]("and one"), root, options), latency=LATENCY)
    assert slow.round_trips <= ROUND_TRIPS, s3_proxy.requests
    assert aggrade.verify(root, storage_options=options).ok
    assert list(aggrade.read_catalogue(root, storage_options=options)["session"])[2:] == [
        "one more",
        "and one",
    ]


def test_the_first_append_to_a_bucket(s3_bucket, s3_proxy):
    """What the server is asked first is in the price and in the receipt, as often as it is asked."""
    url, options, receipts = f"{s3_bucket.url}/windows.zarr", s3_proxy.storage_options, []
    plan = append(small_session("first"), url, options, dry_run=True)
    cost = cost_of(s3_proxy, lambda: receipts.append(append(small_session("first"), url, options)))
    assert plan.price.requests == cost.requests == receipts[0].requests


def test_a_dry_run_sends_what_it_says(store, s3_proxy, kinds):
    """It reads what the append reads, and writes nothing."""
    url = store("small")
    options, session = s3_proxy.storage_options, kinds["small"]("one more")
    plans = []
    cost = cost_of(s3_proxy, lambda: plans.append(append(session, url, options, dry_run=True)))
    assert set(cost.requests) == {"GET", "HEAD"}
    assert all(plans[0].price.requests[kind] == count for kind, count in cost.requests.items())


def test_of_many_sessions_at_once(store, s3_proxy, kinds):
    """Twenty sessions in one append cost what was said, and less than a third of what they cost one by one."""
    url = store("small")
    options = s3_proxy.storage_options
    many = xr.concat([kinds["small"](f"more {i}") for i in range(20)], "session", data_vars="minimal")
    how = {"grow": ("window",), "storage_options": options}
    alone = cost_of(s3_proxy, lambda: append(kinds["small"]("alone"), url, options))
    plan = aggrade.append(many, url, dry_run=True, **how)
    cost = cost_of(s3_proxy, lambda: aggrade.append(many, url, **how))
    assert plan.price.requests == cost.requests
    assert plan.price.bytes_written == pytest.approx(cost.sent, rel=0.05)
    assert cost.total < 20 * alone.total / 3


def costs_at(sizes, url, server, proxy, session):
    """Return the cost of one append to a store of each of these sizes, grown from one to the next."""
    found = []
    for size in sizes:
        grow_directly(open_storage(url, server.storage_options), size)
        found.append(
            cost_of(proxy, lambda size=size: append(session(f"at {size}"), url, proxy.storage_options))
        )
    return found


def assert_flat(costs):
    """Assert that all cost the same within 5 %."""
    totals = [cost.total for cost in costs]
    assert max(totals) <= 1.05 * min(totals), costs


def test_it_costs_the_same_at_ten_and_at_a_thousand_sessions(store, s3_server, s3_proxy, kinds):
    """The requests of an append depend on what is appended, not on what is there."""
    url = store("small")
    assert_flat(costs_at([10, 1000], url, s3_server, s3_proxy, kinds["small"]))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["small", "windows"])
def test_it_costs_the_same_at_a_hundred_thousand_sessions(store, s3_server, s3_proxy, kinds, kind):
    """From ten to a hundred thousand sessions, with a record of each, nothing changes."""
    url = store(kind)
    assert_flat(costs_at([10, 1000, 100_000], url, s3_server, s3_proxy, kinds[kind]))


def measured(url, options, gigabytes):
    """Append so many GB of lazy noise in a process of its own; return what it says of its memory."""
    script = Path(__file__).parents[1] / "measure_append.py"
    paths = os.pathsep.join([str(script.parents[1]), str(script.parent)])
    command = [sys.executable, str(script), url, json.dumps(options), str(gigabytes)]
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.long
def test_memory_of_a_large_append(s3_prefix):
    """A quarter of a GB is appended within what the plan says, and little of it is in memory at once."""
    found = measured(f"{s3_prefix.url}/large.zarr", s3_prefix.storage_options, 0.25)
    assert found["taken"] <= found["priced"] + (64 << 20), found


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_six_gigabytes_stay_under_one(s3_prefix):
    """6 GB are appended to S3 with less than 1 GB of resident memory, the program itself included."""
    found = measured(f"{s3_prefix.url}/large.zarr", s3_prefix.storage_options, 6)
    assert found["resident"] < 1_000_000_000, found
