"""What is looked at before a rechunk, and the plan that comes of it. Nothing is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aggrade.commit import read_snapshot
from aggrade.errors import Damaged, raise_all
from aggrade.price import Price
from aggrade.rechunking.bookkeeping import Looked
from aggrade.rechunking.guards import target_problems
from aggrade.rechunking.plan import RechunkPlan, plan_rechunk, target_documents
from aggrade.rechunking.pruning import former_keys, objects_of, pruning_price
from aggrade.rechunking.room import expected_bytes, lacking_room, room_for
from aggrade.rechunking.source import read_source, with_order
from aggrade.rechunking.touching import Served, kept_boxes
from aggrade.rechunking.tracing import marks_in, marks_of, objects_in, trace_of
from aggrade.rechunking.wholeness import missing_objects
from aggrade.storage.counting import counted, requests_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.commit import Snapshot
    from aggrade.rechunking.plan import Compare
    from aggrade.rechunking.room import Room
    from aggrade.rechunking.source import Source
    from aggrade.rechunking.tracing import Marks
    from aggrade.storage import ObjectInfo, Storage

__all__ = ["Job", "Looking"]

_AGAIN = Price(requests={"GET": 2})
"""What a run sends that has nothing to do: is an intent left, and what was the last receipt."""


@dataclass(frozen=True)
class Job:
    """What a rechunk starts from.

    Parameters
    ----------
    origin
        The state of the source.
    before
        What the target shows; None if it is no store.
    marks
        Of the source's objects, before any of them is read.
    served
        The version of which objects may be kept.
    plan
        What will be done.
    """

    origin: Source
    before: Snapshot | None
    marks: Marks
    served: Served | None
    plan: RechunkPlan


class Looking:
    """What there is to know before a rechunk is planned, and what it cost to find out.

    Parameters
    ----------
    source, target
        The stores. The source is read at once; the target not before the job is asked for.

    Raises
    ------
    BadInput, Refused, Damaged
        As `aggrade.rechunking.source.read_source`.
    """

    def __init__(self, source: Storage, target: Storage) -> None:
        self._source = source
        here, self._counts = counted(source)
        self._target, _ = counted(target, self._counts)
        self._origin = read_source(here)
        self._again = Counter(self._counts)

    def job(
        self, layout: Mapping[str, Any], *, anew: bool, compare: Compare = "sampled", keep_versions: int = 1
    ) -> Job:
        """Look at the target and plan.

        Parameters
        ----------
        layout
            ``chunks``, ``shards`` and ``max_memory`` (bytes).
        anew
            Whether nothing of the version served is to be kept.
        compare
            Whether a sample or all of it is compared before it is published.
        keep_versions
            How many versions stay that are not served any more: 0 or 1.

        Raises
        ------
        BadInput, Refused, Damaged
            As `aggrade.rechunking.rechunk`.
        """
        before = read_snapshot(self._target)
        raise_all(target_problems(self._target, before, self._origin.state(self._target)))
        marks: Marks = {}
        served = None
        plan = self._up_to_date(before, layout) if before is not None and not anew else None
        if plan is not None and before is not None and not keep_versions:
            plan = self._pruned(plan, before, len(former_keys(self._target, before)))
        if plan is None:
            self._origin = with_order(self._origin)
            objects = objects_in(self._origin.storage, self._origin.documents)
            marks = marks_of(objects)
            raise_all(missing_objects(self._origin, marks), Damaged)
            served = None if anew else self._served(before)
            plan = self._plan(before, {**layout, "compare": compare}, marks, served)
            if before is not None and not keep_versions:
                plan = self._pruned(plan, before, objects_of(before, plan.documents))
            plan = plan.model_copy(update={"room": self._room(before, plan, objects)})
            raise_all(lacking_room(plan.target, plan.room))
        return Job(replace(self._origin, storage=self._source), before, marks, served, plan)

    def _looked(self, before: Snapshot | None) -> Looked:
        made = before.mark.get("rechunk", {}) if before else {}
        return Looked(
            requests=requests_in(self._counts),
            bytes_read=self._counts["bytes_read"],
            again=requests_in(self._again),
            again_bytes=self._again["bytes_read"] + (len(before.data) if before else 0),
            served=(*(before.documents if before else ()), *made.get("retired", ())),
            is_new=before is None,
        )

    def _up_to_date(self, before: Snapshot, layout: Mapping[str, Any]) -> RechunkPlan | None:
        """Return the plan to do nothing, if the target shows this state in this layout."""
        origin, served = self._origin, _version_of(before)
        state = origin.state(self._target)
        asked = {key: layout[key] for key in ("chunks", "shards")}
        if served is None or before.mark["source"] != state.model_dump():
            return None
        if target_documents(origin.documents, version=served, **asked) != before.documents:
            return None
        return RechunkPlan(
            source=state,
            target=self._target.url,
            version=served,
            max_memory=layout["max_memory"],
            sources=origin.documents,
            documents=before.documents,
            arrays={},
            pieces=(),
            bookkeeping=self._looked(before).price + _AGAIN,
            up_to_date=True,
        )

    def _plan(
        self, before: Snapshot | None, layout: Mapping[str, Any], marks: Marks, served: Served | None
    ) -> RechunkPlan:
        origin, version = self._origin, _version_of(before)
        number = 0 if version is None else version + 1
        kept = None
        if served is not None:
            asked = {key: layout[key] for key in ("chunks", "shards")}
            wanted = target_documents(origin.documents, version=number, **asked)
            kept = kept_boxes(served, origin.documents, marks, wanted, origin.order)
        state = origin.state(self._target)
        looked = self._looked(before)
        known: dict[str, Any] = {"version": number, "kept": kept, "looked": looked, "order": origin.order}
        return plan_rechunk(state, origin.documents, self._target.url, **known, **layout)

    def _pruned(self, plan: RechunkPlan, before: Snapshot, objects: int) -> RechunkPlan:
        """Return a plan that also deletes so many objects of former versions."""
        names = {*plan.documents, *before.documents}
        if plan.up_to_date:
            names.update(before.mark["rechunk"].get("retired", ()))
            plan = plan.model_copy(update={"bookkeeping": self._looked(before).price + _AGAIN})
        if not objects:
            return plan
        price = pruning_price(names, objects)
        anew = None if plan.anew is None else plan.anew + price
        changed = {"prunes": objects, "bookkeeping": plan.bookkeeping + price, "anew": anew}
        return plan.model_copy(update=changed)

    def _room(
        self, before: Snapshot | None, plan: RechunkPlan, objects: Mapping[str, Mapping[str, ObjectInfo]]
    ) -> Room | None:
        """Return what the plan takes of the target's disk, if it has one."""
        stored = {name: sum(info.size for info in found.values()) for name, found in objects.items()}
        expected = sum(
            expected_bytes(plan.sources[name], plan.documents[name], array, stored[name])
            for name, array in plan.arrays.items()
        )
        served = before.documents if before else {}
        names = (*plan.documents, *self._looked(before).served)
        return room_for(self._target, expected, plan.price.requests.get("PUT", 0), served, names)

    def _served(self, before: Snapshot | None) -> Served | None:
        """Return the version that is served, if it is known what it was made of."""
        trace = trace_of(self._target, before)
        if before is None or trace is None:
            return None
        return Served(before.documents, trace, marks_in(self._target, before.documents))


def _version_of(before: Snapshot | None) -> int | None:
    return before.mark["rechunk"]["version"] if before is not None and "rechunk" in before.mark else None
