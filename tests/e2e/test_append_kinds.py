"""What appends of every kind cost, counted at a real S3 server, is what their dry runs say."""

from __future__ import annotations

import pytest
from append_cases import CASES
from undo_prices import LARGE, Data

pytestmark = pytest.mark.e2e

SHORT = ["a longer one"]


@pytest.fixture
def data(s3_prefix, s3_proxy, monkeypatch):
    """Return an empty dataset behind the proxy; no heartbeat comes in between."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "500")
    return Data(s3_prefix.url, s3_proxy.storage_options)


@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in SHORT else pytest.mark.long) for case in CASES]
)
def test_the_price_is_what_the_server_counts(case, large, data, s3_proxy):
    """Requests by kind are equal, bytes within 5 %, be the objects of samples small or some 250 kB."""
    data.how = LARGE if large else {}
    run = CASES[case](data)
    s3_proxy.clear()
    price = run(True).price
    assert not s3_proxy.writes()
    s3_proxy.clear()
    run(False)
    sent, received = s3_proxy.object_bytes()
    assert price.requests == s3_proxy.count()
    assert price.bytes_written == pytest.approx(sent, rel=0.05)
    assert price.bytes_read == pytest.approx(received, rel=0.05)
