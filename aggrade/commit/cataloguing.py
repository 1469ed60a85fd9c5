"""Making a store's lines of the catalogue from what the store shows: after a crash, a restore, a removal, a loss."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from aggrade.commit.catalogue import FILE_ROWS, decoded, files_of, merged, place_of, revise, rows_of
from aggrade.commit.documents import labels_of
from aggrade.commit.unpublished import drop_of_catalogue
from aggrade.errors import BadInput, Damaged, Refused
from aggrade.session_rows import chosen, empty_table, needed, table_of
from aggrade.storage.remembering import Remembering
from aggrade.storage.together import read_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import xarray as xr

    from aggrade.commit.catalogue import NewLines, Place
    from aggrade.commit.intent import Lease
    from aggrade.commit.plan import Erasure
    from aggrade.commit.snapshot import Snapshot
    from aggrade.storage import Storage, StoredObject

__all__ = [
    "CATALOGUED",
    "CATALOGUING",
    "MOVED",
    "Sessions",
    "add_lines",
    "at_best",
    "discard_files",
    "follow",
    "make_lines",
    "telling",
]

CATALOGUING = "catalogue"
"""What a commit is called that makes a store's lines anew."""

MOVED = "move"
"""What a commit is called by which sessions leave a store for another one of its dataset."""

CATALOGUED = "session"
"""The dimension whose labels have lines."""

_TELLING = (CATALOGUED, "content_digest", "receipt")
_log = logging.getLogger(__name__)


