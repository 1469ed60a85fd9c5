"""The plan of a restore: what becomes of each array (`aggrade.restore_array`), in one commit, and its price."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.dirt import found_in, uncovered
from aggrade.commit.documents import index_of, key_of
from aggrade.commit.layers import missing_of
from aggrade.commit.plan import Base, CommitPlan, Target
from aggrade.commit.regions import box_around, everything
from aggrade.errors import Problem, Refused
from aggrade.price import Price
from aggrade.restore_array import ArrayPlan, How, plan_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggrade.commit.documents import Document
    from aggrade.commit.snapshot import Snapshot
    from aggrade.commit.states import KeptState
    from aggrade.storage import ObjectInfo

__all__ = ["RestorePlan", "catalogue_mark", "plan_restore"]

_AT_ONCE = 16


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


def plan_restore(
    state: KeptState,
    now: Snapshot | None,
    there: Mapping[str, ObjectInfo],
    dirty: Sequence[Target] = (),
    lines: Mapping[str, int] = MappingProxyType({}),
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
    lines
        Requests, by kind, by which the catalogue follows.

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
        price=_price(state, commit, arrays, now, there, dirty, lines),
    )
    return plan, arrays


def _is_copy(url: str) -> Problem:
    fix = "restore the store that it is a copy of, then rechunk again"
    return Problem(url, "a rechunked copy", "a store that is appended to", fix, "copy")


def _lying(name: str, document: Document, keys: Iterable[str]) -> list[tuple[int, ...]]:
    return [index for key in keys if (index := index_of(name, document, key)) is not None]


def _mark(shown: Snapshot, now: Snapshot | None, last: int) -> dict[str, Any]:
    """Return what the root keeps of the state, and that all commits since then are undone."""
    own = {"generation", "write_id", "fenced"}
    kept = {key: value for key, value in shown.mark.items() if key not in own}
    return {
        **kept,
        **catalogue_mark(shown, now),
        "undone": [*(kept.get("undone") or []), [shown.generation, last]],
    }


def catalogue_mark(shown: Snapshot, now: Snapshot | None) -> dict[str, Any]:
    """Return where the catalogue of the restored store lies, as its root names it; nothing if it has none.

    Parameters
    ----------
    shown, now
        The state that is restored, and what the store shows.
    """
    marks = {**shown.mark, **(now.mark if now else {})}
    return {"catalogue": marks["catalogue"]} if "catalogue" in marks else {}


def _price(
    state: KeptState,
    commit: CommitPlan,
    arrays: list[ArrayPlan],
    now: Snapshot | None,
    there: Mapping[str, ObjectInfo],
    dirty: Sequence[Target],
    lines: Mapping[str, int],
) -> Price:
    """Return what the restore costs beyond its plan, on a store whose last writer finished; of bytes, those of the objects."""
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
    known, put_back = _put_back(state)
    requests = {
        "GET": 2 + len(fetched - {None}) + len(state.all) + kept + 1 + known,
        "HEAD": 1 + put_back + bool(copied),
        "PUT": 4 + 2 * kept + len(written) + covered + changed + put_back,
        "COPY": copied,
        "LIST": 2 + len(dirty),
    }
    return Price(
        requests=dict(Counter(requests) + Counter(lines)),
        round_trips=12,
        bytes_read=size,
        bytes_written=size,
        peak_memory=_AT_ONCE * max((info.size for info in there.values()), default=0),
    )


def _put_back(state: KeptState) -> tuple[int, int]:
    """Return how many objects are read to put back what removals changed, and how many are written."""
    kept = state.bookkeeping()
    there = {key: state.storage.read(key) for key in kept}
    lacking = sum(missing_of(key, kept[key], there[key]) is not None for key in kept)
    return len(kept) + state.bookkeeping_reads(), lacking
