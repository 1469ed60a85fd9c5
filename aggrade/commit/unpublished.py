"""Files that a killed writer left before they got their name, on a disk; on a server there are none.

They hold what it was about to write: samples, ids, backups of both. While the intent is ours nobody writes to the
store, its backups and its files of the catalogue, but for those who try to take the intent and for writers of other
stores, whose files lie in the same folder of the catalogue. A removal deletes theirs, too: they write them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.commit.backup import backups_beside
from aggrade.commit.layers import LAYERS, RECEIPTS
from aggrade.layout import BOOKKEEPING, SESSIONS
from aggrade.settings import settings
from aggrade.storage import bare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrade.commit.catalogue import Place
    from aggrade.storage import Storage

__all__ = ["drop_of_catalogue", "drop_unpublished", "unpublished", "unpublished_by_the_dead"]


def unpublished(storage: Storage, age: float = 0) -> list[str]:
    """Return the paths of files below a storage that were written in part and never published.

    Parameters
    ----------
    storage
        A Zarr store, backups, or a folder of the catalogue.
    age
        Seconds since they were last written to, at least.
    """
    find = getattr(bare(storage), "partial_files", None)
    return find(age) if find is not None else []


def unpublished_by_the_dead(storage: Storage, place: Place | None, *, backups: bool = True) -> list[str]:
    """Return such files of a store, its backups and its catalogue that nobody alive can be about to publish.

    Parameters
    ----------
    storage
        The Zarr store; its intent is free or ours.
    place
        Where its lines of the catalogue lie, if one tells of it.
    backups
        Whether backups are looked at.
    """
    if not hasattr(bare(storage), "partial_files"):
        return []
    settled = 2 * settings().request_seconds
    contended = f"{storage.url}/{BOOKKEEPING}/"
    ours = tuple(f"{storage.url}/{folder}" for folder in (LAYERS, RECEIPTS))
    old = set(unpublished(storage, settled))
    found = [
        path
        for path in unpublished(storage)
        if path in old or path.startswith(ours) or not path.startswith(contended)
    ]
    found += unpublished(backups_beside(storage)) if backups else []
    if place is not None:
        found += unpublished(_folder(place), settled if _is_shared(place) else 0)
    return sorted(found)


def drop_unpublished(storage: Storage, paths: Iterable[str] | None = None) -> None:
    """Delete such files, as the holder of the intent.

    Parameters
    ----------
    storage
        A Zarr store, backups, or a folder of the catalogue.
    paths
        Which ones. Left out: all below it.
    """
    if doomed := unpublished(storage) if paths is None else list(paths):
        above, _ = storage.above()
        bare(above).drop_partial(doomed)


def drop_of_catalogue(place: Place) -> None:
    """Delete such files beside a store's lines of the catalogue, as the holder of its intent."""
    drop_unpublished(_folder(place))


def _folder(place: Place) -> Storage:
    return place.root.within(place.prefix.rpartition("/")[0])


def _is_shared(place: Place) -> bool:
    """Tell whether lines of other stores lie in the same folder, or may come to."""
    folder, _, own = place.prefix.rpartition("/")
    if place.store.startswith(f"{SESSIONS}/"):
        return True
    return any(not info.key.rpartition("/")[2].startswith(own) for info in place.root.list(f"{folder}/"))
