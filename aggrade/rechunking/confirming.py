"""Confirming that a copy holds what its source holds, before it is published: a sample of it, or all of it."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from aggrade.commit.documents import key_of, units_in
from aggrade.errors import Damaged, Problem, raise_all
from aggrade.rechunking.reading_back import compare_piece, comparisons
from aggrade.rechunking.sampling import differing_samples, sampled_boxes
from aggrade.rechunking.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aggrade.commit import Transaction
    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.plan import RechunkPlan

    Place = tuple[str, Bounds]

__all__ = ["confirm_copy"]

_log = logging.getLogger(__name__)


def confirm_copy(
    transaction: Transaction,
    origin: Source,
    plan: RechunkPlan,
    run: str,
    map: Callable[..., Iterable[Any]] = map,  # noqa: A002 - it is a map, handed in
) -> dict[str, Any]:
    """Compare what was written with the source; objects that differ are deleted, so that another run makes them anew.

    Parameters
    ----------
    transaction
        Open, on the target, with everything written.
    origin
        The state that was copied.
    plan
        What was done, and whether a sample or all of it is compared.
    run
        A name that no other run has.
    map
        Runs the comparisons of everything.

    Returns
    -------
    dict
        How many samples were compared, and how many pieces in full.

    Raises
    ------
    Damaged
        If values differ, or a chunk of the source can't be decoded.
    Conflict
        If values differ and the intent may have been lost; nothing is deleted then.
    """
    documents = plan.documents
    copy = Source(transaction.storage, 0, "", documents=documents, stored=documents)
    differing = differing_samples(origin, copy, plan)
    items = comparisons(plan, run) if plan.compare == "full" else []
    work = functools.partial(compare_piece, source=origin, target=copy, arrays=plan.arrays)
    for compared in map(work, items):
        differing += [(compared.variable, box) for box in compared.differing]
    if differing:
        _discard(transaction, plan, differing)
        raise_all(_problems(plan, differing), Damaged)
    return {"samples": len(sampled_boxes(plan)), "compared": len(items)}


def _discard(transaction: Transaction, plan: RechunkPlan, differing: Iterable[Place]) -> None:
    """Delete the objects that differ. They are this version's own, and nobody sees them."""
    doomed = {
        key_of(name, plan.documents[name], index)
        for name, box in differing
        for index in units_in(plan.documents[name], box)
    }
    transaction.lease.confirm()
    transaction.storage.delete(sorted(doomed))
    _log.warning("deleted %d objects of %s that differ from the source", len(doomed), plan.target)


def _problems(plan: RechunkPlan, differing: list[Place]) -> Iterator[Problem]:
    for name in dict.fromkeys(name for name, _ in differing):
        boxes = sorted({box for other, box in differing if other == name})
        place = ", ".join(f"{start}:{stop}" for start, stop in boxes[0])
        found = f"other values than in the source, in {len(boxes)} places in all"
        fix = "run it again, which makes them anew; if it happens again, verify the source"
        if any(_within(box, piece.bounds) for box in boxes for piece in plan.kept if piece.variable == name):
            fix = "run it again with anew=True; if it happens again, verify the source"
        yield Problem(f"{plan.target}/{name}[{place}]", found, "equal values", fix, "rechunk-differs")


def _within(box: Bounds, other: Bounds) -> bool:
    return all(low <= start < high for (start, _), (low, high) in zip(box, other, strict=True))
