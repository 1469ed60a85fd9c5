"""The plan of a restore: for each array, whether it stays where it lies, gets objects back, or moves.

What a store showed earlier mostly lies there still: an append changes nothing that was published before it. Such an
array *stays*, and a shorter shape hides what came later. An array that was longer *grows*: objects beyond what is
published now are written back, where no reader looks. An array of which published values would change *moves* to
another key space (docs/decisions/0002-versions-in-one-store.md), object by object; the root switches over to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.chunks import Chunks
from aggrade.commit.dirt import found_in, uncovered
from aggrade.commit.documents import dims_of, in_grid, index_of, key_of, same_keys, shape_of, unit_of
from aggrade.commit.erasing import same_values
from aggrade.commit.plan import Base, CommitPlan, Region, Target
from aggrade.commit.regions import beyond, box_around, everything
from aggrade.errors import Problem, Refused
from aggrade.price import Price
from aggrade.rechunking.slots import key_encoding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggrade.commit.documents import Document
    from aggrade.commit.snapshot import Snapshot
    from aggrade.commit.states import KeptState
    from aggrade.storage import ObjectInfo

__all__ = ["ArrayPlan", "RestorePlan", "plan_array", "plan_restore"]

How = Literal["stays", "grows", "moves"]
Index = tuple[int, ...]

_AT_ONCE = 16


@dataclass(frozen=True)
class ArrayPlan:
    """What becomes of one array.

    Parameters
    ----------
    name, how
        The array, and in which of the three ways it comes back.
    before, after
        Its document in the state that is restored, and the one it gets.
    wanted
        Index of each object that is written.
    abandons, keeps
        Regions that do not show afterwards although objects lie there, and regions to copy into the backup.
    """

    name: str
    how: How
    before: Document
    after: Document
    wanted: tuple[Index, ...] = ()
    abandons: tuple[Target, ...] = ()
    keeps: tuple[Target, ...] = field(default=())

    @property
    def region(self) -> Region | None:
        """Where the array is written, None if it isn't."""
        if self.how == "moves" and 0 not in shape_of(self.after):
            return Region(variable=self.name, bounds=tuple((0, size) for size in shape_of(self.after)))
        box = box_around(self.name, self.after, self.wanted)
        return Region(variable=self.name, bounds=box[0].bounds) if box else None


