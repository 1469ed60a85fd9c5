"""An earlier state of a store, put together from backups.

A commit copies what it is going to change before it does. So an object was, in the state that a backup was made of,
what the first backup since then holds of it, and if none does, what it is now.
"""

from __future__ import annotations

import io
import threading
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING

from aggrade.commit.backup import ARCHIVE, COPIES, MANIFEST, UNREADABLE, backups_beside, manifests
from aggrade.commit.dirt import lies_in
from aggrade.commit.layers import LAYERS, RECEIPTS
from aggrade.commit.newer import newer_problem
from aggrade.commit.snapshot import ROOT, Snapshot, read_snapshot, snapshot_of
from aggrade.errors import BadInput, Damaged, Problem, Refused, raise_all
from aggrade.storage import StoredObject
from aggrade.storage.adopting import Adopting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aggrade.commit.backup import Manifest
    from aggrade.storage import Storage

__all__ = ["ARCHIVES_HELD", "KeptState", "kept_root", "newer_manifests"]

ARCHIVES_HELD = 4
"""How many archives a state holds in memory at once."""


class KeptState:
    """What a Zarr store held when one of its backups was made.

    Parameters
    ----------
    storage
        The store.
    backup
        The backup's id.
    there
        The manifests of all backups, oldest first, if they have been read.

    Attributes
    ----------
    manifest : Manifest
        Of that backup.
    all : tuple of Manifest
        Of all backups.
    later : list of Manifest
        Of that backup and all that were made of the same state or a later one, oldest first.
    shown : Snapshot
        What the root showed.

    Raises
    ------
    BadInput
        If there is no such backup.
    Refused
        If a removal has purged it, or a newer aggrade has written a manifest that is needed.
    Damaged
        If it does not hold what its manifest says.
    """

    def __init__(self, storage: Storage, backup: str, there: list[Manifest] | None = None) -> None:
        self.storage = storage
        self._backups = backups_beside(storage)
        self._archives: OrderedDict[str, zipfile.ZipFile] = OrderedDict()
        self._lock = threading.Lock()
        there = manifests(storage) if there is None else there
        self.all = tuple(there)
        self.manifest = _chosen(storage, there, backup)
        self.later = [one for one in there if one.generation >= self.manifest.generation and not one.purged]
        raise_all(newer_manifests(storage, self.later), Refused)
        raise_all((_torn(self._backups, one) for one in self.later if one.unreadable), Damaged)
        self.shown: Snapshot = kept_root(storage, self.manifest)

    def source(self, key: str) -> Manifest | None:
        """Return the backup that tells what an object was, None if it is what it was."""
        return next((one for one in self.later if key in one.objects or lies_in(one.regions, key)), None)

    def read(self, key: str) -> bytes | None:
        """Return an object as it was, None if there was none."""
        source = self.source(key)
        if source is None:
            stored = self.storage.read(key)
            return None if stored is None else stored.data
        return self.kept(source, key) if key in source.objects else None

    def place(self, key: str) -> tuple[Storage, str] | None:
        """Return where an object lies as it was, by itself; None if there was none or an archive holds it."""
        source = self.source(key)
        if source is None:
            return self.storage, key
        is_copy = key in source.objects and source.holds_copy(key)
        return (self._backups, f"{source.id}/{COPIES}{key}") if is_copy else None

    def archives(self) -> Iterator[tuple[Storage, str]]:
        """Yield where the archives lie of that backup and all that were made later."""
        return ((self._backups, f"{one.id}/{ARCHIVE}") for one in self.later if one.kind != "full")

    def bookkeeping(self) -> dict[str, list[bytes]]:
        """Return the records and receipts that later removals changed, as each of these found them, oldest first."""
        changed: dict[str, list[bytes]] = {}
        for one in self.later:
            for key in _bookkeeping_in(one):
                changed.setdefault(key, []).append(self.kept(one, key))
        return changed

    def kept(self, manifest: Manifest, key: str) -> bytes:
        """Return what one backup holds of an object.

        Raises
        ------
        Damaged
            If it is not there.
        """
        if manifest.holds_copy(key):
            stored = self._backups.read(f"{manifest.id}/{COPIES}{key}")
            if stored is not None:
                return stored.data
        else:
            try:
                with self._lock:
                    return self._archive(manifest).read(key)
            except UNREADABLE as error:
                raise Damaged(_gone(self._backups, manifest, key)) from error
        raise Damaged(_gone(self._backups, manifest, key))

    def _archive(self, manifest: Manifest) -> zipfile.ZipFile:
        if manifest.id not in self._archives:
            stored = self._backups.read(f"{manifest.id}/{ARCHIVE}")
            if stored is None:
                raise Damaged(_gone(self._backups, manifest, ARCHIVE))
            self._archives[manifest.id] = zipfile.ZipFile(io.BytesIO(stored.data))
            if len(self._archives) > ARCHIVES_HELD:
                self._archives.popitem(last=False)
        return self._archives[manifest.id]


