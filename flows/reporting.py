"""What every flow does alike: begin with recover, show the plan or the receipts, end Failed where a part failed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from aggrade.errors import (
    AggradeError,
    BadInput,
    Conflict,
    Damaged,
    Problem,
    Refused,
    Unavailable,
)
from tasks.artifacts import show_failures
from tasks.logs import send_core_logs
from tasks.maintaining import look_for_intents, recover_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade import Receipt

__all__ = ["begin", "raise_failures"]

logger = logging.getLogger("aggrade.flows")

_GRAVEST_FIRST = (Damaged, Refused, BadInput, Conflict, Unavailable)


def begin(store: str, *, dry_run: bool, credentials: str | None) -> list[Receipt]:
    """Finish what a dead writer left; in a dry run only say what that would be.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    dry_run
        Write nothing.
    credentials
        Name of a block, or None.

    Returns
    -------
    list of Receipt
        What was recovered.
    """
    send_core_logs()
    if not dry_run:
        receipt = recover_store(store, credentials)
        return [] if receipt is None else [receipt]
    for url, sentence in look_for_intents(store, credentials).items():
        logger.info("%s: %s", url, sentence)
    return []


def raise_failures(failures: Mapping[str, Exception], total: int, unit: str) -> None:
    """Raise one error that names each part that failed and why, or return if none did.

    Parameters
    ----------
    failures
        Name of each part that failed → its error.
    total
        How many parts there were.
    unit
        What a part is, in the plural.

    Raises
    ------
    AggradeError
        Of the class of the part that needs a human most; what is none of the five classes counts as `BadInput`
        and is named by its type.
    """
    if not failures:
        return
    show_failures(failures)
    logger.error("%d of %d %s failed: %s", len(failures), total, unit, ", ".join(failures))
    problems = [problem for name, error in failures.items() for problem in _problems(name, error)]
    raise _class_of(failures)(*problems) from next(iter(failures.values()))


def _class_of(failures: Mapping[str, Exception]) -> type[AggradeError]:
    known = [kind for kind in _GRAVEST_FIRST if any(isinstance(error, kind) for error in failures.values())]
    return known[0] if known else BadInput


def _problems(name: str, error: Exception) -> list[Problem]:
    if isinstance(error, AggradeError):
        return [replace(problem, where=_place(name, problem.where)) for problem in error.problems]
    found = f"{type(error).__name__}: {error}"
    fix = "look at the log of its task run, and report it if the recording is sound"
    return [Problem(name, found, "no such error", fix, "unexpected")]


def _place(part: str, where: str) -> str:
    return where if part in where else f"{part}, {where}"
