"""Whether backups are there and hold what their manifests say: archives byte for byte, copies by number and size."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

from pydantic import ValidationError

from aggrade.commit.backup import ARCHIVE, COPIES, MANIFEST, UNREADABLE, Manifest, backups_beside
from aggrade.commit.marking import gone_backups
from aggrade.commit.newer import is_newer, newer_problem

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from aggrade.commit import Snapshot
    from aggrade.storage import Storage

__all__ = ["backup_problems"]

_FIX = "restore none of the states up to it, or bring it back from elsewhere"


def backup_problems(storage: Storage, shown: Snapshot, checked: Counter[str]) -> Iterator[str]:
    """Yield a sentence for each backup of a store that is gone too early, or does not hold what it should.

    A backup without a manifest is left to `aggrade.orphans`; one that a removal has emptied holds nothing.

    Parameters
    ----------
    storage, shown
        The Zarr store and the state that it shows.
    checked
        Counts what was looked at.
    """
    backups, whole = backups_beside(storage), []
    folders = backups.folders()
    for name in folders:
        stored = backups.read(f"{name}/{MANIFEST}")
        if stored is None:
            continue
        checked["backups"] += 1
        try:
            manifest = Manifest.model_validate_json(stored.data)
        except ValidationError:
            if is_newer(stored.data, Manifest):
                yield str(newer_problem(f"{backups.url}/{name}/{MANIFEST}"))
                continue
            yield f"{backups.url}/{name}: its manifest can't be understood; {_FIX}, or prune it."
            continue
        wrong = "" if manifest.purged else _wrong_with(backups, name, manifest)
        if wrong:
            yield f"{backups.url}/{name}: {wrong}; {_FIX}."
        whole += [] if manifest.purged else [manifest.generation]
    if whole:
        yield from map(str, gone_backups(storage, shown, folders, min(whole)))


def _wrong_with(backups: Storage, name: str, manifest: Manifest) -> str:
    """Return what is wrong with a backup, nothing if it is whole."""
    if manifest.id != name:
        return f"its manifest is that of {manifest.id}"
    prefix = f"{name}/{COPIES}"
    sizes = {info.key.removeprefix(prefix): info.size for info in backups.list(prefix)}
    copied = [key for key in manifest.objects if manifest.holds_copy(key)]
    missing = [key for key in copied if key not in sizes]
    if missing:
        return f"it misses {len(missing)} copies, such as {missing[0]}"
    archive = None if manifest.kind == "full" else backups.read(f"{name}/{ARCHIVE}")
    if manifest.kind != "full" and (archive is None or not _holds(archive.data, manifest)):
        return "its archive is lost or not the bytes that were kept"
    size = sum(sizes[key] for key in copied) + (len(archive.data) if archive else 0)
    return "" if size == manifest.size else f"it holds {size:,} bytes, not {manifest.size:,}"


def _holds(data: bytes, manifest: Manifest) -> bool:
    """Tell whether an archive holds every object that it should, byte for byte."""
    wanted = {key: digest for key, digest in manifest.objects.items() if not manifest.holds_copy(key)}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return all(hashlib.sha256(archive.read(key)).hexdigest() == wanted[key] for key in wanted)
    except UNREADABLE:
        return False
