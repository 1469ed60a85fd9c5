"""Backups: what will be overwritten, kept before it is touched (DESIGN §4, invariant 4).

They lie beside the store, in ``{name}.zarr.backups/{id}/``. A ``touched`` backup is one ZIP archive of the
objects that the commit overwrites, read with their marks when the intent was taken; what a restore or a removal
gives up is copied on the server's side, under ``objects/``. A ``full`` one holds such copies of the whole store.
The manifest is written last: a backup without one is not a backup.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.commit.intent import INTENT
from aggrade.commit.newer import is_newer
from aggrade.commit.plan import BackupKind, Target
from aggrade.errors import Problem, Unavailable
from aggrade.price import human_bytes
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aggrade.storage import ObjectInfo, Storage, StoredObject

__all__ = [
    "ARCHIVE",
    "COPIES",
    "MANIFEST",
    "UNREADABLE",
    "Manifest",
    "back_up",
    "backup_id",
    "backups_beside",
    "copied_in_full",
    "manifests",
    "unfinished_backups",
]

MANIFEST = "manifest.json"
ARCHIVE = "objects.zip"
COPIES = "objects/"
UNREADABLE = (
    *(KeyError, ValueError, RuntimeError, EOFError, OSError),
    *(zlib.error, lzma.LZMAError, struct.error, zipfile.BadZipFile),
)
"""What `zipfile` raises of an archive in which a bit is another one."""

_LEDGER = ".aggrade/ledger/"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Manifest(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(
        description="Name of the backup; the commit that made it has the same write id at its end."
    )
    kind: BackupKind = Field(description="touched: the objects that were overwritten; full: the whole store.")
    store: str = Field(description="URL of the Zarr store.")
    generation: int = Field(description="Generation of the state that was kept.")
    write_id: str = Field(description="The commit that had made this state.")
    objects: dict[str, str] = Field(
        description="Key → SHA-256 of its bytes, or its mark where it was copied."
    )
    size: int = Field(description="Bytes.")
    commit: str = Field(default="", description="What the commit did that made the backup: append, restore …")
    made: str = Field(default="", description="When, ISO 8601 in UTC.")
    copied: tuple[str, ...] = Field(
        default=(), description="Keys that a touched backup holds as copies, not in its archive."
    )
    regions: tuple[Target, ...] = Field(
        default=(), description="Regions of which everything was kept: what isn't in `objects` was not there."
    )
    purged: bool = Field(
        default=False, description="Whether a removal has emptied it; it can't be restored any more."
    )
    unreadable: bool = Field(
        default=False,
        exclude=True,
        description="Whether what lies there can't be understood: it holds who knows what.",
    )

    newer: bool = Field(
        default=False, exclude=True, description="Whether a newer aggrade has written it; it is left alone."
    )

    @property
    def is_whole(self) -> bool:
        """Whether it can be restored, as far as its manifest tells."""
        return not self.purged and not self.unreadable

    def __str__(self) -> str:
        return f"backup {self.id} of {self.store} ({self.summary})"

    @property
    def summary(self) -> str:
        """What it is of and what it weighs, for people."""
        if self.unreadable:
            return "of a newer version of aggrade" if self.newer else "its manifest can't be understood"
        kept = (
            "purged by a removal"
            if self.purged
            else f"{len(self.objects):,} objects, {human_bytes(self.size)}"
        )
        return f"generation {self.generation}, {self.kind}, {kept}"

    def holds_copy(self, key: str) -> bool:
        """Tell whether an object lies under ``objects/`` rather than in the archive."""
        return self.kind == "full" or key in self.copied


def backup_id(generation: int, write_id: str) -> str:
    """Return the name of the backup that the commit `write_id` makes of the state `generation`."""
    return f"{generation:08d}-{write_id}"


def backups_beside(storage: Storage) -> Storage:
    """Return the storage of a Zarr store's backups."""
    parent, name = storage.above()
    return parent.within(f"{name}.backups")


def manifests(storage: Storage) -> list[Manifest]:
    """Return the manifests of a Zarr store's backups, oldest first.

    Each names the store where that lies now. One that can't be understood is ``unreadable``, with what its name tells.
    """
    backups = backups_beside(storage)
    found = {name: backups.read(f"{name}/{MANIFEST}") for name in backups.folders()}
    return [
        _understood(storage.url, name, stored.data) for name, stored in found.items() if stored is not None
    ]


def unfinished_backups(storage: Storage) -> list[str]:
    """Return the backups of a Zarr store that have no manifest: somebody makes them, died before it, or has lost it.

    Some servers list folders for a while that are empty by now: these are none.
    """
    beside = backups_beside(storage)
    bare = [name for name in beside.folders() if beside.stat(f"{name}/{MANIFEST}") is None]
    return [name for name in bare if any(True for _ in beside.list(f"{name}/"))]


