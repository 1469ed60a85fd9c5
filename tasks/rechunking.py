"""Tasks: plan a rechunk; carry it out, large pieces in a task each, small ones together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from aggrade import Receipt
from aggrade.layout import demand_stores
from aggrade.placing import reading_copies
from aggrade.rechunking import Compare, RechunkPlan, rechunk
from tasks.clusters import Cluster
from tasks.credentials import storage_options
from tasks.logs import send_core_logs
from tasks.pieces import pieces_on
from tasks.retrying import RETRYING

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["demand_source", "find_reading_copies", "plan_rechunk", "rechunk_pieces"]


def find_reading_copies(store: str, credentials: str | None) -> dict[str, str]:
    """Return which stores of a dataset are to be rechunked, and into which. As `aggrade.placing.reading_copies`."""
    return reading_copies(store, storage_options=storage_options(credentials))


def demand_source(store: str, credentials: str | None) -> None:
    """Raise where no store lies. Parameters as for `find_reading_copies`, errors as of `aggrade.layout.demand_stores`."""
    demand_stores(store, storage_options(credentials))


@task(
    name="plan-rechunk",
    task_run_name="plan rechunk → {target}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRYING,
)
def plan_rechunk(
    source: str,
    target: str,
    *,
    chunks: Mapping[str, Any] | None = None,
    shards: Mapping[str, Any] | None = None,
    max_memory: str = "1 GiB",
    anew: bool = False,
    compare: Compare = "sampled",
    keep_versions: int = 1,
    credentials: str | None = None,
) -> RechunkPlan:
    """Return what a rechunk would do. Writes nothing.

    Parameters
    ----------
    source, target, chunks, shards, max_memory, anew, compare, keep_versions
        As `aggrade.rechunk` takes them.
    credentials
        Name of a block, or None.

    Raises
    ------
    AggradeError
        As `aggrade.rechunk`.
    """
    send_core_logs()
    plan = rechunk(
        source,
        target,
        chunks=chunks,
        shards=shards,
        max_memory=max_memory,
        anew=anew,
        compare=compare,
        keep_versions=keep_versions,
        dry_run=True,
        storage_options=storage_options(credentials),
    )
    assert isinstance(plan, RechunkPlan)
    return plan


@task(
    name="rechunk",
    task_run_name="rechunk {source} → {target}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRYING,
)
def rechunk_pieces(
    source: str,
    target: str,
    *,
    chunks: Mapping[str, Any] | None = None,
    shards: Mapping[str, Any] | None = None,
    max_memory: str = "1 GiB",
    anew: bool = False,
    compare: Compare = "sampled",
    keep_versions: int = 1,
    cluster: Cluster | None = None,
    credentials: str | None = None,
) -> Receipt:
    """Rechunk a store by tasks on a Dask cluster: large pieces in one each, small ones together.

    Where nothing is to be done, no cluster is started.

    Parameters
    ----------
    source, target, chunks, shards, max_memory, anew, compare, keep_versions, credentials
        As for `plan_rechunk`.
    cluster
        Where to compute; a worker per core on this machine if None.

    Raises
    ------
    AggradeError
        As `aggrade.rechunk`.
    """
    send_core_logs()
    with pieces_on(
        cluster or Cluster(), "rechunk", target, weigh=lambda piece: int(piece.size)
    ) as map_pieces:
        receipt = rechunk(
            source,
            target,
            chunks=chunks,
            shards=shards,
            max_memory=max_memory,
            anew=anew,
            compare=compare,
            keep_versions=keep_versions,
            map=map_pieces,
            storage_options=storage_options(credentials),
        )
    assert isinstance(receipt, Receipt)
    return receipt
