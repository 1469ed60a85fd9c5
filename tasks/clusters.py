"""Where the pieces of a large job are computed: a `map` for the core that runs each piece as a task on Dask.

The core takes parallelism as an argument. `pieces_on` gives it a `map` that submits one Prefect task per piece
to a `DaskTaskRunner` and collects every result, so that a piece which failed, or whose worker died, fails the
whole. A cluster is started when the first piece is submitted: none is started when nothing is to be done.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import dask
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    temporary_settings,
)
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.caching import ReceiptKey
from tasks.logs import send_core_logs
from tasks.progress import progress
from tasks.retrying import RETRYING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prefect.futures import PrefectFuture
    from prefect_dask.task_runners import DaskTaskRunner

__all__ = ["Cluster", "cores", "pieces_on", "run_piece"]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Cluster(BaseModel):
    """Where pieces are computed: a Dask cluster. By default one on this machine, a worker per core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = Field(
        default=None,
        title="Scheduler",
        description="Address of a Dask scheduler that is running already, such as tcp://10.0.0.5:8786. Excludes the fields below.",
    )
    cluster_class: str | None = Field(
        default=None,
        title="Cluster class",
        description="Cluster to start for this run only, by its full name, such as dask_jobqueue.SLURMCluster. Empty: on this machine.",
    )
    cluster_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        title="Cluster arguments",
        description='Arguments of the cluster class, such as {"n_workers": 4}.',
    )
    adapt_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        title="Adaptive scaling",
        description='Lets the cluster grow and shrink, such as {"minimum": 0, "maximum": 20}. Empty: fixed size.',
    )

    @field_validator("cluster_kwargs", "adapt_kwargs")
    @classmethod
    def _numbers_as_numbers(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Read numbers and truth values that came as text, from a command line or a form."""
        return {name: _scalar(value) for name, value in given.items()}

    @model_validator(mode="after")
    def _one_way_only(self) -> Cluster:
        if self.address and (self.cluster_class or self.cluster_kwargs or self.adapt_kwargs):
            raise ValueError(
                "an address excludes cluster_class, cluster_kwargs and adapt_kwargs: give one of them"
            )
        return self

    def shares_results(self) -> bool:
        """Whether the workers' result storage is this process's: on this machine, or in a bucket for all."""
        here = self.address is None and self.cluster_class is None
        return here or PREFECT_DEFAULT_RESULT_STORAGE_BLOCK.value() is not None

    def runner(self) -> DaskTaskRunner:
        """Return the task runner that this describes. Starts nothing."""
        from prefect_dask.task_runners import DaskTaskRunner

        if self.address:
            return DaskTaskRunner(address=self.address)
        return DaskTaskRunner(
            cluster_class=self.cluster_class,
            cluster_kwargs=self.cluster_kwargs if self.cluster_class else _LOCAL | self.cluster_kwargs,
            adapt_kwargs=self.adapt_kwargs,
        )


def _scalar(value: Any) -> Any:
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return read if isinstance(read, (bool, int, float)) else value


_QUIET = ("DASK_LOGGING__DISTRIBUTED", "warning")
_LOCAL = {
    "n_workers": cores(),
    "threads_per_worker": 1,
    "dashboard_address": "127.0.0.1:0",
}


def _place(inputs: Mapping[str, Any]) -> tuple[str, str]:
    return inputs["store"], inputs["digest"]


@task(
    name="piece",
    task_run_name="{label}",
    cache_policy=ReceiptKey(version="v1", parts=_place),
    result_serializer="json",
    **RETRYING,
)
def run_piece(work: Callable[[Any], Any], piece: Any, store: str, digest: str, label: str) -> Any:  # noqa: ARG001 - they name the run and its result
    """Do one piece of a large job, with array work on this thread alone.

    Parameters
    ----------
    work
        What to do, given by the core.
    piece
        A frozen, JSON-able value that says which part.
    store
        URL of the Zarr store that the piece belongs to.
    digest
        Digest of everything that decides what the piece writes.
    label
        What the run is called.
    """
    send_core_logs()
    with dask.config.set(scheduler="synchronous"):
        return work(piece)


@contextmanager
def pieces_on(cluster: Cluster, verb: str, store: str) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give a `map` whose calls run as Prefect tasks on a Dask cluster, which ends with the context.

    Parameters
    ----------
    cluster
        Where to compute.
    verb
        What is done to each piece; begins the names of the task runs.
    store
        URL of the Zarr store that is written.

    Yields
    ------
    callable
        ``map(work, pieces)``: an iterator over the results, in the order of the pieces, each of which has a
        ``digest``. It raises what the first piece that failed raised. A piece that a dead run had finished is
        ``Cached``; asked for a second time within the context, it is done again.
    """
    with ExitStack() as stack:
        pieces = _Pieces(stack, cluster, verb, store)
        yield pieces.map


class _Pieces:
    """The cluster of one context, started when it is first needed, and what has been asked of it."""

    def __init__(self, stack: ExitStack, cluster: Cluster, verb: str, store: str) -> None:
        self._stack = stack
        self._cluster = cluster
        self._verb = verb
        self._store = store
        self._runner: DaskTaskRunner | None = None
        self._asked: set[str] = set()

    def map(self, work: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        """Submit every piece at once; collect the results in order."""
        chosen = list(pieces)
        if not chosen:
            return iter(())
        if self._runner is None:
            self._runner = _start(self._stack, self._cluster)
        futures = {
            f"{self._verb} piece {number} of {len(chosen)}": piece for number, piece in enumerate(chosen, 1)
        }
        return self._collect({label: self._submit(work, piece, label) for label, piece in futures.items()})

    def _submit(self, work: Callable[[Any], Any], piece: Any, label: str) -> PrefectFuture[Any]:
        assert self._runner is not None
        again = piece.digest in self._asked
        self._asked.add(piece.digest)
        task_ = run_piece.with_options(name=f"{self._verb}-piece", refresh_cache=again)
        if not self._cluster.shares_results():
            task_ = task_.with_options(cache_policy=NO_CACHE, persist_result=False)
        given = {"work": work, "piece": piece, "store": self._store, "digest": piece.digest, "label": label}
        return self._runner.submit(task_, given)

    def _collect(self, futures: Mapping[str, PrefectFuture[Any]]) -> Iterator[Any]:
        with progress(self._verb, total=len(futures), unit="pieces") as advance:
            for label, future in futures.items():
                yield future.result()
                advance(label)


def _start(stack: ExitStack, cluster: Cluster) -> DaskTaskRunner:
    """Start the runner, quietly, and tell its workers where the API is."""
    runner = cluster.runner()
    stack.enter_context(_environment(*_QUIET))
    logging.getLogger("distributed").setLevel(logging.WARNING)
    api = str(get_client(sync_client=True).api_url)
    stack.enter_context(temporary_settings({PREFECT_API_URL: api}))
    stack.enter_context(runner)
    return runner


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable that processes started from here inherit, unless it is set already."""
    given = os.environ.get(name)
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if given is None:
            os.environ.pop(name, None)