def _understood(store: str, name: str, data: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(data).model_copy(update={"store": store})
    except ValidationError:
        told, _, write_id = name.partition("-")
        return Manifest(
            id=name,
            kind="touched",
            store=store,
            generation=int(told) if told.isdecimal() else 0,
            write_id=write_id,
            objects={},
            size=0,
            unreadable=True,
            newer=is_newer(data, Manifest),
        )


def back_up(
    storage: Storage,
    name: str,
    base: tuple[int, str],
    kind: BackupKind,
    touched: Mapping[str, StoredObject],
    *,
    commit: str = "",
    regions: Sequence[Target] = (),
    copied: Iterable[ObjectInfo] = (),
    confirm: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
) -> Manifest:
    """Keep what a commit will overwrite, or everything.

    Parameters
    ----------
    storage
        The Zarr store.
    name
        The backup's id, from `backup_id`.
    base
        Generation and write id of the state that is kept.
    kind
        ``"touched"`` or ``"full"``.
    touched
        Key → bytes of every object that will be overwritten, the root included.
    commit
        What the commit does.
    regions
        Regions that `copied` holds whatever lies in.
    copied
        Further objects, which are copied on the server's side.
    confirm
        Raises if the intent is no longer ours; called when all is copied: whoever slept may have copied what came since.
    check
        Raises if the lease has run out by our own clock; called before the manifest, which costs no request.

    Raises
    ------
    Unavailable
        If it can't be written, for instance for lack of space, or if a copy isn't there once it was made. Nothing of
        the store was touched.
    """
    apart = [info for info in copied if info.key not in touched]
    if kind == "full":
        everything = [info for info in storage.list() if not _is_passing(info.key)]
        objects, size = _copy(storage, name, everything)
    else:
        objects, size = _archive(storage, name, touched)
        copies, more = _copy(storage, name, apart)
        objects, size = objects | copies, size + more
    if kind == "full" or apart:
        confirm()
    check()
    generation, write_id = base
    manifest = Manifest(
        id=name,
        kind=kind,
        store=storage.url,
        generation=generation,
        write_id=write_id,
        objects=objects,
        size=size,
        commit=commit,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        copied=() if kind == "full" else tuple(info.key for info in apart),
        regions=tuple(regions),
    )
    backups_beside(storage).write(f"{name}/{MANIFEST}", manifest.model_dump_json(indent=1).encode())
    return manifest


def copied_in_full(storage: Storage) -> dict[str, int]:
    """Return key → bytes of what a full backup of a store copies, by a listing."""
    return {info.key: info.size for info in storage.list() if not _is_passing(info.key)}


def _is_passing(key: str) -> bool:
    """Tell whether an object belongs to the commit under way, not to the state."""
    return key == INTENT or key.startswith(_LEDGER)


def _archive(storage: Storage, name: str, touched: Mapping[str, StoredObject]) -> tuple[dict[str, str], int]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key, stored in sorted(touched.items()):
            archive.writestr(zipfile.ZipInfo(key, _EPOCH), stored.data)
    data = buffer.getvalue()
    backups_beside(storage).write(f"{name}/{ARCHIVE}", data)
    return {key: hashlib.sha256(stored.data).hexdigest() for key, stored in touched.items()}, len(data)


def _copy(storage: Storage, name: str, objects: Sequence[ObjectInfo]) -> tuple[dict[str, str], int]:
    """Copy objects as they lie now; a late writer may have replaced one since it was listed, with other bytes."""
    parent, own = storage.above()
    keys = sorted(info.key for info in objects)
    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        list(pool.map(lambda key: parent.copy(f"{own}/{key}", f"{own}.backups/{name}/{COPIES}{key}"), keys))
    sizes = _copied_sizes(backups_beside(storage), f"{name}/{COPIES}") if keys else {}
    if missing := [key for key in keys if key not in sizes]:
        raise Unavailable(_uncopied(storage.url, missing))
    return {info.key: info.etag for info in objects}, sum(sizes[key] for key in keys)


def _copied_sizes(beside: Storage, folder: str) -> dict[str, int]:
    return {info.key.removeprefix(folder): info.size for info in beside.list(folder)}


def _uncopied(url: str, missing: Sequence[str]) -> Problem:
    return Problem(
        f"{url}/{missing[0]}",
        f"no copy of it, nor of {len(missing) - 1} others, in the backup that was just made",
        "a copy of each object, as the server had confirmed; the store was not touched",
        "see who deletes below the backups, and run it again",
        "backup-incomplete",
    )