class RestorePlan(BaseModel):
    """What a restore will do. Printing it is the dry run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(description="URL of the Zarr store.")
    backup: str = Field(description="The backup whose state is restored.")
    generation: int = Field(description="Generation of that state.")
    arrays: dict[str, How] = Field(description="What becomes of each array.")
    commit: CommitPlan
    price: Price = Field(default_factory=Price, description="What it will cost.")

    def __str__(self) -> str:
        now = self.commit.base.generation if self.commit.base else "nothing"
        lines = [f"restore {self.store} from {now} to its state of generation {self.generation}"]
        told = {
            "stays": "shown again where they lie",
            "grows": "written back where no reader looks",
            "moves": "copied whole into another key space",
        }
        for how, text in told.items():
            names = [name for name, chosen in self.arrays.items() if chosen == how]
            lines += [f"  {text}: {', '.join(names)}"] if names else []
        return "\n".join([*lines, f"  {self.price}"])


def plan_array(
    state: KeptState, name: str, now: Document | None, dim: str | None, there: Mapping[str, ObjectInfo]
) -> ArrayPlan:
    """Plan how one array comes back.

    Parameters
    ----------
    state
        The state that is restored.
    name, now
        The array and its document as it is published; None where it isn't.
    dim
        The dimension along which the store grows.
    there
        Key → what lies in the array's folder.
    """
    return _Array(state, name, now, dim, there).plan()


class _Array:
    """One array on its way back."""

    def __init__(
        self,
        state: KeptState,
        name: str,
        now: Document | None,
        dim: str | None,
        there: Mapping[str, ObjectInfo],
    ) -> None:
        self.state, self.name, self.now, self.dim, self.there = state, name, now, dim, there
        self.document = state.shown.documents[name]
        self.shape = shape_of(self.document)
        self.seen = shape_of(now) if now is not None else tuple(0 for _ in self.shape)
        self.chunks = Chunks(self.document)
        self.known = sorted(
            index for index in self._indices(self.document, self._keys()) if in_grid(self.document, index)
        )

    def _keys(self) -> set[str]:
        kept = {key for one in self.state.later for key in one.objects if key.startswith(f"{self.name}/")}
        return {*self.there, *kept}

    def _indices(self, document: Document, keys: Iterable[str]) -> set[Index]:
        found = (index_of(self.name, document, key) for key in keys)
        return {index for index in found if index is not None}

    def plan(self) -> ArrayPlan:
        """Decide."""
        how = self._how()
        after = self.document if how != "moves" else self._moved()
        lying = self._indices(after, self.there)
        wanted = tuple(index for index in self.known if how == "moves" or self._comes_back(index))
        if how == "stays":
            wanted = ()
        if how == "moves":
            wanted += tuple(sorted(index for index in lying - set(wanted) if in_grid(after, index)))
        abandons = _abandoned(self.name, after, self.dim, lying)
        keeps = everything(self.name, after) if how == "moves" else beyond(self.name, after, self.dim)
        return ArrayPlan(self.name, how, self.document, after, wanted, abandons, keeps)

    def _how(self) -> How:
        if self.now is None:
            return "grows"
        if not self._is_alike(self.now):
            return "moves"
        pairs = list(zip(self.shape, self.seen, strict=True))
        shorter, longer = all(a <= b for a, b in pairs), all(a >= b for a, b in pairs)
        if not (shorter or longer) or any(map(self._changes, self.known)):
            return "moves"
        return "stays" if shorter else "grows"

    def _is_alike(self, now: Document) -> bool:
        """Tell whether the array is published under the same keys and codecs, whatever its length."""
        plain = [
            {**doc, "shape": [], "attributes": {}, "chunk_key_encoding": {}} for doc in (now, self.document)
        ]
        return same_keys(now, self.document) and plain[0] == plain[1]

    def _changes(self, index: Index) -> bool:
        """Tell whether an object held other values than it does, where both states show it."""
        key = key_of(self.name, self.document, index)
        source = self.state.source(key)
        shown = self._both_show(index)
        if source is None or shown is None:
            return False
        info = self.there.get(key)
        if info is not None and source.holds_copy(key) and source.objects.get(key) == info.etag:
            return False
        stored = self.state.storage.read(key)
        then, today = self.state.read(key), stored.data if stored else None
        return then != today and not self._alike(then, today, shown)

    def _alike(self, then: bytes | None, today: bytes | None, shown: tuple[slice, ...]) -> bool:
        old = self.chunks.values(then)
        try:
            return same_values(old[shown], self.chunks.values(today)[shown])
        except (RuntimeError, ValueError):
            return False

    def _both_show(self, index: Index) -> tuple[slice, ...] | None:
        """Return the part of an object that lies in both shapes, None if there is none."""
        part = tuple(
            slice(0, min(a, b, (i + 1) * unit) - i * unit)
            for i, unit, a, b in zip(index, unit_of(self.document), self.shape, self.seen, strict=True)
        )
        return None if any(piece.stop <= 0 for piece in part) or self.now is None else part

    def _comes_back(self, index: Index) -> bool:
        """Tell whether an object has to be written for an array that grows.

        Of those that are published in part, the ones in the last rows always are: a writer that sleeps may know
        their marks.
        """
        if not in_grid(self.now, index):
            return True
        if not any(
            min((i + 1) * unit, size) > seen
            for i, unit, size, seen in zip(index, unit_of(self.document), self.shape, self.seen, strict=True)
        ):
            return False
        key = key_of(self.name, self.document, index)
        return self._in_last_rows(index) or self.state.source(key) is not None

    def _in_last_rows(self, index: Index) -> bool:
        dims = dims_of(self.document)
        if self.dim not in dims:
            return True
        axis = dims.index(self.dim)
        return index[axis] >= self.seen[axis] // unit_of(self.document)[axis]

    def _moved(self) -> Document:
        """Return the document with a key space that no reader of the present state looks at."""
        slots = [{**self.document, "chunk_key_encoding": key_encoding(v, len(self.shape))} for v in range(3)]
        free = [slot for slot in slots if self.now is None or not same_keys(slot, self.now)]
        return min(
            free, key=lambda slot: (same_keys(slot, self.document), len(self._indices(slot, self.there)))
        )


def _abandoned(name: str, after: Document, dim: str | None, lying: Iterable[Index]) -> tuple[Target, ...]:
    """Return boxes around the objects that lie beyond a shape, or in its last rows, which later appends share."""
    dims, shape, unit = dims_of(after), shape_of(after), unit_of(after)
    axis = dims.index(dim) if dim in dims else None
    if axis is None:
        parts = [(index, zip(index, unit, shape, strict=True)) for index in lying]
        return box_around(
            name, after, [at for at, part in parts if any((i + 1) * n > size for i, n, size in part)]
        )
    row = shape[axis] // unit[axis]
    last = [index for index in lying if index[axis] >= row]
    others = [index for index in lying if index[axis] < row and not in_grid(after, index)]
    return (*box_around(name, after, last), *box_around(name, after, others))


def plan_restore(
    state: KeptState, now: Snapshot | None, there: Mapping[str, ObjectInfo], dirty: Sequence[Target] = ()
) -> tuple[RestorePlan, list[ArrayPlan]]:
    """Plan a restore.

    Parameters
    ----------
    state
        The state to show again.
    now
        What the store shows; None where there is no store any more.
    there
        Key → what lies in the store.
    dirty
        Regions that are on record as dirty.

    Returns
    -------
    tuple
        The plan, and what becomes of each array.

    Raises
    ------
    Refused
        If the store is a rechunked copy.
    """
    if "rechunk" in state.shown.mark:
        raise Refused(_is_copy(state.storage.url))
    documents = now.documents if now else {}
    dim = state.shown.mark.get("dim") or (now.mark.get("dim") if now else None)
    folders: dict[str, dict[str, ObjectInfo]] = {}
    for key, info in there.items():
        folders.setdefault(key.partition("/")[0], {})[key] = info
    arrays = [
        plan_array(state, name, documents.get(name), dim, folders.get(name, {}))
        for name in state.shown.documents
    ]
    gone = sorted(documents.keys() - state.shown.documents.keys())
    left = [
        target
        for name in gone
        for target in box_around(name, documents[name], _lying(name, documents[name], folders.get(name, {})))
    ]
    kept = [target for name in gone for target in everything(name, documents[name])]
    last = max(*(one.generation for one in state.all), now.generation if now else 0)
    regions = [region for array in arrays if (region := array.region) is not None]
    commit = CommitPlan(
        kind="restore",
        store=state.storage.url,
        dim=dim,
        base=Base(etag=now.etag, generation=now.generation) if now else None,
        documents={array.name: array.after for array in arrays},
        attributes={key: value for key, value in state.shown.attributes.items() if key != "aggrade"},
        mark=_mark(state.shown, now, last),
        regions=tuple(regions),
        sparse=True,
        inherits=False,
        keeps=(*kept, *(target for array in arrays for target in array.keeps)),
        abandons=(*left, *(target for array in arrays for target in array.abandons)),
        restores=state.manifest.id,
        after=last,
    )
    plan = RestorePlan(
        store=state.storage.url,
        backup=state.manifest.id,
        generation=state.manifest.generation,
        arrays={array.name: array.how for array in arrays},
        commit=commit,
        price=_price(state, commit, arrays, now, there, dirty),
    )
    return plan, arrays


def _is_copy(url: str) -> Problem:
    fix = "restore the store that it is a copy of, then rechunk again"
    return Problem(url, "a rechunked copy", "a store that is appended to", fix, "copy")


def _lying(name: str, document: Document, keys: Iterable[str]) -> list[Index]:
    return [index for key in keys if (index := index_of(name, document, key)) is not None]


def _mark(shown: Snapshot, now: Snapshot | None, last: int) -> dict[str, Any]:
    """Return what the root keeps of the state, and that all commits since then are undone."""
    own = {"generation", "write_id", "fenced"}
    kept = {key: value for key, value in shown.mark.items() if key not in own}
    if now is not None and "catalogue" in now.mark:
        kept["catalogue"] = now.mark["catalogue"]
    return {**kept, "undone": [*(kept.get("undone") or []), [shown.generation, last]]}


def _price(
    state: KeptState,
    commit: CommitPlan,
    arrays: list[ArrayPlan],
    now: Snapshot | None,
    there: Mapping[str, ObjectInfo],
    dirty: Sequence[Target],
) -> Price:
    """Return what the restore costs, on a store whose last writer finished; of bytes, those of the objects.

    What is read and written so that the catalogue follows is left out: it depends on which sessions come or go.
    """
    jobs = [(array, index) for array in arrays for index in array.wanted]
    fetched, written, size = set(), set(), 0
    for array, index in jobs:
        key = key_of(array.name, array.before, index)
        source = state.source(key)
        fetched.add(state.reads_of(key))
        is_there = key in (there if source is None else source.objects)
        if is_there or key_of(array.name, array.after, index) in there:
            written.add(key_of(array.name, array.after, index))
        size += there[key].size if key in there else 0
    published = now.documents if now else {}
    changed = sum(published.get(name) != document for name, document in commit.documents.items())
    copied = len(found_in(there.values(), commit.keeps)) if now else 0
    covered = sum(1 for _ in uncovered(dirty, published, commit.documents, written))
    kept = int(now is not None)
    return Price(
        requests={
            "GET": 2 + len(fetched - {None}) + len(state.all) + kept + 1 + len(state.bookkeeping()),
            "HEAD": 1,
            "PUT": 4 + 2 * kept + len(written) + covered + changed,
            "COPY": copied,
            "LIST": 2 + len(dirty),
        },
        round_trips=12,
        bytes_read=size,
        bytes_written=size,
        peak_memory=_AT_ONCE * max((info.size for info in there.values()), default=0),
    )
