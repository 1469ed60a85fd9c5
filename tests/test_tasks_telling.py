"""What workers tell of bytes moved: each byte once, none too many, from the thread that does the work."""

from __future__ import annotations

import logging
import threading

import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_until

from tasks.telling import Heard, hearing, telling

log = logging.getLogger("aggrade.test")
sizes = st.dictionaries(st.sampled_from("abc"), st.integers(0, 100), min_size=1)
events = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 60), st.booleans()), max_size=20)


@pytest.fixture
def client():
    """Give the client of a cluster in this process."""
    how = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**how) as cluster, Client(cluster) as client:
        yield client


def move(topic, work, moved):
    """Say in the log what was moved, as the core does; another thread says something, too."""
    log.setLevel(logging.INFO)
    with telling(topic, work):
        other = threading.Thread(target=log.info, args=("of other work",), kwargs={"extra": {"moved": 7}})
        other.start()
        other.join()
        for each in moved:
            log.info("moved", extra={"moved": each})
            log.info("nothing of that kind")
    log.info("behind it", extra={"moved": 9})


@given(sizes, events)
def test_all_bytes_are_counted_once(sizes, events):
    """Told or not, late, twice or of somebody else: taken and finished together are the bytes of the work."""
    heard, total = Heard(sizes), 0
    for work, moved, is_last in events:
        heard.hear((0.0, {"work": work, "moved": moved}))
        total += heard.take() + (heard.finish(work) if is_last else 0)
        assert total <= sum(sizes.values())
    total += heard.take() + sum(heard.finish(work) for work in sizes)
    assert total == sum(sizes.values())
    assert heard.take() == 0


def test_a_worker_is_heard(client):
    """What the thread of a piece has logged arrives; what others log, or what comes later, does not."""
    with hearing(client, {"one": 100, "two": 50}) as heard:
        client.submit(move, heard.topic, "one", [10, 20]).result()
        client.submit(move, heard.topic, "two", [5]).result()
        told = []
        wait_until(lambda: told.append(heard.take()) or sum(told) == 35, "35 bytes")
        assert heard.finish("one") == 70
        assert heard.finish("two") == 45


def test_nobody_is_told_without_a_topic(client):
    """Where nobody listens, nothing is sent; where there is no worker, nothing fails."""
    with hearing(client, {"one": 100}) as heard:
        client.submit(move, "", "one", [10]).result()
        move(heard.topic, "one", [20])
        client.submit(move, heard.topic, "one", [30]).result()
        told = []
        wait_until(lambda: told.append(heard.take()) or sum(told) == 30, "30 bytes")


def test_listening_ends(client):
    """Behind the context nothing arrives that others still hear, and the logger has no handler left."""
    before = list(logging.getLogger("aggrade").handlers)
    with hearing(client, {"one": 100}) as first, hearing(client, {"one": 100}) as second:
        pass
    with hearing(client, {"one": 100}) as third:
        client.submit(move, third.topic, "one", [10]).result()
        wait_until(lambda: third.take() == 10, "what a worker tells")
        client.log_event([first.topic, second.topic, third.topic], {"work": "one", "moved": 20})
        wait_until(lambda: third.take() == 20, "what is told to all")
        assert [first.take(), second.take()] == [0, 0]
    assert logging.getLogger("aggrade").handlers == before
