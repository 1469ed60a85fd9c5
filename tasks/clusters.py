"""Where the pieces of a large job are computed: a Dask cluster, described by parameters, started when it is needed."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

import dask
from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aggrade.errors import Problem, Unavailable
from aggrade.settings import cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_dask.task_runners import DaskTaskRunner

__all__ = ["Cluster", "Running", "dask_setup", "one_cluster", "running_on"]

logger = logging.getLogger("aggrade.clusters")


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
_LOCAL_LINK = {"distributed.dashboard.link": "{scheme}://127.0.0.1:{port}/status"}
_LOCAL = {
    "n_workers": cores(),
    "threads_per_worker": 1,
    "dashboard_address": "127.0.0.1:0",
    "preload": [__name__],
}


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which the terminal sends to every process, to the one that started the workers.

    Dask calls this when a worker begins, as "Custom Initialization" of its documentation says.

    Parameters
    ----------
    worker
        The worker that begins.
    """
    if parent_process() is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        logger.debug("%s ignores interrupts", worker)


class Running:
    """A cluster that is started when it is first needed, and ends with its context."""

    def __init__(self, stack: ExitStack, cluster: Cluster) -> None:
        self.cluster = cluster
        self._stack = stack
        self._runner: DaskTaskRunner | None = None

    def gone(self, error: BaseException) -> Problem:
        """Say that the cluster does not answer, or has lost what it had to do."""
        where = self.cluster.address or self.cluster.cluster_class or "on this machine"
        found = f"{type(error).__name__}: {error}".strip(": ")
        fix = "start its scheduler again, and run again: what is done stays done"
        return Problem(f"Dask cluster {where}", found, "a scheduler that answers", fix, "cluster-gone")

    def runner(self) -> DaskTaskRunner:
        """Return the runner, started, quietly.

        Raises
        ------
        Unavailable
            If the scheduler does not answer.
        """
        if self._runner is None:
            runner = self.cluster.runner()
            logging.getLogger("distributed").setLevel(logging.WARNING)
            self._stack.enter_context(runner)
            link = {} if self.cluster.address or self.cluster.cluster_class else _LOCAL_LINK
            with _environment(*_QUIET), dask.config.set(link):
                try:
                    logger.info("the Dask dashboard is at %s", runner.client.dashboard_link)
                except OSError as error:
                    raise Unavailable(self.gone(error)) from error
            self._runner = runner
        return self._runner


_SHARED: ContextVar[Running | None] = ContextVar("shared", default=None)


def running_on(stack: ExitStack, cluster: Cluster) -> Running:
    """Return a cluster that ends with `stack`, or the one that `one_cluster` shares, if that is asked for."""
    shared = _SHARED.get()
    return shared if shared is not None and shared.cluster == cluster else Running(stack, cluster)


@contextmanager
def one_cluster(cluster: Cluster) -> Iterator[None]:
    """Let every `pieces_on` of this context that wants this cluster use the same one.

    Parameters
    ----------
    cluster
        Where to compute. It is started when the first piece is submitted, and ends with the context.
    """
    with ExitStack() as stack:
        before = _SHARED.set(Running(stack, cluster))
        try:
            yield
        finally:
            _SHARED.reset(before)


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
