"""Catalogues → light curves: the epochs of a folder of catalogues, each once, in parallel on Dask.

Reads the catalogues; writes ``lightcurves.zarr`` below `store`. What was populated is left as it is, and a bad
catalogue stops no other.
"""

from __future__ import annotations

from typing import Literal

from aggrade import Receipt
from aggrade.catalogues import CatalogueSpec, MatchSpec
from aggrade.catalogues.planning import PopulatePlan
from aggrade.errors import BadInput, Problem, raise_all
from aggrade.placing import check_root
from flows.declaring import declare
from flows.reporting import begin
from tasks.artifacts import show_plans, show_receipts
from tasks.assets import show_assets
from tasks.clusters import Cluster
from tasks.pictures import show_observations
from tasks.populating import plan_population, populate_pieces

__all__ = ["populate_epochs"]


@declare("populate-epochs", run_name="populate {store} from {catalogues}")
def populate_epochs(
    catalogues: str,
    store: str,
    spec: CatalogueSpec,
    objects: str | None = None,
    match: MatchSpec = MatchSpec(),  # noqa: B008 - frozen
    on_conflict: Literal["refuse", "replace"] = "refuse",
    cluster: Cluster = Cluster(),  # noqa: B008 - frozen
    credentials: str | None = None,
    dry_run: bool = False,
) -> list[Receipt] | list[PopulatePlan]:
    """Bring catalogues into a store of light curves, epoch by epoch.

    Run again, it goes on where it stopped and adds what is new.

    Parameters
    ----------
    catalogues
        Folder, prefix, glob or file: FITS, VOTable, ECSV, IPAC, Parquet, CSV, or another table of text.
    store
        Dataset root: a folder or s3://bucket/prefix. It is made where it is missing.
    spec
        What the columns mean. Said, never guessed.
    objects
        Catalogue of the objects whose light curves are wanted. Left out: those of the store, or all that occur.
    match
        How rows find their objects. Left out: by id where the catalogues have ids, else by sky within 1 arc second.
    on_conflict
        An epoch that is there with other content: refuse it, or replace what is there.
    cluster
        Where to compute. Left out: on this machine, a worker per core.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    dry_run
        Print the plan with its price and write nothing.

    Returns
    -------
    list of Receipt or list of PopulatePlan
        One; the plan when `dry_run`.

    Raises
    ------
    AggradeError
        After every good catalogue has landed, naming each bad one and why.
    """
    check_root(store)
    begin(store, dry_run=dry_run, credentials=credentials)
    if dry_run:
        plan = plan_population(
            catalogues,
            store,
            spec,
            objects=objects,
            match=match,
            on_conflict=on_conflict,
            credentials=credentials,
        )
        show_plans([plan])
        raise_all(map(_refusal, plan.refused, plan.refused.values()), BadInput)
        return [plan]
    receipt = populate_pieces(
        catalogues,
        store,
        spec,
        objects=objects,
        match=match,
        on_conflict=on_conflict,
        cluster=cluster,
        credentials=credentials,
    )
    show_receipts([receipt])
    show_assets([receipt])
    show_observations(store, receipt, credentials)
    refused: dict[str, str] = receipt.details.get("refused", {})
    raise_all(map(_refusal, refused, refused.values()), BadInput)
    return [receipt]


def _refusal(file: str, why: str) -> Problem:
    where, _, rest = f" {why}".rpartition(" found ")
    found, _, rest = rest.partition(", expected ")
    expected, _, fix = rest.partition("; ")
    place = ", ".join(filter(None, (file, where.strip().rstrip(":"))))
    return Problem(
        place, found, expected or "a catalogue that fits", fix or "correct it", "catalogue-refused"
    )


if __name__ == "__main__":
    from flows.command_line import flow_main

    flow_main("populate")
