"""A prefix in a bucket as a storage, with every write on condition.

See ``docs/decisions/0001-conditional-requests.md`` for why the requests go through s3fs's client.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aggrade.errors import AggradeError, BadInput, Damaged, Problem
from aggrade.storage import ConditionFailed, ObjectInfo, StoredObject
from aggrade.storage.keys import check_key, check_prefix, condition_failed, is_key, missing_source
from aggrade.storage.s3_connection import CallFailed, Connection, connect
from aggrade.storage.s3_errors import (
    ABSENT,
    CONTENDED,
    FORBIDDEN,
    MISMATCH,
    OUT_OF_RANGE,
    UNMET,
    translate,
    undeleted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["S3Storage"]

_STAMP = "aggrade-write"
_UNKNOWN_TO_SERVER = {"NotImplemented", "501"}


class S3Storage:
    """A prefix in a bucket as a `Storage`. Opening sends no request.

    Storages with the same options share one client per process, whose time-outs and number of connections come
    from `aggrade.settings`. Whatever fails in transit is sent again, with pauses, as often as they say.

    Parameters
    ----------
    url
        ``s3://bucket`` or ``s3://bucket/prefix``. A prefix is a name, not a URL: ``%``, ``#`` and ``?`` stand for
        themselves.
    storage_options
        What `s3fs.S3FileSystem` takes.

    Raises
    ------
    BadInput
        If the URL names no bucket, or a prefix that is no key.

    Attributes
    ----------
    at_once : int
        How many keys one request lists or deletes at most.
    """

    at_once = 1000

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        prefix = prefix.strip("/")
        if not url.startswith("s3://") or not bucket:
            raise BadInput(Problem("store", repr(url), "s3://bucket/…", "name a bucket", "store-url"))
        self.url = f"s3://{bucket}/{check_key(prefix)}" if prefix else f"s3://{bucket}"
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._options = dict(storage_options or {})
        self._connected: tuple[int, Connection] | None = None

    def __repr__(self) -> str:
        return f"S3Storage({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Storage) and (self.url, self._options) == (other.url, other._options)

    def __hash__(self) -> int:
        return hash(self.url)

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """Return bytes ``[start, stop)`` of an object, or None. See `Storage.read`."""
        request = {"Key": self._root + check_key(key)}
        if stop is not None and (start < 0 or stop <= start):
            return self._read_by_size(key, slice(start, stop))
        if start or stop is not None:
            request["Range"] = (
                f"bytes={start}-{'' if stop is None else stop - 1}" if start >= 0 else f"bytes={start}"
            )
        try:
            response = self._call("get_object", **request)
        except CallFailed as failed:
            if failed.failure.status == OUT_OF_RANGE:
                info = self.stat(key)
                return StoredObject(b"", info.etag) if info else None
            self._absent_or_raise(failed, key)
            return None
        return StoredObject(response["Body"], response["ETag"])

    def stat(self, key: str) -> ObjectInfo | None:
        """Return size and mark of an object, or None. See `Storage.stat`."""
        response = self._head(key)
        return ObjectInfo(key, int(response["ContentLength"]), response["ETag"]) if response else None

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """Write an object whole, on condition, with its MD5 for the server to check. See `Storage.write`."""
        condition = {"IfNoneMatch": "*"} if replacing is None else {"IfMatch": replacing}
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        stamp = secrets.token_hex(16)
        request = {"Body": bytes(data), "ContentMD5": digest, "Metadata": {_STAMP: stamp}, **condition}
        try:
            response = self._call("put_object", Key=self._root + check_key(key), **request)
        except CallFailed as failed:
            if failed.failure.status in {UNMET, CONTENDED} and (own := self._written_as(key, stamp)):
                return own
            if failed.failure.status == ABSENT and failed.failure.code != "NoSuchBucket":
                raise condition_failed(f"{self.url}/{key}", None, replacing) from failed
            raise self._translated(failed, key) from failed
        return ObjectInfo(key, len(data), response["ETag"])

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """Copy an object to a key where none lies, on the server. See `Storage.copy`."""
        check_key(target)
        request: dict[str, Any] = {
            "CopySource": {"Bucket": self._bucket, "Key": self._root + check_key(source)}
        }
        if unchanged is not None:
            request["CopySourceIfMatch"] = unchanged
        try:
            response = self._call("copy_object", Key=self._root + target, IfNoneMatch="*", **request)
        except CallFailed as failed:
            if failed.failure.status == ABSENT and failed.failure.code != "NoSuchBucket":
                raise Damaged(missing_source(f"{self.url}/{source}")) from failed
            if failed.failure.status != UNMET and failed.failure.code not in _UNKNOWN_TO_SERVER:
                raise self._translated(failed, target) from failed
            return self._copy_by_hand(source, target, unchanged)
        mark = response["CopyObjectResult"]["ETag"].strip('"')
        return f'"{mark}"'

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, a thousand with one request. See `Storage.delete`."""
        doomed = sorted({self._root + check_key(key) for key in keys})
        for some in _parts([{"Key": name} for name in doomed], self.at_once):
            response = self._checked("", "delete_objects", Delete={"Objects": some, "Quiet": True})
            if errors := response.get("Errors"):
                raise undeleted(errors, self._bucket, self._connection().endpoint)

    def discard(self, key: str, etag: str) -> bool:
        """Delete an object if it still bears that mark. See `Storage.discard`."""
        if self.stat(key) is None:
            return False
        try:
            self._call("delete_object", Key=self._root + check_key(key), IfMatch=etag)
        except CallFailed as failed:
            if failed.failure.status in {UNMET, CONTENDED}:
                return False
            self._absent_or_raise(failed, key)
            return False
        return True

    @property
    def address(self) -> tuple[str, str]:
        """The endpoint that requests go to, and the bucket as a URL."""
        return self._connection().endpoint, f"s3://{self._bucket}"

    def checks_uploads(self, torn: str, spare: str) -> dict[str, bool]:
        """Return whether the server refuses objects that do not match the digests they are sent with.

        Parameters
        ----------
        torn, spare
            Scratch keys, at which the server may store what it should refuse.
        """
        wrong = {
            "content_md5": {"ContentMD5": base64.b64encode(bytes(16)).decode()},
            "checksums": {"ChecksumSHA256": base64.b64encode(bytes(32)).decode()},
        }
        keys = dict(zip(wrong, (torn, spare), strict=True))
        return {name: self._is_refused(keys[name], digest) for name, digest in wrong.items()}

    def _is_refused(self, key: str, digest: dict[str, str]) -> bool:
        request = {"Bucket": self._bucket, "Key": self._root + check_key(key), "Body": b"torn"}
        try:
            self._connection().call_once("put_object", **request, **digest)
        except CallFailed as failed:
            if failed.failure.status == MISMATCH:
                return True
            raise self._translated(failed, key) from failed
        return False

    def folders(self, prefix: str = "") -> Sequence[str]:
        """Return the names of the folders below `prefix`. See `Storage.folders`."""
        folder = check_prefix(prefix.strip("/"))
        start = self._root + (f"{folder}/" if folder else "")
        pages = self._pages(prefix, Prefix=start, Delimiter="/")
        found = {
            common["Prefix"][len(start) : -1] for page in pages for common in page.get("CommonPrefixes", ())
        }
        return sorted(found - {""}, key=str.encode)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects in the order of their keys. See `Storage.list`.

        Pages are read to the end first: some servers list folder by folder, which is another order.
        """
        pages = self._pages(prefix, Prefix=self._root + check_prefix(prefix))
        found = {
            entry["Key"][len(self._root) :]: entry for page in pages for entry in page.get("Contents", ())
        }
        for key in sorted(filter(is_key, found), key=str.encode):
            yield ObjectInfo(key, int(found[key]["Size"]), found[key]["ETag"])

    def old_versions(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Yield key and id of every version that is not the present one, and of every mark of a deletion.

        Of a bucket that keeps no versions there are none. Raises as `list`.
        """
        marks: dict[str, Any] = {}
        while True:
            page = self._checked(
                prefix, "list_object_versions", Prefix=self._root + check_prefix(prefix), **marks
            )
            old = [entry for entry in page.get("Versions", ()) if not entry["IsLatest"]]
            for entry in (*old, *page.get("DeleteMarkers", ())):
                yield entry["Key"][len(self._root) :], entry["VersionId"]
            if not page.get("IsTruncated"):
                return
            marks = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page.get("NextVersionIdMarker", ""),
            }

    def drop_versions(self, versions: Iterable[tuple[str, str]]) -> Sequence[str]:
        """Delete versions, as `old_versions` names them, a thousand with one request.

        Returns in words what could not be deleted.
        """
        names = [{"Key": self._root + key, "VersionId": version} for key, version in versions]
        remains = []
        for some in _parts(names, self.at_once):
            try:
                response = self._call("delete_objects", Delete={"Objects": some, "Quiet": True})
            except CallFailed as failed:
                remains += [_remaining(self._bucket, one, failed.failure.text) for one in some]
            else:
                errors = response.get("Errors", ())
                remains += [
                    _remaining(self._bucket, one, one.get("Message") or one["Code"]) for one in errors
                ]
        return remains

    def within(self, path: str) -> S3Storage:
        """Return the storage of the folder `path` below this one."""
        return S3Storage(f"{self.url}/{check_key(path.strip('/'))}", self._options)

    def above(self) -> tuple[S3Storage, str]:
        """Return the folder that holds this one, and this one's name. See `Storage.above`."""
        if not self._root:
            raise BadInput(Problem("store", "a whole bucket", "a folder in it", "name a folder", "store-url"))
        parent, _, name = self.url.rpartition("/")
        return S3Storage(parent, self._options), name

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connected": None}

    def _connection(self) -> Connection:
        if self._connected is None or self._connected[0] != os.getpid():
            self._connected = (os.getpid(), connect(self._options))
        return self._connected[1]

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self._connection().call(operation, Bucket=self._bucket, **request)

    def _checked(self, key: str, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return self._call(operation, **request)
        except CallFailed as failed:
            raise self._translated(failed, key) from failed

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return self._call("head_object", Key=self._root + check_key(key))
        except CallFailed as failed:
            self._absent_or_raise(failed, key)
            return None

    def _pages(self, prefix: str, **request: Any) -> Iterator[dict[str, Any]]:
        page = self._checked(prefix, "list_objects_v2", **request)
        yield page
        while page.get("IsTruncated"):
            after = page["NextContinuationToken"]
            page = self._checked(prefix, "list_objects_v2", ContinuationToken=after, **request)
            yield page

    def _read_by_size(self, key: str, span: slice) -> StoredObject | None:
        info = self.stat(key)
        if info is None:
            return None
        start, stop, _ = span.indices(info.size)
        return self.read(key, start=start, stop=stop) if start < stop else StoredObject(b"", info.etag)

    def _written_as(self, key: str, stamp: str) -> ObjectInfo | None:
        """Return the object if it bears this write's stamp.

        Then the condition failed on the write's own success: a reply got lost, and the request was sent again,
        here or by a layer below, which for PUT takes that to be safe.
        """
        response = self._head(key)
        if response is None or response.get("Metadata", {}).get(_STAMP) != stamp:
            return None
        return ObjectInfo(key, int(response["ContentLength"]), response["ETag"])

    def _copy_by_hand(self, source: str, target: str, unchanged: str | None) -> str:
        """Copy where the server refused: because of what is there, or because it knows no such condition."""
        found = self.read(source)
        if found is None or unchanged not in {None, found.etag}:
            raise Damaged(missing_source(f"{self.url}/{source}"))
        try:
            return self.write(target, found.data).etag
        except ConditionFailed:
            there = self.read(target)
            if there is None or there.data != found.data:
                raise
            return there.etag

    def _absent_or_raise(self, failed: CallFailed, key: str) -> None:
        """Return if the object is absent. HEAD does not say whether the bucket is, so that is asked once."""
        failure = failed.failure
        if failure.status != ABSENT or failure.code == "NoSuchBucket":
            raise self._translated(failed, key) from failed
        if failure.code == "NoSuchKey" or self._connection().has_seen(self._bucket):
            return
        try:
            self._call("head_bucket")
        except CallFailed as gone:
            if gone.failure.status == ABSENT:
                missing = replace(gone.failure, code="NoSuchBucket")
                raise self._translated(CallFailed(missing, gone.attempts), key) from gone
            if gone.failure.status != FORBIDDEN:
                raise self._translated(gone, key) from gone

    def _translated(self, failed: CallFailed, key: str) -> AggradeError:
        where = f"{self.url}/{key}".rstrip("/")
        return translate(failed.failure, where, self._bucket, self._connection().endpoint)


def _parts(names: Sequence[dict[str, str]], size: int) -> Iterator[Sequence[dict[str, str]]]:
    for first in range(0, len(names), size):
        yield names[first : first + size]


def _remaining(bucket: str, one: Mapping[str, str], why: str) -> str:
    return f"s3://{bucket}/{one['Key']}, version {one.get('VersionId', '')}: {why}"
