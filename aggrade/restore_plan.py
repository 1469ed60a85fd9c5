"""The plan of a restore: what becomes of each array (`aggrade.restore_array`), in one commit, and its price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import index_of
from aggrade.commit.plan import Base, CommitPlan
from aggrade.commit.regions import box_around, everything
from aggrade.errors import Problem, Refused
from aggrade.price import Price
from aggrade.restore_array import ArrayPlan, How, plan_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrade.commit.documents import Document
    from aggrade.commit.snapshot import Snapshot
    from aggrade.commit.states import KeptState
    from aggrade.storage import ObjectInfo

__all__ = ["RestorePlan", "plan_restore"]


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
    state: KeptState, now: Snapshot | None, there: Mapping[str, ObjectInfo], least: int = 0
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
    least
        The generation of the last commit, if its root should be lost.

    Returns
    -------
    tuple
        The plan, but for its price, and what becomes of each array.

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
    last = max(*(one.generation + 1 for one in state.all), now.generation if now else 0, least)
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
        **_catalogue_mark(shown, now),
        "undone": [*(kept.get("undone") or []), [shown.generation, last]],
    }


def _catalogue_mark(shown: Snapshot, now: Snapshot | None) -> dict[str, Any]:
    """Return where the catalogue of the restored store lies, as its root names it; nothing if it has none."""
    marks = {**shown.mark, **(now.mark if now else {})}
    return {"catalogue": marks["catalogue"]} if "catalogue" in marks else {}