def newer_manifests(storage: Storage, there: Iterable[Manifest]) -> Iterator[Problem]:
    """Yield what there is to say of each backup whose manifest a newer aggrade has written.

    Parameters
    ----------
    storage, there
        The store and manifests of its backups.
    """
    url = backups_beside(storage).url
    return (newer_problem(f"{url}/{one.id}/{MANIFEST}") for one in there if one.newer)


def _bookkeeping_in(manifest: Manifest) -> list[str]:
    if manifest.commit != "remove":
        return []
    return [key for key in manifest.objects if key.startswith((LAYERS, RECEIPTS))]


def kept_root(storage: Storage, manifest: Manifest) -> Snapshot:
    """Return the state that a backup was made of, as its root showed it."""
    backups = backups_beside(storage)
    if manifest.holds_copy(ROOT):
        shown = read_snapshot(Adopting(backups.within(f"{manifest.id}/{COPIES}".rstrip("/"))))
        if shown is None:
            raise Damaged(_gone(backups, manifest, ROOT))
        return shown
    stored = backups.read(f"{manifest.id}/{ARCHIVE}")
    if stored is None:
        raise Damaged(_gone(backups, manifest, ROOT))
    data = _member(backups, manifest, stored.data)
    return snapshot_of(f"{backups.url}/{manifest.id}", StoredObject(data, ""))


def _member(backups: Storage, manifest: Manifest, archive: bytes) -> bytes:
    try:
        return zipfile.ZipFile(io.BytesIO(archive)).read(ROOT)
    except UNREADABLE as error:
        raise Damaged(_gone(backups, manifest, ROOT)) from error


def _chosen(storage: Storage, there: list[Manifest], backup: str) -> Manifest:
    found = next((manifest for manifest in there if manifest.id == backup), None)
    if found is None:
        ids = ", ".join(manifest.id for manifest in there if manifest.is_whole)
        expected, fix = f"one of {ids}", "name one of them: aggrade backups"
        if not ids:
            expected, fix = (
                "a store with backups: it has none",
                "check the path: aggrade status says what lies there",
            )
        raise BadInput(Problem(storage.url, f"no backup {backup!r}", expected, fix, "no-backup"))
    if found.purged:
        expected, fix = "a backup that holds what it was made of", "restore another one"
        problem = Problem(f"backup {backup}", "one that a removal has purged", expected, fix, "backup-purged")
        raise Refused(problem)
    return found


def _torn(backups: Storage, manifest: Manifest) -> Problem:
    where, found = f"{backups.url}/{manifest.id}/{MANIFEST}", "JSON that is not understood"
    fix = "bring it back from elsewhere, or restore a backup that was made later"
    return Problem(where, found, "a manifest of this version of aggrade", fix, "manifest-unreadable")


def _gone(backups: Storage, manifest: Manifest, key: str) -> Problem:
    expected = "what its manifest says"
    return Problem(
        f"{backups.url}/{manifest.id}", f"no {key}", expected, "restore another backup", "backup-damaged"
    )
