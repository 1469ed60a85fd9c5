"""Counting what goes to a store."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from storage_conformance import StorageConformance

from aggrade.storage import ConditionFailed
from aggrade.storage.counting import Counted
from aggrade.storage.local import LocalStorage
from aggrade.storage.s3 import S3Storage


class TestConformance(StorageConformance):
    """A counted storage keeps the contract of every storage."""

    rounds = 1

    @pytest.fixture
    def storage(self, tmp_path):
        """Return a counted storage."""
        return Counted(LocalStorage(str(tmp_path / "data")))


@pytest.fixture
def counted(tmp_path):
    """Return a counted storage."""
    return Counted(LocalStorage(str(tmp_path / "data")))


def test_counts_by_kind(counted):
    """Every method counts as the request that it is, and bytes by their direction."""
    info = counted.write("k", b"12345")
    counted.write("k", b"123", replacing=info.etag)
    counted.read("k")
    counted.read("k", start=-1)
    counted.read("missing")
    counted.stat("k")
    counted.copy("k", "l")
    list(counted.list())
    counted.folders()
    counted.delete(iter(["k", "l", "missing"]))
    assert counted.counts == Counter(
        PUT=2, GET=3, HEAD=1, COPY=1, LIST=2, DELETE=3, bytes_written=8, bytes_read=4
    )


def test_counts_failures(counted):
    """A write whose condition failed was a request all the same."""
    counted.write("k", b"x")
    with pytest.raises(ConditionFailed):
        counted.write("k", b"y")
    assert counted.counts["PUT"] == 2


def test_views_count_together(counted):
    """Storages of folders below and above count in one place."""
    counted.within("a").write("k", b"x")
    above, name = counted.above()
    assert name == "data"
    assert above.read("data/a/k").data == b"x"
    assert counted.counts == Counter(PUT=1, bytes_written=1, GET=1, bytes_read=1)


def test_threads_lose_no_count(counted):
    """Eight threads with a view each lose no count."""
    counted.write("v0/k", b"x")

    def work(number):
        view = counted.within(f"v{number}")
        for _ in range(200):
            view.stat("k")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert counted.counts["HEAD"] == 1600


def test_copies_count_afresh(counted):
    """A copy that went through pickle starts from zero and leaves the original's counts alone."""
    counted.write("k", b"x")
    copy = pickle.loads(pickle.dumps(counted))
    copy.read("k")
    assert copy.counts == Counter(GET=1, bytes_read=1)
    assert counted.counts == Counter(PUT=1, bytes_written=1)


@pytest.mark.e2e
def test_counts_are_the_server_s(s3_prefix, s3_proxy):
    """Counts are what the server saw."""
    counted = Counted(S3Storage(s3_prefix.url, s3_proxy.storage_options))
    info = counted.write("k", b"1")
    counted.write("k", b"2", replacing=info.etag)
    counted.read("k")
    counted.stat("k")
    list(counted.list())
    counted.copy("k", "l")
    counted.delete(["k"])
    seen = s3_proxy.count()
    assert seen == {kind: count for kind, count in counted.counts.items() if kind.isupper()}
