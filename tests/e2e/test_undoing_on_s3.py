"""Restoring and removing in a real bucket, with versions and without."""

from __future__ import annotations

import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from make_traces import traces

import aggrade
from aggrade.storage import open_storage
from aggrade.storage.s3_connection import CallFailed

pytestmark = pytest.mark.e2e

SESSIONS = [make_session(f"person {number}", windows, number) for number, windows in enumerate([3, 7, 2])]
GONE = "person 1"


def grow(bucket, sessions=SESSIONS):
    """Append sessions."""
    for session in sessions:
        aggrade.append(
            session, bucket.url, grow=("window",), chunks=CHUNKS, storage_options=bucket.storage_options
        )


def seen(bucket):
    """Return what a bare reader sees."""
    url = f"{bucket.url}/windows.zarr"
    return xr.open_zarr(url, storage_options=bucket.storage_options, chunks=None).load()


def test_every_backup_is_restored(s3_prefix):
    """Each backup brings back its state, and the restore's own undoes it, through plain `xr.open_zarr`."""
    options = s3_prefix.storage_options
    grow(s3_prefix)
    for number, manifest in enumerate(aggrade.list_backups(s3_prefix.url, storage_options=options), 1):
        receipt = aggrade.restore(s3_prefix.url, manifest, storage_options=options)
        assert_holds(seen(s3_prefix), SESSIONS[:number])
        aggrade.restore(s3_prefix.url, receipt.backup, storage_options=options)
        assert_holds(seen(s3_prefix), SESSIONS)
    assert aggrade.verify(s3_prefix.url, storage_options=options).ok


@pytest.mark.parametrize("versions", [False, True], ids=["plain", "with versions"])
def test_nothing_is_left(s3_bucket, versions):
    """A session that is removed is in no object and in no old version; the others are as they were."""
    options, root = s3_bucket.storage_options, open_storage(s3_bucket.url, s3_bucket.storage_options)
    if versions:
        root._call("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    grow(s3_bucket)
    before = left(root)
    assert {key.split("/")[0] for key in before} == {"windows.zarr", "windows.zarr.backups"}
    assert any("@" in key for key in before) is versions
    receipt = aggrade.remove(s3_bucket.url, GONE, purge_backups=True, storage_options=options)
    assert "remains" not in receipt.details
    assert left(root) == []
    found = aggrade.open_windows(s3_bucket.url, storage_options=options).load()
    assert_holds(found, [SESSIONS[0], SESSIONS[2]])
    assert aggrade.verify(s3_bucket.url, storage_options=options).ok


def test_a_store_that_is_gone(s3_bucket):
    """Nobody can tell whose versions of a deleted store are whose: none goes, and the receipt says that they remain."""
    options, root = s3_bucket.storage_options, open_storage(s3_bucket.url, s3_bucket.storage_options)
    root._call("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    grow(s3_bucket)
    more = {"grow": ("window",), "backup": "full", "storage_options": options}
    aggrade.append(make_session("more", 2, 9), s3_bucket.url, **more)
    root.delete([info.key for info in root.list("windows.zarr/")])
    versions = [one for one in root.old_versions() if one[0].startswith("windows.zarr/")]
    receipt = aggrade.remove(s3_bucket.url, GONE, purge_backups=True, storage_options=options)
    assert len(receipt.details["remains"]) == 1
    assert "versions of this store, which is gone" in receipt.details["remains"][0]
    there = {info.key: (root.read(info.key).data, "") for info in root.list()}
    assert traces(there, SESSIONS[1]) == []
    assert {one for one in left(root) if ".backups/" in one} == set()
    assert set(versions) <= set(root.old_versions())


def left(root):
    """Return the keys of objects and of old versions that hold something of the session."""
    there = {info.key: root.read(info.key).data for info in root.list()}
    there |= {f"{key}@{version}": old(root, key, version) for key, version in root.old_versions()}
    return traces({key: (data, "") for key, data in there.items()}, SESSIONS[1])


def old(root, key, version):
    """Return the bytes of one version, none of a mark of a deletion."""
    try:
        return root._call("get_object", Key=key, VersionId=version)["Body"]
    except CallFailed:
        return b""
