"""`populate`: from catalogues of epochs to a cube of light curves, in parallel, each epoch once."""

from __future__ import annotations

import builtins
import functools
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from aggrade.catalogues.cube import LEDGER
from aggrade.catalogues.filling import fill_piece, write_objects
from aggrade.catalogues.knowing import Asked, Known, plan_from
from aggrade.catalogues.loading import How
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec, specification
from aggrade.clock import clock_of
from aggrade.commit import (
    Transaction,
    find_layer,
    find_receipt,
    forget_pieces,
    read_intent,
    read_snapshot,
    recover_store,
    write_pieces,
)
from aggrade.errors import AggradeError, Conflict, Damaged, Problem
from aggrade.layout import store_for
from aggrade.settings import settings
from aggrade.storage import url_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike

    from numpy.typing import NDArray

    from aggrade.catalogues.objects import ObjectTable
    from aggrade.catalogues.planning import PopulatePlan
    from aggrade.commit import CommitPlan, Writer, WrittenObject
    from aggrade.receipt import Receipt
    from aggrade.storage import Storage

    Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

__all__ = ["populate"]

_log = logging.getLogger(__name__)
_EPOCHS_IN_RECEIPT = 1000


@overload
def populate(
    catalogues: Paths,
    store: str | PathLike[str],
    spec: CatalogueSpec | Mapping[str, Any],
    *,
    objects: Any = ...,
    match: MatchSpec | Mapping[str, Any] | None = ...,
    map: Callable[..., Iterable[Any]] = ...,
    on_conflict: Literal["refuse", "replace"] = ...,
    dry_run: Literal[False] = ...,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt: ...
@overload
def populate(
    catalogues: Paths,
    store: str | PathLike[str],
    spec: CatalogueSpec | Mapping[str, Any],
    *,
    objects: Any = ...,
    match: MatchSpec | Mapping[str, Any] | None = ...,
    map: Callable[..., Iterable[Any]] = ...,
    on_conflict: Literal["refuse", "replace"] = ...,
    dry_run: bool,
    storage_options: Mapping[str, Any] | None = ...,
) -> Receipt | PopulatePlan: ...
def populate(
    catalogues: Paths,
    store: str | PathLike[str],
    spec: CatalogueSpec | Mapping[str, Any],
    *,
    objects: Any = None,
    match: MatchSpec | Mapping[str, Any] | None = None,
    map: Callable[..., Iterable[Any]] = builtins.map,  # noqa: A002 - the name the design fixes
    on_conflict: Literal["refuse", "replace"] = "refuse",
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt | PopulatePlan:
    """Add the epochs of a set of catalogues to a store of light curves, each once, or change nothing.

    Every catalogue is looked at before the first byte is written. Those that are wrong are left out with all
    epochs they take part in, and are named in ``receipt.details["refused"]`` (file → why); the others land
    together, in one commit. An epoch that is there already with the same content is left as it is; if nothing
    is new, nothing is written at all. ``docs/lightcurves.md`` says what the store holds.

    Parameters
    ----------
    catalogues
        A folder, a prefix, a glob, one file, or several of these; local or ``s3://…``.
    store
        A dataset root, whose ``lightcurves.zarr`` is meant, or one Zarr store. It is created where it is missing.
    spec
        What the columns mean.
    objects
        The object table: a path or URL of a catalogue, a pandas DataFrame, or an astropy table. None takes the
        store's own; for a new store, it is built from the catalogues: every id that occurs, or clusters of
        positions linked by at most the radius.
    match
        How rows find their objects; None matches by id where the catalogues have ids, else by sky within 1″.
    map
        ``map(function, pieces)``: the builtin, or one that sends pieces to a cluster.
    on_conflict
        Of an epoch that is there with other content: ``"refuse"``, or ``"replace"``: it is written anew, and what was
        there is hidden by the same switch. `restore` brings it back.
    dry_run
        Look at everything and return the plan; nothing is written.
    storage_options
        For the catalogues and the store alike, as `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt or PopulatePlan
        The plan when `dry_run`. A receipt of nothing new is that of the commit which brought the last of the
        epochs.

    Raises
    ------
    BadInput
        If a specification is wrong, or there is not one epoch that could be used.
    Refused
        If an epoch is there with other content, or the catalogues don't fit the store (units, scale, objects).
    Conflict
        If another writer kept the store busy for too long, or a catalogue changed meanwhile.
    Unavailable
        If a store did not answer. Run it again: pieces that were written are not written again.
    """
    store = url_of(store)
    how = How(spec=specification(CatalogueSpec, spec), match=specification(MatchSpec, match))
    asked = Asked(
        catalogues, how, objects, dict(storage_options) if storage_options else None, map, on_conflict
    )
    storage = store_for(store, "epoch", storage_options)
    for attempt in range(settings().request_attempts):
        plan, table = plan_from(asked, Known.of(storage))
        for warning in plan.warnings:
            _log.warning("%s", warning)
        if dry_run:
            return plan
        try:
            if plan.commit is None:
                return _earlier(storage, plan)
            return _carry_out(storage, plan, plan.commit, table, asked)
        except Conflict as error:
            if error.code not in {"moved-on", "overtaken"} or attempt + 1 == settings().request_attempts:
                raise
            _log.info("planning again: %s", error)
            clock_of(storage).back_off(attempt)
    raise AssertionError("every attempt returns or raises")


def _earlier(storage: Storage, plan: PopulatePlan) -> Receipt:
    """Return the receipt of the commit that brought the last of the epochs, with what is refused this time.

    A writer that died right after its switch left no receipt; finishing its commit writes it.
    """
    recover_store(storage)
    record = find_layer(storage, plan.unchanged[-1], read_snapshot(storage))
    receipt = find_receipt(storage, record.write_id) if record else None
    if receipt is None:
        raise _without_receipt(storage, plan.unchanged[-1])
    _log.info("%d epochs are there already, nothing to do", len(plan.unchanged))
    if receipt.details.get("refused", {}) == plan.refused:
        return receipt
    return receipt.model_copy(update={"details": {**receipt.details, "refused": plan.refused}})


def _without_receipt(storage: Storage, epoch: str) -> AggradeError:
    found = read_intent(storage)
    if found is not None and found[0].state == "held":
        expected = "a commit that is finished"
        return Conflict(
            Problem(storage.url, "a writer at its last steps", expected, "run it again", "moved-on")
        )
    told, fix = f"no receipt of the commit that brought epoch {epoch}", "verify the store"
    return Damaged(Problem(storage.url, told, "the layer's record and receipt", fix, "receipt-missing"))


def _carry_out(
    storage: Storage, plan: PopulatePlan, commit: CommitPlan, objects: ObjectTable | None, asked: Asked
) -> Receipt:
    with Transaction(storage, commit) as txn:
        writer = txn.writer()
        written = [] if objects is None else list(_beside_epochs(writer, plan, objects))
        work = functools.partial(fill_piece, asked.how, asked.storage_options)
        done = write_pieces(txn, plan.pieces, work, map=asked.map)
        counts = {key: each for piece in done for key, each in piece.details["epochs"].items()}
        written += [item for piece in done for item in piece.written]
        written += _ledger(writer, plan, counts)
        details = _details(plan, counts)
        receipt = txn.publish(written, details=details)
    forget_pieces(storage, done)
    told = ("rows", "matched", "unmatched", "duplicates", "losers", "blank", "cells")
    _log.info("%d epochs: %s", len(counts), ", ".join(f"{details[name]} {name}" for name in told))
    if details["rows"] and not details["matched"]:
        _log.warning("none of %d rows matched an object: are these the right objects?", details["rows"])
    return receipt


def _beside_epochs(writer: Writer, plan: PopulatePlan, objects: ObjectTable) -> Iterator[WrittenObject]:
    """Write what a store has beside its epochs and lacks so far; the pieces read the object table from it."""
    if plan.added_objects:
        yield from write_objects(writer, objects, len(objects) - plan.added_objects)
        return
    yield from write_objects(writer, objects)
    shape = plan.shape
    labels = {
        "measurement": list(shape.units),
        "measurement_unit": list(shape.units.values()),
        "value": list(shape.values),
    }
    for name, texts in labels.items():
        yield from writer.write(name, (slice(0, len(texts)),), _text(texts))


def _text(values: list[str]) -> NDArray[Any]:
    return np.array(values, dtype=np.dtypes.StringDType())


def _ledger(
    writer: Writer, plan: PopulatePlan, counts: Mapping[str, Mapping[str, int]]
) -> Iterator[WrittenObject]:
    """Write every variable along `epoch`."""
    reports = [epoch.report for epoch in plan.epochs]
    columns: dict[str, NDArray[Any]] = {
        "epoch": _text([report.key for report in reports]),
        "filter": _text([report.filter for report in reports]),
        "source_digest": _text([report.digest for report in reports]),
        "source_mark": _text([report.mark for report in reports]),
        "epoch_time": np.array([report.time for report in reports], np.float64),
        "populated": np.ones(len(reports), np.uint8),
    }
    columns |= {name: np.array([counts[report.key][name] for report in reports], np.int64) for name in LEDGER}
    first = plan.epochs[0].index
    for name, values in columns.items():
        yield from writer.write(name, (slice(first, first + len(values)),), values)


def _details(plan: PopulatePlan, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    for each in counts.values():
        totals.update(each)
    room = len(counts) * plan.shape.objects * len(plan.shape.units)
    return {
        "objects": plan.shape.objects,
        "measurements": list(plan.shape.units),
        **dict(totals),
        "fill": totals["cells"] / room if room else 0.0,
        "epochs": {key: dict(each) for key, each in counts.items()}
        if len(counts) <= _EPOCHS_IN_RECEIPT
        else {},
        "unchanged": len(plan.unchanged),
        "replaced": list(plan.replaced),
        "added_objects": plan.added_objects,
        "refused": plan.refused,
    }