class Sessions:
    """The sessions that a store shows, read as far as they are asked for.

    Parameters
    ----------
    storage, shown
        The store and its state.
    place
        Where its lines lie.
    """

    def __init__(self, storage: Storage, shown: Snapshot, place: Place) -> None:
        self._storage, self._shown, self._place = storage, shown, place
        self._hidden = set(shown.mark.get("superseded", []))

    @property
    def files(self) -> list[int]:
        """The numbers of the files that the store should have."""
        return list(range(-(-self._shown.length(CATALOGUED) // FILE_ROWS)))

    def _live(self, file: int) -> list[int]:
        stop = min((file + 1) * FILE_ROWS, self._shown.length(CATALOGUED))
        return [row for row in range(file * FILE_ROWS, stop) if row not in self._hidden]

    @cached_property
    def _variables(self) -> dict[str, xr.Variable]:
        dataset = self._shown.dataset(Remembering(self._storage))
        return {name: dataset.variables[name] for name in needed(dataset.variables)}

    @cached_property
    def _told(self) -> list[tuple[str, ...]]:
        """For each row, what tells it from any other; nothing where the store doesn't keep receipts."""
        if not all(name in self._variables for name in _TELLING):
            return []
        return list(zip(*(labels_of(self._variables[name]) for name in _TELLING), strict=True))

    def lines(self, file: int) -> pa.Table:
        """Return what a file is to tell, all of it read from the store."""
        return self._read(self._live(file))

    def renewed(self, file: int, before: pa.Table | None) -> pa.Table:
        """Return what a file is to tell, reading only the sessions that `before` doesn't tell of."""
        if before is None or not self._told:
            return self.lines(file)
        live = self._live(file)
        index = before.column("index").to_pylist()
        columns = (before.column(name).to_pylist() for name in _TELLING)
        known = dict(zip(index, zip(*columns, strict=True), strict=True))
        kept = {row for row in live if known.get(row) == self._told[row]}
        fresh = self._read([row for row in live if row not in kept])
        there = chosen(before, lambda _, row: row in kept)
        return pa.concat_tables([there, fresh]).sort_by("index")

    def _read(self, rows: Sequence[int]) -> pa.Table:
        if not rows:
            return empty_table()
        first = rows[0]
        span = {CATALOGUED: slice(first, rows[-1] + 1)}
        part = {n: v.isel(span) if CATALOGUED in v.dims else v for n, v in self._variables.items()}
        return table_of(
            part,
            [row - first for row in rows],
            store=self._place.store,
            first=first,
            attributes=self._shown.attributes,
            mark=self._shown.mark,
        )


@contextmanager
def at_best(url: str, *, whatever: bool = True) -> Iterator[None]:
    """Go on where a store's lines can't be made, or not be written: the catalogue never keeps a store from being written.

    `verify` names what is missing then, and makes it again.

    Parameters
    ----------
    url
        The store.
    whatever
        Whether that goes for what can't be written, too, and not only for what can't be decoded.
    """
    failures = (
        (RuntimeError, ValueError, BadInput, Damaged, Refused) if whatever else (RuntimeError, ValueError)
    )
    try:
        yield
    except failures as error:
        _log.warning("the catalogue does not follow %s, run aggrade verify --repair: %s", url, error)


def follow(storage: Storage, lease: Lease, shown: Snapshot) -> None:
    """Have the catalogue follow a commit that shows, as the holder of its intent. Doing it twice is doing it once.

    Parameters
    ----------
    storage, lease
        The store and its intent, with the journal of the commit.
    shown
        What the root shows.

    Raises
    ------
    Conflict
        If somebody took over.
    """
    place, journal = place_of(storage, shown.mark), lease.intent.journal
    if place is None or journal is None or CATALOGUED not in shown.documents:
        return
    with at_best(storage.url, whatever=not journal.erases):
        if journal.erases:
            _forget(storage, shown, place, journal.erases, lease.confirm)
        elif journal.restores or journal.kind in (CATALOGUING, MOVED):
            make_lines(storage, shown, place, lease.confirm, anew=journal.kind == CATALOGUING)
        elif journal.layers:
            sessions, files = Sessions(storage, shown, place), files_of(rows_of(journal.layers))
            revise(place, sessions.renewed, files, shown.generation, lease.confirm)


def add_lines(
    storage: Storage,
    lease: Lease,
    shown: Snapshot,
    lines: NewLines,
    held: Mapping[str, StoredObject | None],
) -> None:
    """Put the lines of an append into the catalogue, if one tells of the store. Parameters as for `follow`.

    Parameters
    ----------
    lines
        The new ones, and the rows that go.
    held
        Files by their keys, as they were read before the intent was taken.
    """
    place = place_of(storage, shown.mark)
    if place is None:
        return
    sessions = Sessions(storage, shown, place)

    def change(file: int, before: pa.Table | None) -> pa.Table:
        return sessions.lines(file) if before is None else merged(before, lines, file)

    with at_best(storage.url):
        revise(place, change, lines.files(), shown.generation, lease.confirm, held)


def make_lines(
    storage: Storage, shown: Snapshot, place: Place, confirm: Callable[[], None], *, anew: bool
) -> list[int]:
    """Make all lines of a store what its root shows; return the files that changed. Parameters as for `follow`.

    Parameters
    ----------
    place, confirm
        As for `aggrade.commit.catalogue.revise`.
    anew
        Whether lines that bear a session's receipt and digest are read from the store as well.
    """
    sessions = Sessions(storage, shown, place)
    files = sorted({*sessions.files, *place.files()})

    def change(file: int, before: pa.Table | None) -> pa.Table:
        return sessions.lines(file) if anew else sessions.renewed(file, before)

    return revise(place, change, files, shown.generation, confirm)


def _forget(
    storage: Storage, shown: Snapshot, place: Place, erases: Erasure, confirm: Callable[[], None]
) -> None:
    """Take a session out of every file of its store; of a store that is its own, the files go, too."""
    sessions = Sessions(storage, shown, place)

    def without(file: int, before: pa.Table | None) -> pa.Table:
        if erases.whole:
            return empty_table()
        return _without(sessions.lines(file) if before is None else before, erases)

    revise(place, without, place.files(), shown.generation, confirm)
    drop_of_catalogue(place)
    if erases.whole:
        discard_files(place)


def _without(table: pa.Table, erases: Erasure) -> pa.Table:
    gone = set(erases.rows)
    return chosen(table, lambda name, row: name != erases.label and row not in gone)


def telling(place: Place, erases: Erasure) -> int:
    """Return how many files tell of a session.

    Parameters
    ----------
    place
        Where the lines of its store lie.
    erases
        The session and its rows.
    """
    found = read_together(place.root, map(place.key, place.files())).values()
    tables = [decoded(stored.data) if stored else empty_table() for stored in found]
    return sum(table is None or len(_without(table, erases)) < len(table) for table in tables)


def discard_files(place: Place, *, anyhow: bool = False) -> int:
    """Delete a store's files; return how many are gone.

    Parameters
    ----------
    place
        Where they lie.
    anyhow
        Whether those go, too, that tell of somebody: of a store that isn't there.
    """
    return sum(_discarded(place, place.key(file), anyhow=anyhow) for file in place.files())


def _discarded(place: Place, key: str, *, anyhow: bool) -> bool:
    stored = place.root.read(key)
    told = decoded(stored.data) if stored else None
    if stored is None or not (anyhow or (told is not None and not len(told))):
        return False
    return place.root.discard(key, stored.etag)
