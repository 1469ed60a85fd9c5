"""Stores as assets: keys that Prefect takes, and an event for each change of a store, and only for a change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_runs import WINDOWS, record, run
from prefect.assets import Asset
from prefect.client.orchestration import get_client
from waiting import wait_until

from aggrade import Receipt
from flows.ingest_sessions import ingest_sessions
from tasks.assets import asset_key, show_assets

CHANGED = "prefect.asset.materialization.succeeded"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3).map("/".join))
def test_prefect_takes_every_key(path):
    """Whatever a store is called, its key is one that Prefect takes."""
    for store in (f"s3://lab/{path}", f"/data/{path}", f"/data/{path * 200}"):
        assert Asset(key=asset_key(store)).key == asset_key(store)


def test_a_url_that_prefect_takes_is_its_own_key():
    """Keys are URLs wherever that is possible; a folder gets the scheme that it has as a URL."""
    assert asset_key("s3://lab/windows.zarr") == "s3://lab/windows.zarr"
    assert asset_key("/data/windows.zarr") == "file:///data/windows.zarr"


def test_different_stores_have_different_keys():
    """Names that differ only in what Prefect refuses, or only at their ends, are not mixed up."""
    alike = ["s3://a b", "s3://a_b", "s3://a#b", f"s3://{'x' * 600}1", f"s3://{'x' * 600}2"]
    assert len(set(map(asset_key, alike))) == len(alike)


def test_outside_of_a_run_nothing_happens():
    """Without a run there is nobody to tell."""
    show_assets([Receipt(kind="append", store="s3://lab/a.zarr", write_id="a", generation=1)])


def events_of(store):
    """Return what the server has been told of a store, the oldest first."""
    wanted = {"filter": {"event": {"name": [CHANGED]}, "resource": {"id": [asset_key(store)]}}, "limit": 50}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json=wanted).json()["events"]
    return sorted(found, key=lambda event: event["payload"]["generation"])


@pytest.mark.usefixtures("prefect_backend")
def test_each_change_of_a_store_is_an_event(tmp_path):
    """What a run has brought is told once, with what was done; a run that finds nothing to do tells nothing."""
    store = f"{tmp_path}/dataset/windows.zarr"

    def ingest():
        return run(
            ingest_sessions, source=f"{tmp_path}/recordings", store=f"{tmp_path}/dataset", windows=WINDOWS
        )

    record(tmp_path / "recordings", "sub-1")
    assert ingest().task(f"asset {store}") == "Completed"
    wait_until(lambda: len(events_of(store)) == 1, "the event")
    assert ingest().task(f"asset {store}") == "Cached"
    record(tmp_path / "recordings", "sub-2", first=50)
    (_, receipt) = ingest().result
    wait_until(lambda: len(events_of(store)) > 1, "the second event")
    first, second = events_of(store)
    assert first["payload"]["layers"] == second["payload"]["layers"] == 1
    assert second["payload"]["write_id"] == receipt.write_id
    assert second["payload"]["undo"] == receipt.undo
    assert first["resource"]["prefect.resource.name"] == "windows.zarr"
