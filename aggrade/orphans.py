"""What lies in a Zarr store, or beside it, that nothing claims: found with one listing, never by reading it.

Objects that a dead writer left where the intent has them on record as dirty are harmless, and so are files that were
never published and backups that were never finished: they are notes. Objects beyond the published shape that are
on no record stand in the way of the next append: they are problems. So are arrays that the root does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggrade.commit.backup import unfinished_backups
from aggrade.commit.catalogue import place_of
from aggrade.commit.dirt import left_overs
from aggrade.commit.documents import in_grid, index_of
from aggrade.commit.layers import receipt_key
from aggrade.commit.snapshot import ROOT
from aggrade.commit.unpublished import unpublished_by_the_dead
from aggrade.layout import BOOKKEEPING
from aggrade.rechunking.slots import with_version
from aggrade.storage.probe import SCRATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aggrade.commit import Snapshot
    from aggrade.commit.plan import Target
    from aggrade.storage import ObjectInfo, Storage

__all__ = ["Orphans", "array_of", "find_orphans"]

_FORMAT_2 = {".zarray", ".zattrs", ".zgroup", ".zmetadata"}
_REPAIR = "aggrade verify --repair deletes them"


@dataclass(frozen=True)
class Orphans:
    """What nothing claims in one Zarr store.

    Parameters
    ----------
    url
        The store.
    beyond
        Chunks beyond the shape that the root shows, on no record.
    left_over
        What dead writers left, on record as dirty. Empty objects are left out: they keep a name taken.
    edges
        Objects with published rows, beyond which dead writers may have left something.
    arrays
        Names of arrays that the root does not know.
    earlier
        Keys of chunks under another key encoding than the array's, as a restore that moves it leaves them.
    strangers
        Keys that are no part of any array.
    scratch
        What a dead probe of the server left.
    backups
        Names of backups that were never finished.
    lost
        Names of backups that were finished and have lost their manifest.
    partial
        Files that were never published.
    """

    url: str
    beyond: tuple[ObjectInfo, ...] = ()
    left_over: tuple[ObjectInfo, ...] = ()
    edges: tuple[ObjectInfo, ...] = ()
    arrays: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    scratch: tuple[ObjectInfo, ...] = ()
    backups: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()

    def problems(self) -> Iterator[str]:
        """Yield a sentence for what is wrong."""
        yield from _said(self.url, [info.key for info in self.beyond], "beyond what its root shows", _REPAIR)
        fix = "consolidate the store if they belong there, else delete them"
        yield from _said(self.url, self.arrays, "that its root does not know", fix, what="arrays")
        fix = "bring their manifest.json back from elsewhere; what they hold stays"
        yield from _said(self.url, self.lost, "that have lost their manifest", fix, what="backups")

    def notes(self) -> Iterator[str]:
        """Yield a sentence for what is untidy and harmless."""
        keys = [info.key for info in self.left_over]
        yield from _said(self.url, keys, "that dead writers left and the next append takes care of", _REPAIR)
        keys = [info.key for info in self.scratch]
        yield from _said(self.url, keys, "that a dead probe of the server left", _REPAIR)
        fix = "delete them when nobody reads the store who opened it before the last restore"
        yield from _said(self.url, self.earlier, "of an earlier layout, which no new reader looks at", fix)
        fix = "delete them if you know that nobody needs them"
        yield from _said(self.url, self.strangers, "that belong to no array", fix)
        yield from _said(self.url, self.backups, "that were never finished", _REPAIR, what="backups")
        yield from _said(self.url, self.partial, "that were never published", _REPAIR, what="files")


def _said(url: str, names: Sequence[str], found: str, fix: str, what: str = "objects") -> Iterator[str]:
    if names:
        yield f"{url}: {len(names)} {what} {found}, such as {names[0]}; {fix}."


def find_orphans(storage: Storage, shown: Snapshot, dirty: Iterable[Target]) -> Orphans:
    """Return what nothing claims in a store that nobody writes meanwhile.

    Parameters
    ----------
    storage
        The Zarr store.
    shown
        The state that it shows.
    dirty
        The regions that its intent has on record.
    """
    left, bare_backups = left_overs(storage, dirty), unfinished_backups(storage)
    lost = [name for name in bare_backups if _was_finished(storage, shown, name)]
    found: dict[str, list[ObjectInfo]] = {
        "beyond": [],
        "left_over": [],
        "edges": [],
        "earlier": [],
        "strangers": [],
        "scratch": [],
    }
    arrays = set()
    for info in storage.list():
        kind = _kind(shown, info.key)
        if info.key in left:
            kind = "left_over" if kind != "claimed" else "edges"
        if kind.startswith("array "):
            arrays.add(kind.removeprefix("array "))
        elif kind in found and (info.size or kind != "left_over"):
            found[kind].append(info)
    return Orphans(
        storage.url,
        beyond=tuple(found["beyond"]),
        left_over=tuple(found["left_over"]),
        edges=tuple(found["edges"]),
        arrays=tuple(sorted(arrays - {target.variable for target in dirty})),
        earlier=tuple(info.key for info in found["earlier"]),
        strangers=tuple(info.key for info in _outside(found["strangers"], arrays)),
        scratch=tuple(found["scratch"]),
        backups=tuple(name for name in bare_backups if name not in lost),
        lost=tuple(lost),
        partial=tuple(unpublished_by_the_dead(storage, place_of(storage, shown.mark))),
    )


def _outside(strangers: Iterable[ObjectInfo], arrays: Iterable[str]) -> Iterator[ObjectInfo]:
    """Leave out what lies in the folder of an array that the root does not know: that one is named already."""
    folders = tuple(f"{name}/" for name in arrays)
    return (info for info in strangers if not info.key.startswith(folders))


def _kind(shown: Snapshot, key: str) -> str:
    """Return what kind of orphan a key is, ``"claimed"`` if it is none."""
    if key.rpartition("/")[2] in _FORMAT_2 or key == ROOT or key.startswith(f"{BOOKKEEPING}/"):
        return "scratch" if key.startswith(f"{SCRATCH}/") else "claimed"
    name = array_of(shown, key)
    if name is None:
        return _outsider(shown, key)
    if key == f"{name}/{ROOT}" or "rechunk" in shown.mark:
        return "claimed"
    index = index_of(name, shown.documents[name], key)
    if index is None:
        slots = (with_version(shown.documents[name], version) for version in range(3))
        return "earlier" if any(index_of(name, slot, key) is not None for slot in slots) else "strangers"
    return "claimed" if in_grid(shown.documents[name], index) else "beyond"


def _outsider(shown: Snapshot, key: str) -> str:
    """Tell a document of an array that the root does not know; an earlier version's arrays wait for readers."""
    folder, _, last = key.rpartition("/")
    if "rechunk" in shown.mark or folder in _groups(shown):
        return "claimed"
    return f"array {folder}" if last == ROOT and folder else "strangers"


def _groups(shown: Snapshot) -> set[str]:
    """Return the folders above arrays, which are groups of a store of another tool."""
    return {name[:place] for name in shown.documents for place, char in enumerate(name) if char == "/"}


def array_of(shown: Snapshot, key: str) -> str | None:
    """Return the name of the array in whose folder a key lies, None if it lies in none.

    Parameters
    ----------
    shown
        The state that names the arrays.
    key
        Relative to the Zarr store.
    """
    parts = key.split("/")
    names = ("/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((name for name in names if name in shown.documents), None)


def _was_finished(storage: Storage, shown: Snapshot, name: str) -> bool:
    """Tell whether the commit that made a backup took effect, as its receipt says: the manifest comes before that."""
    write_id = name.partition("-")[2]
    return write_id == shown.write_id or storage.stat(receipt_key(write_id)) is not None
