"""Sessions that lie staged below a dataset root: which of them have landed, and which wait for their run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from aggrade.commit import find_layer, layers_of, read_snapshot
from aggrade.errors import Damaged, Refused
from aggrade.layout import BOOKKEEPING, STORE_SUFFIX, window_stores_in
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.storage import Storage

__all__ = ["StagedStore", "drop_landed", "find_staged"]

_FOLDER = f"{BOOKKEEPING}/staging"
_log = logging.getLogger(__name__)


class StagedStore(NamedTuple):
    """A staging store; `landed` is where its session lies with the same content, empty if nowhere."""

    root: Storage
    path: str
    session: str
    landed: str

    @property
    def sentence(self) -> str:
        """What it is and what to do with it."""
        where = f"{self.root.url}/{self.path}"
        if self.landed:
            return f"{where}: session {self.session!r} is staged still, and lies in {self.landed}; run verify --repair."
        name = f"session {self.session!r}" if self.session else "what"
        return f"{where}: {name} is staged and in no store; run the ingest again, or delete it."


def find_staged(store: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[StagedStore]:
    """Yield the staging stores below a dataset root; a Zarr store has none. One listing where there are none.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    """
    if store.rstrip("/").endswith(STORE_SUFFIX):
        return
    root = open_storage(store.rstrip("/"), storage_options)
    names = root.folders(_FOLDER)
    stores = [root.within(path) for path in window_stores_in(root) if path] if names else []
    for name in names:
        path = f"{_FOLDER}/{name}"
        session, digest = _content(root.within(path))
        if not session and next(iter(root.list(f"{path}/")), None) is None:
            continue  # some servers list a folder some time after its last object
        yield StagedStore(root, path, session, _landed(stores, session, digest) if session else "")


def _content(staging: Storage) -> tuple[str, str]:
    """Return the one session that is staged and its digest; nothing if that can't be told."""
    try:
        records = list(layers_of(staging))
    except Damaged as error:
        _log.warning("a staged session can't be read: %s", error)
        return "", ""
    return (records[0].label, records[0].digest) if len(records) == 1 else ("", "")


def _landed(stores: list[Storage], session: str, digest: str) -> str:
    """Return the store that shows the session with this content."""
    for storage in stores:
        try:
            shown = read_snapshot(storage)
            record = find_layer(storage, session, shown) if shown is not None else None
        except (Damaged, Refused) as error:
            _log.warning("can't tell whether session %s is in %s: %s", session, storage.url, error)
            continue
        if record is not None and record.digest == digest:
            return storage.url
    return ""


def drop_landed(store: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Delete the staging stores whose sessions have landed; yield a sentence for each. Parameters as before.

    Nobody needs them: whoever staged them finds the session in its store.
    """
    for staged in list(find_staged(store, storage_options)):
        if staged.landed:
            root_document = f"{staged.path}/zarr.json"
            staged.root.delete([root_document])
            staged.root.delete([info.key for info in staged.root.list(f"{staged.path}/")])
            yield f"{staged.root.url}/{staged.path}: deleted; its session lies in {staged.landed}"
