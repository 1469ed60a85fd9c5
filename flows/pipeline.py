"""Everything, in order: recordings → windows, catalogues → light curves, and both rechunked for reading.

Parts whose input isn't given are left out. Calls the other flows' own code, in one flow run.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from aggrade import AppendPlan, Receipt
from aggrade.append_plan import OnConflict
from aggrade.catalogues import CatalogueSpec, MatchSpec
from aggrade.catalogues.planning import PopulatePlan
from aggrade.channels import Channels
from aggrade.commit.plan import BackupKind
from aggrade.errors import AggradeError, BadInput, Problem, raise_all
from aggrade.placing import COMMON, Layout, Partition, check_root
from aggrade.rechunking import Compare, RechunkPlan
from aggrade.window_spec import WindowSpec
from flows.declaring import declare
from flows.ingest_sessions import ingest_sessions
from flows.populate_epochs import populate_epochs
from flows.rechunk_store import rechunk_store
from flows.reporting import begin, raise_failures
from tasks.clusters import Cluster, one_cluster
from tasks.rechunking import find_reading_copies

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["pipeline"]

logger = logging.getLogger("aggrade.flows")

Plan = AppendPlan | PopulatePlan | RechunkPlan


@declare("pipeline", run_name="pipeline → {store}")
def pipeline(
    store: str,
    *,
    recordings: str | None = None,
    catalogues: str | None = None,
    windows: WindowSpec | None = None,
    spec: CatalogueSpec | None = None,
    layout: Layout = "common",
    partition: Partition = "none",
    store_name: str = COMMON,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    settle_s: Annotated[float, Field(ge=0)] = 0.0,
    quarantine: bool = False,
    objects: str | None = None,
    match: MatchSpec = MatchSpec(),  # noqa: B008 - frozen
    max_memory: str = "1 GiB",
    compare: Compare = "sampled",
    keep_versions: Annotated[int, Field(ge=0, le=1)] = 1,
    cluster: Cluster = Cluster(),  # noqa: B008 - frozen
    credentials: str | None = None,
    dry_run: bool = False,
) -> list[Receipt] | list[Plan]:
    """Ingest recordings, populate light curves, and rechunk both for reading.

    Run again, it goes on where it stopped and adds what is new.

    Parameters
    ----------
    store
        Dataset root: a folder or s3://bucket/prefix. It is made where it is missing.
    recordings
        Folder or prefix with recordings; each child is one session. Left out: nothing is ingested.
    catalogues
        Folder, prefix, glob or file with catalogues. Left out: nothing is populated.
    windows
        How to cut recordings; needed with recordings.
    spec
        What the columns of catalogues mean; needed with catalogues.
    layout
        common: all sessions in one store, windows.zarr. per_session: each in a store of its own.
    partition
        Whether the common store is split: by the month or year in which a session began, or by montage (channels with
        their units and types, and nominal rates). A session that is dated anew moves.
    store_name
        Name of the common store, where it isn't split.
    channels
        What to do with a session whose channels are not its store's: refuse it, or let the store have the union.
    on_conflict
        What to do with a session that is there with other content: refuse it, or replace the old one.
    backup
        What is kept of the state before each append: the objects it touches, the full store, or none.
    settle_s
        For how long, in s, the files of a new session must lie unchanged: the run looks twice, and leaves for the next
        one what has changed in between. 0: it doesn't wait.
    quarantine
        Set a recording that can't be read aside: the run that finds it fails and says why, later ones leave it alone
        until its files change.
    objects
        Catalogue of the objects whose light curves are wanted. Left out: those of the store, or all that occur.
    match
        How rows find their objects. Left out: by id where the catalogues have ids, else by sky within 1 arc second.
    max_memory
        What one piece of the rechunk may take, such as 500 MB or 2 GiB.
    compare
        What is compared with its source before a copy for reading is published: a sample of every array, or all of it, for
        which both sides are read again.
    keep_versions
        How many versions of a copy stay that are not served any more. 1: the one before, until the next rechunk begins, for
        readers that have it open. 0: none.
    cluster
        Where to compute. Left out: on this machine, a worker per core.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    dry_run
        Print the plans with their price and write nothing.

    Returns
    -------
    list of Receipt or list of plans
        In the order of the work; the plans when `dry_run`.

    Raises
    ------
    AggradeError
        After every part was tried, naming everything that could not be done and why.
    """
    check_root(store, layout, partition, name=store_name, channels=channels)
    _check_pairs({"recordings": (recordings, "windows", windows), "catalogues": (catalogues, "spec", spec)})
    begin(store, dry_run=dry_run, credentials=credentials)
    common: dict[str, Any] = {"credentials": credentials, "dry_run": dry_run}
    parts: dict[str, Callable[[], list[Any]]] = {}
    if recordings is not None and windows is not None:
        rules: dict[str, Any] = {
            "layout": layout,
            "partition": partition,
            "store_name": store_name,
            "channels": channels,
            "on_conflict": on_conflict,
            "backup": backup,
            "settle_s": settle_s,
            "quarantine": quarantine,
        }
        parts["ingest"] = partial(ingest_sessions.fn, recordings, store, windows, **rules, **common)
    if catalogues is not None and spec is not None:
        how: dict[str, Any] = {"objects": objects, "match": match, "cluster": cluster}
        parts["populate"] = partial(populate_epochs.fn, catalogues, store, spec, **how, **common)
    copying: dict[str, Any] = {"max_memory": max_memory, "compare": compare, "keep_versions": keep_versions}
    parts["rechunk"] = partial(_rechunk, store, cluster=cluster, **copying, **common)
    with one_cluster(cluster):
        return _each(parts)


def _check_pairs(pairs: dict[str, tuple[object, str, object]]) -> None:
    """Refuse an input without its specification, and a specification without its input."""
    unused = [
        Problem(
            f"parameter {name}", "nothing", f"an input, since {needed} is given", f"give {name}", "parameter"
        )
        for name, (given, needed, specification) in pairs.items()
        if given is None and specification is not None
    ]
    missing = [
        Problem(
            f"parameter {needed}",
            "nothing",
            f"a specification, since {name} is given",
            f"give {needed}",
            "parameter",
        )
        for name, (given, needed, specification) in pairs.items()
        if given is not None and specification is None
    ]
    raise_all([*missing, *unused], BadInput)


def _rechunk(store: str, *, credentials: str | None, **how: Any) -> list[Any]:
    """Make every copy for reading that stores of a dataset have."""
    copies = find_reading_copies(store, credentials)
    if not copies:
        logger.info("nothing to rechunk in %s yet", store)
    return [
        result
        for source, target in copies.items()
        for result in rechunk_store.fn(source, target, credentials=credentials, **how)
    ]


def _each(parts: dict[str, Callable[[], list[Any]]]) -> list[Any]:
    """Do every part; a part that fails stops no other, and is raised at the end."""
    results: list[Any] = []
    failures: dict[str, Exception] = {}
    for name, part in parts.items():
        try:
            results += part()
        except AggradeError as error:
            failures[name] = error
    raise_failures(failures, len(parts), "parts")
    return results


if __name__ == "__main__":
    from flows.command_line import flow_main

    flow_main("pipeline")
