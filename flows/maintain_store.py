"""The weekly care of a dataset: finish what dead writers left, prove that all is whole, prune old backups.

Reads every object of the stores below `store`; writes only what recovery must, and deletes old backups.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aggrade import Receipt, Report
from aggrade.commit import Manifest
from flows.declaring import declare
from flows.reporting import begin
from tasks.artifacts import show_plans, show_receipts
from tasks.maintaining import prune_store, verify_store

__all__ = ["maintain_store"]


@declare("maintain-store", run_name="maintain {store}")
def maintain_store(
    store: str,
    keep: Annotated[int, Field(ge=0)] = 10,
    credentials: str | None = None,
    dry_run: bool = False,
) -> list[Receipt | Report | Manifest]:
    """Recover, verify, and prune backups.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store: a folder or s3://bucket/prefix.
    keep
        How many backups to keep per store, the newest ones.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    dry_run
        Verify, say what recover would do and which backups would go, and write nothing.

    Returns
    -------
    list
        The receipt of what was recovered, if anything was; the report; the backups that were (or would be) pruned.

    Raises
    ------
    Damaged
        If a store is not what its receipts say; nothing is pruned then.
    """
    recovered = begin(store, dry_run=dry_run, credentials=credentials)
    report = verify_store(store, credentials, dry_run=dry_run)
    show_plans([report])
    pruned = prune_store(store, keep, dry_run=dry_run, credentials=credentials)
    show_receipts(recovered)
    return [*recovered, report, *pruned]


if __name__ == "__main__":
    from flows.command_line import flow_main

    flow_main("maintain")
