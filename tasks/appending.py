"""Tasks: append staged sessions to the store of the dataset that they belong in, one alone or several in one commit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from aggrade.errors import BadInput, Damaged, Refused
from aggrade.landing import find_landed, land, land_together
from aggrade.moving import homes, move_session
from aggrade.staging import drop_left, drop_staged, is_staged
from tasks.credentials import storage_options
from tasks.logs import send_core_logs
from tasks.retrying import RETRYING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggrade import Receipt
    from aggrade.append_plan import OnConflict
    from aggrade.channels import Channels
    from aggrade.commit.plan import BackupKind
    from aggrade.staging import Staged

__all__ = ["append_session", "append_together", "clear_staged", "find_homes"]

logger = logging.getLogger("aggrade.tasks")
_NOT_WHOLE = {"staging-gone", "staging-torn"}


def find_homes(store: str, credentials: str | None) -> dict[str, str]:
    """Return where each session of a dataset lies. As `aggrade.moving.homes`."""
    return homes(store, storage_options=storage_options(credentials))


def clear_staged(
    landed: Sequence[Staged], refused: Sequence[Staged], store: str, credentials: str | None
) -> None:
    """Remove what nobody will land any more of what is staged of some sessions. As `aggrade.staging.drop_left`."""
    drop_left(landed, store, refused=refused, storage_options=storage_options(credentials))


@task(
    name="append",
    task_run_name="append {staged.session} → {store}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRYING,
)
def append_session(
    staged: Staged,
    store: str,
    *,
    home: str = "",
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    credentials: str | None = None,
) -> Receipt | None:
    """Append a staged session to a store, once; then remove its staging store.

    The store itself knows whether the session is there, so nothing is cached: a session that has landed is a
    no-op that reads no data.

    Parameters
    ----------
    staged
        What `tasks.windowing.window_session` returned.
    store
        URL of the Zarr store.
    home
        Path below the dataset root of the store where the session lies, if it lies in another one: it moves, where
        both are partitions of one kind.
    channels, on_conflict, backup
        As `aggrade.append` takes them.
    credentials
        Name of a block, or None.

    Returns
    -------
    Receipt or None
        None if the session lies neither in the store nor, whole, in its staging store any more: it must be cut again.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    send_core_logs()
    options = storage_options(credentials)
    how: dict[str, Any] = {"channels": channels, "on_conflict": on_conflict, "backup": backup}
    receipt = find_landed(store, staged.session, staged.digest, storage_options=options)
    if receipt is not None:
        logger.info("session %s is there already: nothing to do", staged.session)
    if not is_staged(staged, storage_options=options):
        return receipt
    try:
        if home:
            receipt = move_session(staged, store, home, storage_options=options, **how)
        elif receipt is None:
            receipt = land(staged, store, storage_options=options, **how)
    except Damaged as error:
        if error.code not in _NOT_WHOLE:
            raise
        logger.info("what is staged of session %s is not whole: %s", staged.session, error)
        receipt = None
    drop_staged(staged, storage_options=options)
    return receipt


@task(name="append-together", cache_policy=NO_CACHE, persist_result=False, **RETRYING)
def append_together(
    staged: Sequence[Staged],
    store: str,
    *,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    credentials: str | None = None,
) -> list[Receipt] | None:
    """Append several staged sessions to one store, in one commit where they are alike; then remove their staging stores.

    Parameters
    ----------
    staged
        Sessions below one dataset root.
    store
        URL of the Zarr store.
    channels, on_conflict, backup
        As `aggrade.append` takes them.
    credentials
        Name of a block, or None.

    Returns
    -------
    list of Receipt or None
        One for each; None if one of them has to be looked at alone: it is staged no more, or is refused.

    Raises
    ------
    AggradeError
        As `aggrade.append`, if others are in the way or the store does not answer.
    """
    send_core_logs()
    options = storage_options(credentials)
    if not all(is_staged(one, storage_options=options) for one in staged):
        return None
    how: dict[str, Any] = {"channels": channels, "on_conflict": on_conflict, "backup": backup}
    try:
        receipts = land_together(staged, store, storage_options=options, **how)
    except (BadInput, Damaged, Refused) as error:
        logger.info("%d sessions are appended one by one: %s", len(staged), error)
        return None
    for one in staged:
        drop_staged(one, storage_options=options)
    return receipts
