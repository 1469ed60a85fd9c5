"""Commands that take something back, without Prefect, unless it keeps the credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggrade.receipt import Receipt

__all__ = ["remove", "restore"]


def restore(store: str, backup: str, *, dry_run: bool = False, credentials: str | None = None) -> str:
    """Bring a store back to the state that a backup was made of. What is given up is backed up first.

    Parameters
    ----------
    store
        Dataset root, or the Zarr store that the backup is of: a folder or s3://bucket/prefix.
    backup
        The backup's id, as `aggrade backups` lists it.
    dry_run
        Say what would be done, and its price; write nothing.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    import aggrade
    from aggrade.receipt import Receipt

    done = aggrade.restore(store, backup, dry_run=dry_run, storage_options=_options(credentials))
    return _told(done) if isinstance(done, Receipt) else str(done)


def remove(
    store: str,
    label: str,
    *,
    dim: str = "session",
    purge_backups: bool = False,
    dry_run: bool = False,
    credentials: str | None = None,
) -> str:
    """Remove a session, so that nothing of it is left: in the store, its copies, staging, records and receipts.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store in it: a folder or s3://bucket/prefix.
    label
        The session's id, or the epoch's key.
    dim
        The dimension along which it lies.
    purge_backups
        Empty the backups that hold it, too. It can't be brought back then.
    dry_run
        Say what would be done, and its price; write nothing.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    import aggrade
    from aggrade.receipt import Receipt

    done = aggrade.remove(
        store,
        label,
        dim=dim,
        purge_backups=purge_backups,
        dry_run=dry_run,
        storage_options=_options(credentials),
    )
    return _told(done) if isinstance(done, Receipt) else str(done)


def _options(credentials: str | None) -> dict[str, Any] | None:
    """Return what a block says of the bucket; Prefect, which keeps it, is imported for that only."""
    if credentials is None:
        return None
    from tasks.credentials import storage_options

    return storage_options(credentials)


def _told(receipt: Receipt) -> str:
    """Say what was done, what can't be restored any more or remains, and how to undo it."""
    lines = [str(receipt)]
    if receipt.details.get("completed"):
        lines.append("completed what an earlier run had begun")
    lines += [f"taken out of {name}" for name in receipt.details.get("attributes", [])]
    if purged := receipt.details.get("purged"):
        lines.append(f"emptied these backups, which can't be restored any more: {', '.join(purged)}")
    lines += receipt.details.get("remains", [])
    copies = ", ".join(receipt.details.get("copies", []))
    lines += [f"gone from rechunked copies, too: {copies}"] if copies else []
    again = ", and rechunk again: the copies have no backup" if copies else ""
    lines += [f"to undo it: {receipt.undo}{again}"] if receipt.undo else []
    return "\n".join(lines)
