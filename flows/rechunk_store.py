"""From the layout that is good to write to the one that is good to read: one task per piece, on Dask.

Reads the Zarr store `source`; writes the Zarr store `target`, published by one switch when it is whole.
"""

from __future__ import annotations

from typing import Any

from aggrade import Receipt
from aggrade.rechunking import RechunkPlan
from flows.declaring import declare
from flows.reporting import begin
from tasks.artifacts import show_plans, show_receipts
from tasks.clusters import Cluster
from tasks.rechunking import plan_rechunk, rechunk_pieces

__all__ = ["Lengths", "rechunk_store"]

Lengths = dict[str, int | tuple[int, ...]]


@declare("rechunk-store", run_name="rechunk {source} → {target}")
def rechunk_store(
    source: str,
    target: str,
    chunks: Lengths | None = None,
    shards: Lengths | None = None,
    max_memory: str = "1 GiB",
    anew: bool = False,
    cluster: Cluster = Cluster(),  # noqa: B008 - frozen
    credentials: str | None = None,
    dry_run: bool = False,
) -> list[Receipt] | list[RechunkPlan]:
    """Copy a store into another layout, within a bound of memory, and publish the copy when it is whole.

    Run again, it goes on where it stopped; a copy that is up to date is left alone.

    Parameters
    ----------
    source
        Zarr store to read: a folder or s3://bucket/prefix.
    target
        Zarr store to write. It is made where it is missing; one that exists must be an earlier copy of the source.
    chunks
        Lengths by dimension ({"object": 1000, "epoch": -1}; -1 is the whole length) or by variable. Left out:
        windows and light curves get the layout that reads one of them with one request.
    shards
        Lengths of shards, as for chunks. A shard is one object in the store and holds several chunks.
    max_memory
        What one piece may take, such as 500 MB or 2 GiB.
    anew
        Make all again. Else only what is new or has changed is made, and all else taken over from the copy that is served.
    cluster
        Where to compute. Left out: on this machine, a worker per core.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    dry_run
        Print the plan with its price and write nothing.

    Returns
    -------
    list of Receipt or list of RechunkPlan
        One; the plan when `dry_run`.

    Raises
    ------
    AggradeError
        As `aggrade.rechunk`.
    """
    begin(target, dry_run=dry_run, credentials=credentials)
    layout: dict[str, Any] = {
        "chunks": chunks,
        "shards": shards,
        "max_memory": max_memory,
        "anew": anew,
        "credentials": credentials,
    }
    plan = plan_rechunk(source, target, **layout)
    show_plans([plan])
    if dry_run:
        return [plan]
    receipt = rechunk_pieces(source, target, cluster=cluster, **layout)
    show_receipts([receipt])
    return [receipt]


if __name__ == "__main__":
    from flows.command_line import flow_main

    flow_main("rechunk")
