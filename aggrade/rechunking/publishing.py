"""`rechunk`: plan, copy in pieces, compare, and publish by one switch of the target's root.

A target that shows the source's state in the layout asked for is left alone. One that is stale, or has another
layout, gets its next version beside the one that is served (see `aggrade.rechunking.slots`); the root's
compare-and-swap makes it the one that is seen. The version before stays until the next rechunk, for readers that
have it open, unless none is to be kept.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aggrade.commit import (
    Base,
    CommitPlan,
    Region,
    Transaction,
    forget_pieces,
    recover_store,
    write_pieces,
)
from aggrade.commit.documents import shape_of
from aggrade.commit.plan import new_write_id
from aggrade.commit.salting import objects_digest
from aggrade.errors import BadInput, Conflict, Damaged, Problem, raise_all
from aggrade.receipt import Receipt
from aggrade.rechunking.carrying import carry_piece
from aggrade.rechunking.checking import last_receipt
from aggrade.rechunking.clearing import make_room
from aggrade.rechunking.confirming import confirm_copy
from aggrade.rechunking.engine import copy_piece
from aggrade.rechunking.guards import memory_bound, place_problems, rule_problems
from aggrade.rechunking.ordering import digest_of
from aggrade.rechunking.preparing import Looking
from aggrade.rechunking.pruning import prune_former
from aggrade.rechunking.source import OWN_MARKS, read_source
from aggrade.rechunking.strips import in_strips
from aggrade.rechunking.tracing import Trace, form_of, keep_trace
from aggrade.storage import open_storage, url_of
from aggrade.storage.probe import keeps_copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from aggrade.commit import PieceReceipt, Snapshot, WrittenObject
    from aggrade.rechunking.layouts import Asked
    from aggrade.rechunking.plan import Compare, RechunkPlan
    from aggrade.rechunking.preparing import Job
    from aggrade.rechunking.source import Source
    from aggrade.storage import Storage

__all__ = ["rechunk", "rechunk_storage"]

_log = logging.getLogger(__name__)


def rechunk(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    chunks: Asked | None = None,
    shards: Asked | None = None,
    max_memory: int | str = "1 GiB",
    anew: bool = False,
    compare: Compare = "sampled",
    keep_versions: int = 1,
    map: Callable[..., Iterable[Any]] = map,  # noqa: A002 - it is a map, handed in
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt | RechunkPlan:
    """Copy a store into another layout, within a bound of memory, and publish the result by one switch.

    Run again, it goes on where it was killed. A target that shows the source's state in this layout already is a
    no-op with the same receipt; a stale one is served until its next version is whole. Of that, only objects are made
    that hold something which is new or has changed; the others are copied by the server from the version served.

    Parameters
    ----------
    source, target
        Zarr stores: local paths or ``s3://…``. The target is made where it is missing; one that exists must be an
        earlier result of `rechunk` from the same source.
    chunks, shards
        Lengths by dimension (``{"object": 1000, "epoch": -1}``, -1 for the whole length) or by variable
        (``{"eeg": (1, 1, 64, 500)}``). What isn't named keeps the source's chunks. If neither is given, light curves
        and windows get the layout that reads one of them with one small request.
    max_memory
        What the work on one piece may take, beside the program itself; as bytes or as text. A `map` that runs
        several pieces in one process takes that much for each.
    anew
        Whether all is made again, also objects that would come out as they are.
    compare
        What is compared with the source before it is published: ``"sampled"``, up to eight chunks of every array, or
        ``"full"``, every value, for which both sides are read again.
    keep_versions
        How many versions stay that are not served any more: 1, until the next rechunk begins, for readers that have it
        open; 0, none: it is deleted as soon as the next one is published, and what they have not read yet is gone.
    map
        Runs the pieces: the builtin, or one that sends them to threads, processes or a cluster.
    dry_run
        Return the plan; nothing is written.
    storage_options
        As `s3fs.S3FileSystem` takes them, for both stores.

    Returns
    -------
    Receipt or RechunkPlan
        The plan when `dry_run`.

    Raises
    ------
    BadInput
        If the source is no Zarr store, or what is asked for does not fit it or overlaps it.
    Refused
        If the memory does not suffice, or the target holds something else; nothing was written.
    Conflict
        If the source changed meanwhile or another writer is at work on the target. Run it again.
    Damaged
        If a chunk of the source is missing that was written, or can't be decoded, or the copy differs from it. What
        was served still is.
    Unavailable
        If a store did not answer. Run it again: finished pieces are found again.
    """
    source = url_of(source)
    target = url_of(target)
    here, there = (
        open_storage(source.rstrip("/"), storage_options),
        open_storage(target.rstrip("/"), storage_options),
    )
    layout = {"chunks": _plain(chunks), "shards": _plain(shards), "max_memory": memory_bound(max_memory)}
    rules: dict[str, Any] = {"anew": anew, "compare": compare, "keep_versions": keep_versions}
    return rechunk_storage(here, there, layout, **rules, map=map, dry_run=dry_run)


def _plain(asked: Any) -> dict[str, Any] | None:
    """Return lengths as integers and tuples, whatever brought them (JSON knows no tuples)."""
    if asked is None:
        return None
    if not isinstance(asked, Mapping):
        fix = 'give them as {"time": 100} or {"array": (100, 20)}'
        raise BadInput(
            Problem("chunks or shards", repr(asked), "lengths by dimension or array", fix, "layout")
        )
    return {str(name): _length(wanted) for name, wanted in asked.items()}


def _length(wanted: Any) -> Any:
    if isinstance(wanted, list | tuple):
        return tuple(map(_length, wanted))
    return wanted if isinstance(wanted, bool) or not hasattr(wanted, "__index__") else wanted.__index__()


def rechunk_storage(
    source: Storage,
    target: Storage,
    layout: Mapping[str, Any],
    *,
    anew: bool = False,
    compare: Compare = "sampled",
    keep_versions: int = 1,
    map: Callable[..., Iterable[Any]] = map,  # noqa: A002 - it is a map, handed in
    dry_run: bool = False,
) -> Receipt | RechunkPlan:
    """Do what `rechunk` does, between storages.

    Parameters
    ----------
    source, target
        The stores.
    layout
        ``chunks``, ``shards`` and ``max_memory`` (bytes) as `aggrade.rechunking.plan.plan_rechunk` takes them.
    anew, compare, keep_versions, map, dry_run
        As for `rechunk`.
    """
    rules = rule_problems(compare, keep_versions)
    raise_all([*place_problems(source.url, target.url), *rules], BadInput)
    looking = Looking(source, target)
    if not dry_run:
        recover_store(target)
    job = looking.job(layout, anew=anew, compare=compare, keep_versions=keep_versions)
    if dry_run:
        return job.plan
    if job.before is not None and job.plan.up_to_date:
        _log.info("%s shows this state already, nothing to do", target.url)
        receipt = last_receipt(target, job.before) or _unrecorded(job.before, target)
    else:
        receipt = _carry_out(job, target, map)
    if job.plan.prunes:
        prune_former(target)
    return receipt


def _unrecorded(shown: Snapshot, target: Storage) -> Receipt:
    return Receipt(kind="rechunk", store=target.url, write_id=shown.write_id, generation=shown.generation)


def _commit_plan(job: Job, target: Storage, trace: str) -> CommitPlan:
    before, plan = job.before, job.plan
    published = before.documents if before else {}
    retired = sorted(set(published) - set(plan.documents))
    made = {"version": plan.version, "retired": retired, "trace": trace}
    return CommitPlan(
        kind="rechunk",
        store=target.url,
        base=Base(etag=before.etag, generation=before.generation) if before else None,
        documents=plan.documents,
        attributes=job.origin.attributes,
        backup="none",
        mark={**_emptied(before), **job.origin.mark, "source": plan.source.model_dump(), "rechunk": made},
        regions=tuple(
            Region(variable=name, bounds=tuple((0, size) for size in shape_of(document)))
            for name, document in plan.documents.items()
            if 0 not in shape_of(document)
        ),
    )


def _emptied(before: Snapshot | None) -> dict[str, Any]:
    """Return what the target's root says of the source, with nothing in it: the source decides what stays."""
    kept = before.mark if before else {}
    return {
        key: [] if isinstance(value, list) else None for key, value in kept.items() if key not in OWN_MARKS
    }


