"""The lines of the catalogue that tell of one Zarr store: where they lie, and how they follow its commits.

Below ``{root}/catalogue/partition={partition}/`` each store has files of its own, one for every `FILE_ROWS` rows along
``session``. So only who holds the store's intent writes them, and a commit replaces one file of a bounded size,
whatever the dataset holds. They follow the switch, as records do: by the commit itself, or by whoever rolls it forward.
They are derived from the stores: one that is lost or torn is made again, and never keeps a store from being written.
Every file bears the generation of the commit that wrote it, so that no mark comes back with the same content.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from aggrade.errors import Conflict, Problem
from aggrade.layout import CATALOGUE, SESSIONS, STORE_SUFFIX
from aggrade.session_rows import SCHEMA, chosen, empty_table
from aggrade.settings import settings
from aggrade.storage import ConditionFailed
from aggrade.storage.together import read_together, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggrade.commit.plan import Layer
    from aggrade.storage import Storage, StoredObject

__all__ = [
    "FILE_ROWS",
    "NewLines",
    "Place",
    "decoded",
    "encoded",
    "files_of",
    "merged",
    "place_of",
    "requests_of",
    "revise",
    "rows_of",
]

FILE_ROWS = 128
_ABOUT = b"aggrade"
_UP = "../"
_log = logging.getLogger(__name__)

_DICTIONARIES = ["store", *(f"{field.name}.list.element" for field in SCHEMA if pa.types.is_list(field.type))]


class NewLines(NamedTuple):
    """What a commit changes in the catalogue: the lines of its sessions, and the rows that they replace."""

    table: pa.Table
    gone: frozenset[int] = frozenset()

    def files(self) -> list[int]:
        """Return the numbers of the files that change."""
        return files_of([*self.table.column("index").to_pylist(), *self.gone])


@dataclass(frozen=True)
class Place:
    """Where the lines of one Zarr store lie.

    Parameters
    ----------
    root
        Storage of the dataset root.
    store
        Path of the Zarr store below it.
    """

    root: Storage
    store: str

    @property
    def way(self) -> str:
        """How the store's root names the catalogue.

        >>> Place(storage, "windows/2026-10.zarr").way
        '../../catalogue'
        """
        return _UP * len(self.store.split("/")) + CATALOGUE

    @property
    def prefix(self) -> str:
        """What the keys of the store's files begin with. The store's name may be a session's id: it is not told."""
        folder, _, name = self.store.rpartition("/")
        partition = SESSIONS if folder == SESSIONS else name.removesuffix(STORE_SUFFIX)
        digest = hashlib.sha256(self.store.encode()).hexdigest()[:24]
        return f"{CATALOGUE}/partition={quote(partition, safe='')}/{digest}-"

    def key(self, file: int) -> str:
        """Return the key of one of the store's files."""
        return f"{self.prefix}{file:06d}.parquet"

    def number(self, key: str) -> int | None:
        """Return which of the store's files bears a key, None if none does."""
        found = re.fullmatch(re.escape(self.prefix) + r"(\d{6,})\.parquet", key)
        number = int(found[1]) if found else None
        return number if number is not None and self.key(number) == key else None

    def files(self) -> list[int]:
        """List the files that the store has, with one request."""
        numbers = (self.number(info.key) for info in self.root.list(self.prefix))
        return sorted(number for number in numbers if number is not None)


def place_of(storage: Storage, mark: Mapping[str, Any], depth: int = 0) -> Place | None:
    """Return where the lines of a store lie; None if no catalogue tells of it. Sends no request.

    Parameters
    ----------
    storage
        The Zarr store.
    mark
        What aggrade keeps in its root.
    depth
        How many folders below its dataset root it lies, where `mark` does not say; 0 for a store without one.
    """
    way = mark.get("catalogue")
    names: list[str] = []
    for _ in range(way.count(_UP) if isinstance(way, str) else depth):
        storage, name = storage.above()
        names.insert(0, name)
    return Place(storage, "/".join(names)) if names else None


