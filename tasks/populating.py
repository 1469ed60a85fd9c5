"""Tasks: plan a population; carry it out, some epochs per task."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from aggrade.catalogues.planning import PopulatePlan
from aggrade.populating import populate
from aggrade.receipt import Receipt
from aggrade.settings import cores
from tasks.artifacts import show_plans
from tasks.clusters import Cluster
from tasks.credentials import storage_options
from tasks.logs import send_core_logs
from tasks.pieces import pieces_on
from tasks.retrying import RETRYING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggrade.catalogues import CatalogueSpec, MatchSpec

__all__ = ["Looks", "plan_population", "populate_pieces"]


class Looks:
    """A `map` that runs on threads and remembers, so that planning twice reads every catalogue once.

    A catalogue is named by its mark: one that changed meanwhile is looked at again.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, Any] = {}

    def map(self, look: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Return what `look` says of each item, in order."""
        wanted = [(pickle.dumps((_name(look), item)), item) for item in items]
        new = {key: item for key, item in wanted if key not in self._seen}
        with ThreadPoolExecutor(cores()) as pool:
            self._seen.update(zip(new, pool.map(look, new.values()), strict=True))
        return [self._seen[key] for key, _ in wanted]


def _name(look: Callable[[Any], Any]) -> str:
    return str(getattr(getattr(look, "func", look), "__qualname__", look))


@task(
    name="plan-population",
    task_run_name="plan {catalogues} → {store}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRYING,
)
def plan_population(
    catalogues: str,
    store: str,
    spec: CatalogueSpec,
    *,
    objects: str | None = None,
    match: MatchSpec | None = None,
    on_conflict: Literal["refuse", "replace"] = "refuse",
    credentials: str | None = None,
) -> PopulatePlan:
    """Look at every catalogue and say what a population would do. Writes nothing.

    Parameters
    ----------
    catalogues, store, spec, objects, match, on_conflict
        As `aggrade.populate` takes them.
    credentials
        Name of a block, or None.

    Raises
    ------
    AggradeError
        As `aggrade.populate`.
    """
    send_core_logs()
    plan = populate(
        catalogues,
        store,
        spec,
        objects=objects,
        match=match,
        on_conflict=on_conflict,
        map=Looks().map,
        dry_run=True,
        storage_options=storage_options(credentials),
    )
    assert isinstance(plan, PopulatePlan)
    return plan


@task(
    name="populate",
    task_run_name="populate {store} from {catalogues}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRYING,
)
def populate_pieces(
    catalogues: str,
    store: str,
    spec: CatalogueSpec,
    *,
    objects: str | None = None,
    match: MatchSpec | None = None,
    on_conflict: Literal["refuse", "replace"] = "refuse",
    cluster: Cluster | None = None,
    credentials: str | None = None,
) -> Receipt:
    """Add the epochs of catalogues to a store: plan, show the plan, then each piece as a task on a Dask cluster.

    Where nothing is to be done, no cluster is started.

    Parameters
    ----------
    catalogues, store, spec, objects, match, on_conflict, credentials
        As for `plan_population`.
    cluster
        Where to compute; a worker per core on this machine if None.

    Raises
    ------
    AggradeError
        As `aggrade.populate`.
    """
    send_core_logs()
    looks = Looks()
    with pieces_on(cluster or Cluster(), "populate", store) as on_cluster:

        def map_either(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
            chosen = list(items)
            spread = on_cluster if any(hasattr(item, "digest") for item in chosen) else looks.map
            return spread(work, chosen)

        asked: dict[str, Any] = {
            "objects": objects,
            "match": match,
            "on_conflict": on_conflict,
            "map": map_either,
            "storage_options": storage_options(credentials),
        }
        show_plans([populate(catalogues, store, spec, dry_run=True, **asked)])
        receipt = populate(catalogues, store, spec, **asked)
    assert isinstance(receipt, Receipt)
    return receipt
