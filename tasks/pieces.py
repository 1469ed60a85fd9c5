"""Pieces of a large job as Prefect tasks on Dask: the `map` that the core is handed.

The core takes parallelism as an argument. `pieces_on` gives it a `map` that submits Prefect tasks to a
`DaskTaskRunner` and collects every result, so that a piece which failed, or whose worker died, fails the whole.
No cluster is started when nothing is to be done.
"""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from aggrade.errors import Unavailable
from tasks.caching import ReceiptKey, digest_of, refuse_newer_result, understood
from tasks.clusters import running_on
from tasks.logs import send_core_logs
from tasks.progress import progress
from tasks.retrying import RETRYING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prefect.futures import PrefectFuture
    from prefect_dask.task_runners import DaskTaskRunner

    from tasks.clusters import Cluster, Running

__all__ = ["Order", "pieces_on", "run_pieces"]

logger = logging.getLogger("aggrade.pieces")

_MOST_TASKS = 256
_LEAST_BYTES = 32 * 2**20
"""More pieces than that, and smaller ones than this together, are dealt out several to a task: a task costs the flow's
process some 50 ms, and its worker more."""


@dataclass(frozen=True)
class Order:
    """What names a task run and its result.

    Parameters
    ----------
    store
        URL of the Zarr store that the pieces belong to.
    digest
        Digest of everything that decides what the pieces write.
    label
        What the run is called.
    """

    store: str
    digest: str
    label: str


def _place(inputs: Mapping[str, Any]) -> tuple[str, str]:
    return inputs["order"].store, inputs["order"].digest


@task(
    name="pieces",
    task_run_name="{order.label}",
    cache_policy=ReceiptKey(version="v1", parts=_place),
    result_serializer="json",
    **RETRYING,
)
def run_pieces(work: Callable[[Any], Any], pieces: Sequence[Any], order: Order) -> list[Any]:
    """Do some pieces of a large job, one after the other, with array work on this thread alone.

    Parameters
    ----------
    work
        What to do with a piece, given by the core.
    pieces
        Frozen, JSON-able values, each of which says which part, and may say by its ``verb`` what is done to it.
    order
        What names the run and its result.

    Raises
    ------
    Refused
        If a newer aggrade has kept what this task returns.
    """
    send_core_logs()
    refuse_newer_result()
    logger.debug("%s for %s", order.label, order.store)
    with dask.config.set(scheduler="synchronous"):
        return [work(piece) for piece in pieces]


@contextmanager
def pieces_on(
    cluster: Cluster, verb: str, store: str, *, weigh: Callable[[Any], int] | None = None
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give a `map` whose calls run as Prefect tasks on a Dask cluster, which ends with the context.

    Parameters
    ----------
    cluster
        Where to compute.
    verb
        What is done to each piece that doesn't say so by its own ``verb``; begins the names of the task runs.
    store
        URL of the Zarr store that is written.
    weigh
        How many bytes a piece has: small ones share a task, and progress tells bytes. Left out: each has one, up to a few
        hundred.

    Yields
    ------
    callable
        ``map(work, pieces)``: an iterator over the results, in the order of the pieces, each of which has a
        ``digest``. It raises what the first piece that failed raised. A piece that a dead run had finished is
        ``Cached``; asked for a second time within the context, it is done again.
    """
    with ExitStack() as stack:
        yield _Pieces(running_on(stack, cluster), verb, store, weigh).map


class _Pieces:
    """What has been asked of a cluster within one context."""

    def __init__(self, running: Running, verb: str, store: str, weigh: Callable[[Any], int] | None) -> None:
        self._running = running
        self._verb = verb
        self._store = store
        self._weigh = weigh
        self._asked: set[str] = set()

    def map(self, work: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        """Submit every piece at once; collect the results in order."""
        chosen = list(pieces)
        if not chosen:
            return iter(())
        runner = self._running.runner()
        api = str(get_client(sync_client=True).api_url)
        with temporary_settings({PREFECT_API_URL: api}):
            futures = [
                (label, batch, self._submit(runner, work, batch, label))
                for label, batch in _batches(self._verb_of(chosen), chosen, self._weigh or _heavy)
            ]
        return self._collect(futures, chosen)

    def _submit(
        self, runner: DaskTaskRunner, work: Callable[[Any], Any], batch: Sequence[Any], label: str
    ) -> PrefectFuture[list[Any]]:
        digests = [piece.digest for piece in batch]
        again = not self._asked.isdisjoint(digests)
        self._asked.update(digests)
        task_ = run_pieces.with_options(name=f"{self._verb}-pieces", refresh_cache=again)
        if not self._running.cluster.shares_results():
            task_ = task_.with_options(cache_policy=NO_CACHE, persist_result=False)
        digest = digests[0] if len(digests) == 1 else digest_of(digests)
        order = Order(self._store, digest, label)
        return runner.submit(task_, {"work": work, "pieces": batch, "order": order})

    def _collect(
        self, futures: list[tuple[str, list[Any], PrefectFuture[list[Any]]]], pieces: Sequence[Any]
    ) -> Iterator[Any]:
        with progress(
            self._verb_of(pieces), total=len(pieces), unit="pieces", size=self._size(pieces)
        ) as advance:
            for label, batch, future in futures:
                yield from self._result(future)
                advance(label, len(batch), self._size(batch))

    def _result(self, future: PrefectFuture[list[Any]]) -> list[Any]:
        """Return what a task returned. A scheduler that dies takes its futures with it: another attempt finds another."""
        try:
            return understood(future.result())
        except CancelledError as error:
            raise Unavailable(self._running.gone(error)) from error

    def _verb_of(self, pieces: Sequence[Any]) -> str:
        return str(getattr(pieces[0], "verb", self._verb))

    def _size(self, pieces: Sequence[Any]) -> int:
        """Return the bytes of pieces; 0 where nobody knows how many one has."""
        return sum(map(self._weigh, pieces)) if self._weigh else 0


def _heavy(_: Any) -> int:
    return _LEAST_BYTES


def _batches(verb: str, pieces: list[Any], weigh: Callable[[Any], int]) -> Iterator[tuple[str, list[Any]]]:
    """Deal pieces out to tasks, neighbours together, and name the tasks."""
    most, start, size = -(-len(pieces) // _MOST_TASKS), 0, 0
    for stop, piece in enumerate(pieces, 1):
        size += weigh(piece)
        if stop == len(pieces) or (stop - start >= most and size >= _LEAST_BYTES):
            which = f"piece {stop}" if stop - start == 1 else f"pieces {start + 1} to {stop}"
            yield f"{verb} {which} of {len(pieces)}", pieces[start:stop]
            start, size = stop, 0
