"""From the layout that is good to write to the one that is good to read: one task per piece, on Dask.

Reads the Zarr store `source`, or those of a dataset; writes the Zarr store `target`, published by one switch when it is
whole.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any

from pydantic import Field

from aggrade import Receipt
from aggrade.errors import BadInput, Problem
from aggrade.layout import STORE_SUFFIX
from aggrade.rechunking import Compare, RechunkPlan
from flows.declaring import declare
from flows.reporting import begin
from tasks.artifacts import show_plans, show_receipts
from tasks.assets import show_assets
from tasks.clusters import Cluster
from tasks.logs import send_core_logs
from tasks.rechunking import demand_source, find_reading_copies, plan_rechunk, rechunk_pieces

__all__ = ["Lengths", "rechunk_store"]

logger = logging.getLogger("aggrade.flows")

Lengths = dict[str, int | tuple[int, ...]]


@declare("rechunk-store", run_name="rechunk {source}")
def rechunk_store(
    source: str,
    target: str | None = None,
    chunks: Lengths | None = None,
    shards: Lengths | None = None,
    max_memory: str = "1 GiB",
    anew: bool = False,
    *,
    compare: Compare = "sampled",
    keep_versions: Annotated[int, Field(ge=0, le=1)] = 1,
    cluster: Cluster = Cluster(),  # noqa: B008 - frozen
    credentials: str | None = None,
    dry_run: bool = False,
) -> list[Receipt] | list[RechunkPlan]:
    """Copy stores into another layout, within a bound of memory, and publish each copy when it is whole.

    Run again, it goes on where it stopped; a copy that is up to date is left alone. On the command line,
    `aggrade rechunk --suggest SOURCE` compares layouts.

    Parameters
    ----------
    source
        Zarr store to read: a folder or s3://bucket/prefix. Or a dataset root, without a target.
    target
        Zarr store to write. It is made where it is missing; one that exists must be an earlier copy of the source. Left
        out: every store of the dataset that has a copy for reading gets it, beside it.
    chunks
        Lengths by dimension ({"object": 1000, "epoch": -1}; -1 is the whole length) or by variable. Left out:
        windows and light curves get the layout that reads one of them with one request.
    shards
        Lengths of shards, as for chunks. A shard is one object in the store and holds several chunks.
    max_memory
        What one piece may take, such as 500 MB or 2 GiB.
    anew
        Make all again. Else only what is new or has changed is made, and all else taken over from the copy that is served.
    compare
        What is compared with the source before a copy is published: a sample of every array, or all of it, for which both
        sides are read again.
    keep_versions
        How many versions of a copy stay that are not served any more. 1: the one before, until the next rechunk begins, for
        readers that have it open. 0: none.
    cluster
        Where to compute. Left out: on this machine, a worker per core.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    dry_run
        Print the plan with its price and write nothing.

    Returns
    -------
    list of Receipt or list of RechunkPlan
        One for each copy; the plans when `dry_run`.

    Raises
    ------
    AggradeError
        As `aggrade.rechunk`; `BadInput` where no store lies at the source.
    """
    send_core_logs()
    layout: dict[str, Any] = {
        "chunks": chunks,
        "shards": shards,
        "max_memory": max_memory,
        "anew": anew,
        "compare": compare,
        "keep_versions": keep_versions,
        "credentials": credentials,
    }
    copies = {source: target} if target else _reading_copies(source, credentials)
    for copy in copies.values():
        begin(copy, dry_run=dry_run, credentials=credentials)
    plans = [plan_rechunk(one, copy, **layout) for one, copy in copies.items()]
    show_plans(plans)
    if dry_run:
        return plans
    receipts = [rechunk_pieces(one, copy, cluster=cluster, **layout) for one, copy in copies.items()]
    show_receipts(receipts)
    show_assets(receipts)
    return receipts


def _reading_copies(root: str, credentials: str | None) -> dict[str, str]:
    """Return which stores of a dataset have copies for reading, and where; raise where nothing lies."""
    if root.rstrip("/").endswith(STORE_SUFFIX):
        fix = "name the store to write, or give the dataset root as source"
        raise BadInput(
            Problem(
                "parameter target", "nothing", "a target, since the source is one store", fix, "parameter"
            )
        )
    copies = find_reading_copies(root, credentials)
    if not copies:
        demand_source(root, credentials)
        logger.info("nothing to rechunk in %s: none of its stores gets a copy for reading", root)
    return copies


if __name__ == "__main__":
    from flows.command_line import flow_main

    flow_main("rechunk")
