"""What removals and restores cost, counted at a real S3 server, is what their dry runs say."""

from __future__ import annotations

import pytest
from undo_prices import CASES, LARGE, Data

from aggrade.storage import open_storage

pytestmark = pytest.mark.e2e

SHORT = ["remove with backups"]


def assert_priced(run, proxy):
    """Assert that the server counts what the dry run says, which writes nothing and fetches no more."""
    proxy.clear()
    plan = run(True)
    assert not proxy.writes()
    fetched = proxy.object_bytes()[1]
    proxy.clear()
    run(False)
    sent, received = proxy.object_bytes()
    assert plan.price.requests == proxy.count()
    assert plan.price.bytes_written == pytest.approx(sent, rel=0.05)
    assert plan.price.bytes_read == pytest.approx(received, rel=0.05)
    assert fetched <= received


@pytest.fixture
def data(s3_prefix, s3_proxy, monkeypatch):
    """Return an empty dataset behind the proxy; no heartbeat comes in between."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "500")
    return Data(s3_prefix.url, s3_proxy.storage_options)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in SHORT else pytest.mark.long) for case in CASES]
)
def test_the_price_is_what_the_server_counts(case, data, s3_proxy):
    """Requests by kind are equal, bytes within 5 %, wherever the session lies and whatever was kept of it."""
    assert_priced(CASES[case](data), s3_proxy)


@pytest.mark.parametrize(
    "case",
    [
        "restore of a remove",
        *(pytest.param(case, marks=pytest.mark.long) for case in CASES if "full" in case),
    ],
)
def test_large_objects_are_not_fetched(case, data, s3_proxy):
    """Of samples that are only moved, the dry run asks for the size."""
    data.how = LARGE
    run = CASES[case](data)
    s3_proxy.clear()
    plan = run(True)
    assert s3_proxy.object_bytes()[1] < plan.price.bytes_read / 4
    assert_priced(run, s3_proxy)


@pytest.mark.long
def test_where_versions_are_kept(s3_bucket, s3_proxy, monkeypatch):
    """In a bucket that keeps versions, the lists of them are in the price, and so is the deletion of each."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "500")
    root = open_storage(s3_bucket.url, s3_bucket.storage_options)
    root._call("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    assert_priced(CASES["remove with backups"](Data(s3_bucket.url, s3_proxy.storage_options)), s3_proxy)


@pytest.mark.long
def test_in_a_bucket_of_its_own(s3_bucket, s3_proxy, monkeypatch):
    """A whole bucket as dataset root is priced as a folder is."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "500")
    assert_priced(CASES["remove with backups"](Data(s3_bucket.url, s3_proxy.storage_options)), s3_proxy)
