"""Prefixes in buckets as a storage, on a real S3 server."""

from __future__ import annotations

import pytest
from storage_conformance import StorageConformance

from aggrade.storage import open_storage
from aggrade.storage.s3 import S3Storage

pytestmark = pytest.mark.e2e


class TestConformance(StorageConformance):
    """S3 keeps the contract of every storage."""

    rounds = 2  # a client that loses waits for seconds

    @pytest.fixture
    def storage(self, s3_prefix):
        """Return the storage of an empty prefix."""
        return S3Storage(*s3_prefix)
