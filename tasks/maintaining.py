"""Tasks: finish what dead writers left, prove that stores are whole, prune backups."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from aggrade import Report, prune_backups, recover, verify
from aggrade.damage import raise_damage
from aggrade.errors import Conflict, Problem
from aggrade.recovering import foresee, open_intents
from tasks.credentials import storage_options
from tasks.logs import send_core_logs
from tasks.retrying import RETRYING

if TYPE_CHECKING:
    from aggrade import Receipt
    from aggrade.commit import Manifest

logger = logging.getLogger("aggrade.flows")

__all__ = ["look_for_intents", "prune_store", "recover_store", "verify_store"]


@task(
    name="recover", task_run_name="recover {store}", cache_policy=NO_CACHE, persist_result=False, **RETRYING
)
def recover_store(store: str, credentials: str | None = None) -> Receipt | None:
    """Roll dead writers' commits forward or back. Returns what was done, or None.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    credentials
        Name of a block, or None.
    """
    send_core_logs()
    return recover(store, storage_options=storage_options(credentials))


@task(
    name="look",
    task_run_name="look for writers in {store}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRYING,
)
def look_for_intents(store: str, credentials: str | None = None) -> dict[str, str]:
    """Return what `recover` would do: URL of each store whose intent is held → a sentence. Writes nothing.

    Parameters
    ----------
    store, credentials
        As for `recover_store`.
    """
    return foresee(store, storage_options=storage_options(credentials))


@task(name="verify", task_run_name="verify {store}", cache_policy=NO_CACHE, persist_result=False, **RETRYING)
def verify_store(store: str, credentials: str | None = None, *, dry_run: bool = False) -> Report:
    """Compare a store, or all of a dataset, with its own records.

    Parameters
    ----------
    store, credentials
        As for `recover_store`.
    dry_run
        What is wrong in stores that are being written is reported: nobody has recovered them.

    Raises
    ------
    Conflict
        If all that looks wrong is in stores that are being written.
    Damaged
        Naming everything that is wrong.
    Refused
        If that is only what a newer aggrade has written.
    """
    send_core_logs()
    options = storage_options(credentials)
    report = verify(store, storage_options=options)
    held = open_intents(store, storage_options=options) if not report.ok else {}
    unfinished = held and all(sentence.startswith(tuple(held)) for sentence in report.problems)
    if unfinished and not dry_run:
        raise Conflict(*(_busy(url) for url in held))
    if not unfinished:
        raise_damage(report.damage())
    return report


def _busy(url: str) -> Problem:
    fix = "verify it when the writer is done; if it is dead, run aggrade recover"
    return Problem(url, "a writer at work", "a store at rest", fix, "busy")


@task(
    name="prune",
    task_run_name="prune backups of {store}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRYING,
)
def prune_store(
    store: str, keep: int, *, dry_run: bool = False, credentials: str | None = None
) -> list[Manifest]:
    """Delete all but the newest backups of each store; log and return what was, or would be, deleted.

    Parameters
    ----------
    store, credentials
        As for `recover_store`.
    keep
        How many to keep per store.
    dry_run
        Delete nothing.
    """
    send_core_logs()
    doomed = prune_backups(store, keep, dry_run=dry_run, storage_options=storage_options(credentials))
    for manifest in doomed if dry_run else ():
        logger.info("would delete %s", manifest)
    return doomed