def files_of(rows: Iterable[int]) -> list[int]:
    """Return the numbers of the files that tell of some rows.

    >>> files_of([0, 127, 128])
    [0, 1]
    """
    return sorted({row // FILE_ROWS for row in rows})


def rows_of(layers: Iterable[Layer]) -> list[int]:
    """Return the rows of some layers, and those that they replace."""
    return [row for layer in layers for row in (layer.index, layer.supersedes) if row is not None]


def requests_of(place: Place, files: Iterable[int], held: Iterable[str]) -> dict[str, int]:
    """Return the requests, by kind, of changing some files.

    Parameters
    ----------
    place, files
        Where they lie, and their numbers.
    held
        Keys of those that have been read already.
    """
    keys = set(map(place.key, files))
    missing = keys - set(held)
    return {"GET": len(missing), "HEAD": int(bool(missing)), "PUT": len(keys)}


def encoded(table: pa.Table, generation: int) -> bytes:
    """Return a file as it is stored."""
    about = {"format": 1, "generation": generation}
    sink = io.BytesIO()
    how: dict[str, Any] = {"compression": "zstd", "write_statistics": False, "store_schema": False}
    with pq.ParquetWriter(sink, SCHEMA, use_dictionary=_DICTIONARIES, **how) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_ABOUT: json.dumps(about).encode()})
    return sink.getvalue()


def decoded(data: bytes) -> pa.Table | None:
    """Return what a file tells, with the columns of today; None if it can't be read."""
    try:
        found = pq.ParquetFile(pa.BufferReader(data)).read()
        columns = [
            found.column(field.name).cast(field.type)
            if field.name in found.column_names
            else pa.nulls(len(found), field.type)
            for field in SCHEMA
        ]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        _log.warning("a file of the catalogue can't be read: %s", error)
        return None
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def merged(before: pa.Table, lines: NewLines, file: int) -> pa.Table:
    """Return a file's lines with those of a commit, in the order of rows."""
    out = {*lines.table.column("index").to_pylist(), *lines.gone}
    own = chosen(lines.table, lambda _, row: row // FILE_ROWS == file)
    return pa.concat_tables([chosen(before, lambda _, row: row not in out), own]).sort_by("index")


def revise(
    place: Place,
    change: Callable[[int, pa.Table | None], pa.Table],
    files: Iterable[int],
    generation: int,
    confirm: Callable[[], None],
    held: Mapping[str, StoredObject | None] | None = None,
) -> list[int]:
    """Rewrite some files, as the holder of the store's intent; return which of them changed.

    Parameters
    ----------
    place
        Where they lie.
    change
        Makes of a file's number and its lines what they are to be. It gets None for lines that can't be read.
    files
        Their numbers.
    generation
        The one that the store shows.
    confirm
        Raises if the intent is no longer ours; called between reading a mark and replacing what bears it.
    held
        Files by their keys, as they were read before the intent was taken.

    Raises
    ------
    Conflict
        If somebody took over.
    """
    keys = {place.key(file): file for file in files}
    known = {key: stored for key, stored in (held or {}).items() if key in keys}
    missing = [key for key in keys if key not in known]
    if missing:
        known |= read_together(place.root, missing)
        confirm()

    def rewrite(key: str) -> bool:
        return _rewrite(place, key, lambda table: change(keys[key], table), known[key], generation, confirm)

    done = together(*(lambda key=key: rewrite(key) for key in keys))
    return [file for file, changed in zip(keys.values(), done, strict=True) if changed]


def _rewrite(
    place: Place,
    key: str,
    change: Callable[[pa.Table | None], pa.Table],
    stored: StoredObject | None,
    generation: int,
    confirm: Callable[[], None],
) -> bool:
    for _ in range(settings().request_attempts):
        before = decoded(stored.data) if stored else empty_table()
        after = change(before)
        if before is not None and after.equals(before):
            return False
        data = encoded(after, generation)
        try:
            place.root.write(key, data, replacing=stored.etag if stored else None)
        except ConditionFailed:
            stored = place.root.read(key)
            if stored is not None and stored.data == data:
                return True
            confirm()
        else:
            return True
    found, expected = "an object that keeps changing", "one writer"
    raise Conflict(Problem(f"{place.root.url}/{key}", found, expected, "run it again", "contended"))
