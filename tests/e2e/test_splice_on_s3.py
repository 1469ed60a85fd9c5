"""Staged sessions that land by copies, at a real S3 server."""

from __future__ import annotations

import pytest
from make_datasets import assert_holds, make_session

import aggrade
from aggrade.landing import land, plan_landing
from aggrade.staging import stage

pytestmark = pytest.mark.e2e

SESSIONS = [make_session(label, 200, seed, samples=4000) for seed, label in enumerate(["one", "two"])]
SHARDS = 2


@pytest.fixture
def landing(s3_prefix, s3_proxy):
    """Return the plan of a landing beside another session, and how to land: it returns what the proxy saw."""
    root, options = s3_prefix.url, s3_proxy.storage_options
    aggrade.append(SESSIONS[0], root, grow=("window",), storage_options=options)
    plan = plan_landing(SESSIONS[1], root, "name", storage_options=options)
    staged = stage(SESSIONS[1], root, "name", storage_options=options)

    def run():
        s3_proxy.clear()
        land(staged, staged.store(), storage_options=options)
        return [request for request in s3_proxy.requests if "/eeg/c/" in request.key]

    return plan, run


def test_samples_pass_nobody(s3_prefix, s3_proxy, landing):
    """Each shard is one COPY on its conditions, as the price says; none is read or sent."""
    plan, run = landing
    seen = run()
    assert plan.price.requests["COPY"] == SHARDS
    assert [request.kind for request in seen] == ["COPY"] * SHARDS
    assert {request.headers["if-none-match"] for request in seen} == {"*"}
    assert all(request.headers["x-amz-copy-source-if-match"] for request in seen)
    assert_holds(
        aggrade.open_windows(s3_prefix.url, storage_options=s3_proxy.storage_options).load(), SESSIONS
    )
    assert aggrade.verify(s3_prefix.url, storage_options=s3_proxy.storage_options).ok


def test_a_copy_whose_reply_is_lost_is_found(s3_prefix, s3_proxy, landing):
    """A copy that took effect and was not answered for counts as made."""
    s3_proxy.break_next("lose-reply", kind="COPY")
    landing[1]()
    options = s3_proxy.storage_options
    assert_holds(aggrade.open_windows(s3_prefix.url, storage_options=options).load(), SESSIONS)
    assert aggrade.verify(s3_prefix.url, storage_options=options).ok
