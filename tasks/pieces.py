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
from tasks.telling import Heard, hearing, telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

    from tasks.clusters import Cluster, Running

__all__ = ["Order", "pieces_on", "run_pieces"]

logger = logging.getLogger("aggrade.pieces")

_MOST_TASKS = 256
_SECONDS_BETWEEN_LOOKS = 2.0
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
    topic
        Under which the worker tells what it has moved; empty if nobody listens.
    """

    store: str
    digest: str
    label: str
    topic: str = ""


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
    with dask.config.set(scheduler="synchronous"), telling(order.topic, order.digest):
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


@dataclass(frozen=True)
class _Batch:
    """Pieces that share a task."""

    label: str
    pieces: Sequence[Any]

    @property
    def digest(self) -> str:
        """Names what they write; that of a piece that is alone."""
        digests = [piece.digest for piece in self.pieces]
        return str(digests[0]) if len(digests) == 1 else digest_of(digests)


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
        return self._results(work, chosen) if chosen else iter(())

    def _results(self, work: Callable[[Any], Any], chosen: Sequence[Any]) -> Iterator[Any]:
        verb = self._verb_of(chosen)
        batches = [_Batch(label, batch) for label, batch in _batches(verb, chosen, self._weigh or _heavy)]
        with ExitStack() as stack:
            heard = self._hear(stack, batches)
            futures = self._submit_all(work, batches, heard.topic)
            how: dict[str, Any] = {"total": len(chosen), "unit": "pieces", "size": self._size(chosen)}
            advance = stack.enter_context(progress(verb, **how))
            for batch, future in zip(batches, futures, strict=True):
                while heard.topic and not _is_over(future):
                    future.wait(_SECONDS_BETWEEN_LOOKS)
                    advance(verb, 0, heard.take())
                yield from self._result(future)
                advance(batch.label, len(batch.pieces), heard.take() + heard.finish(batch.digest))

    def _hear(self, stack: ExitStack, batches: Sequence[_Batch]) -> Heard:
        """Listen to what workers tell, if anybody knows how many bytes a piece has."""
        if self._weigh is None:
            return Heard({})
        sizes = {batch.digest: self._size(batch.pieces) for batch in batches}
        return stack.enter_context(hearing(self._running.runner().client, sizes))

    def _submit_all(
        self, work: Callable[[Any], Any], batches: Sequence[_Batch], topic: str
    ) -> list[PrefectDaskFuture[list[Any]]]:
        runner = self._running.runner()
        with temporary_settings({PREFECT_API_URL: str(get_client(sync_client=True).api_url)}):
            return [self._submit(runner, work, batch, topic) for batch in batches]

    def _submit(
        self, runner: DaskTaskRunner, work: Callable[[Any], Any], batch: _Batch, topic: str
    ) -> PrefectDaskFuture[list[Any]]:
        digests = {piece.digest for piece in batch.pieces}
        again = not self._asked.isdisjoint(digests)
        self._asked.update(digests)
        task_ = run_pieces.with_options(name=f"{self._verb}-pieces", refresh_cache=again)
        if not self._running.cluster.shares_results():
            task_ = task_.with_options(cache_policy=NO_CACHE, persist_result=False)
        order = Order(self._store, batch.digest, batch.label, topic)
        return runner.submit(task_, {"work": work, "pieces": batch.pieces, "order": order})

    def _result(self, future: PrefectDaskFuture[list[Any]]) -> list[Any]:
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


def _is_over(future: PrefectDaskFuture[Any]) -> bool:
    return bool(future.wrapped_future.done())  # type: ignore[no-untyped-call]


def _heavy(_: Any) -> int:
    return _LEAST_BYTES


def _batches(
    verb: str, pieces: Sequence[Any], weigh: Callable[[Any], int]
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Deal pieces out to tasks, neighbours together, and name the tasks."""
    most, start, size = -(-len(pieces) // _MOST_TASKS), 0, 0
    for stop, piece in enumerate(pieces, 1):
        size += weigh(piece)
        if stop == len(pieces) or (stop - start >= most and size >= _LEAST_BYTES):
            which = f"piece {stop}" if stop - start == 1 else f"pieces {start + 1} to {stop}"
            yield f"{verb} {which} of {len(pieces)}", pieces[start:stop]
            start, size = stop, 0
