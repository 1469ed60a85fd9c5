"""Fixtures that several test files share."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import settings
from s3_proxy import Proxy
from s3_proxy import s3_proxy as run_s3_proxy

from aggrade.storage.zarr_store import in_thread
from flows.demo_servers import S3Server
from flows.demo_servers import s3_server as run_s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator


pytest.register_assert_rewrite("storage_conformance")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, so that no worker is left with one when the others are done."""
    items.sort(key=lambda item: not item.get_closest_marker("e2e"))


settings.register_profile("quick", deadline=None, derandomize=True)
settings.register_profile("prove", deadline=None, print_blob=True)
settings.load_profile("quick")


def pytest_configure() -> None:
    """Let the processes of tests be interrupted, also where a shell began this one in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def request_threads() -> None:
    """Have the process's pool of request threads in its full size, before a test asks for few requests at once.

    Several writers of a test share it, of which one may be suspended in the middle of its requests.
    """
    asyncio.run(in_thread(int))


IDLE = (
    "CANCELLATION_CLEANUP",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)
"""Services of a Prefect server that tests have no use for."""


class Bucket(NamedTuple):
    """A bucket as a store's URL and the storage options that lead to it."""

    url: str
    storage_options: dict[str, Any]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run one S3 server for the session; it has the bucket ``shared``."""
    with run_s3_server(tmp_path_factory.mktemp("s3"), ["shared"]) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Bucket:
    """Give an empty bucket of one's own."""
    name = f"test-{secrets.token_hex(8)}"
    s3_server.make_buckets(name)
    return Bucket(f"s3://{name}", s3_server.storage_options)


@pytest.fixture
def s3_prefix(s3_server: S3Server) -> Bucket:
    """Give an empty prefix of one's own in a bucket that all share, in a tenth of a bucket's time."""
    return Bucket(f"s3://shared/test-{secrets.token_hex(8)}", s3_server.storage_options)


@pytest.fixture
def s3_proxy(s3_server: S3Server) -> Iterator[Proxy]:
    """Give a proxy before the S3 server that records requests and breaks them on demand."""
    with run_s3_proxy(s3_server) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real recordings and catalogues; without it, skip."""
    named = os.environ.get("AGGRADE_REAL_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if named and not folder.is_dir():
        pytest.fail(f"AGGRADE_REAL_DATA names no folder: {folder}")
    if not folder.is_dir():
        pytest.skip("no real data: AGGRADE_REAL_DATA is not set and ../shared/data is not there")
    return folder


@pytest.fixture(scope="session")
def prefect_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give a Prefect API of its own with an empty database and empty results, once per session.

    Without the heartbeat a flow run takes a fifth of a second instead of one. Of the server's services only those
    run that record what flow runs do: none of the others has anything to do here, and they take turns at polling.
    """
    import prefect.settings
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    settings = {
        PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results"),
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore",
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        **{getattr(prefect.settings, f"PREFECT_SERVER_SERVICES_{name}_ENABLED"): False for name in IDLE},
    }
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=600):
        yield