def _carry_out(
    job: Job,
    target: Storage,
    map: Callable[..., Iterable[Any]],  # noqa: A002 - it is a map, handed in
) -> Receipt:
    origin, plan, before = job.origin, job.plan, job.before
    made = before.mark.get("rechunk", {}) if before else {}
    work = functools.partial(copy_piece, source=origin, arrays=plan.arrays)
    trace = new_write_id()
    with Transaction(target, _commit_plan(job, target, trace)) as transaction:
        deleted = make_room(transaction, plan, made.get("retired", []), made.get("trace"))
        try:
            kept = _carry_over(transaction, job)
            pieces = write_pieces(transaction, plan.pieces, work, in_strips(map, plan.arrays))
            compared = confirm_copy(transaction, origin, plan, trace, map)
        except Damaged:
            transaction.lease.confirm()
            _demand_unchanged(origin)
            raise
        _demand_unchanged(origin)
        written, copied = _objects(pieces), _objects(kept)
        keep_trace(transaction.storage, trace, _trace(job, [*written, *copied]))
        digest = objects_digest((item.key, item.sha256) for item in (*written, *copied))
        details = {**_details(plan), "objects_sha256": digest, **compared, "deleted": deleted}
        receipt = transaction.publish(written, copied=copied, details=details)
        forget_pieces(transaction.storage, [*pieces, *kept])
    return receipt


def _objects(receipts: Iterable[PieceReceipt]) -> list[WrittenObject]:
    return [item for receipt in receipts for item in receipt.written]


def _carry_over(transaction: Transaction, job: Job) -> list[PieceReceipt]:
    """Bring into the next version what it has in common with the one served."""
    if not job.plan.kept:
        return []
    assert job.served is not None, "what is kept is known to be served"
    work = functools.partial(
        carry_piece,
        served=job.served.documents,
        objects=job.served.trace.objects,
        by_copy=keeps_copies(transaction.storage, transaction.lease.intent.probe),
    )
    return write_pieces(transaction, job.plan.kept, work)


def _trace(job: Job, objects: Iterable[WrittenObject]) -> Trace:
    forms = {name: form_of(document) for name, document in job.origin.documents.items()}
    found = {item.key: item for item in objects}
    return Trace(forms=forms, marks=job.marks, objects=found, order=digest_of(job.origin.order))


def _details(plan: RechunkPlan) -> dict[str, Any]:
    return {
        "source": plan.source.model_dump(),
        "version": plan.version,
        "pieces": len(plan.pieces),
        "chunk_reads": plan.reads,
        "kept": sum(array.copies for array in plan.arrays.values()),
        "peak_memory": plan.price.peak_memory,
    }


def _demand_unchanged(origin: Source) -> None:
    """Raise if the source shows another state than the one that was copied."""
    now = read_source(origin.storage)
    if (now.generation, now.write_id) != (origin.generation, origin.write_id):
        problem = Problem(
            origin.storage.url,
            f"generation {now.generation} of the source",
            f"generation {origin.generation}, which was read at the start",
            "run it again when nothing is appended to the source",
            "source-changed",
        )
        raise Conflict(problem)
