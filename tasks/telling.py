"""How many bytes workers have moved, told to the flow's process while a piece of work lasts.

The core says in its log what it has moved. On a Dask worker such records become events of the scheduler, which hands them on
to whoever has subscribed: the flow, wherever the worker is. An event that gets lost costs nothing but a later bar.
"""

from __future__ import annotations

import logging
import threading
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from tasks.logs import CORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distributed import Client

__all__ = ["Heard", "hearing", "telling"]


class _Telling(logging.Handler):
    """Sends on what the records of one thread say of bytes moved."""

    def __init__(self, topic: str, work: str) -> None:
        super().__init__(logging.INFO)
        self._topic, self._work, self._thread = topic, work, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the scheduler; where there is none, nobody."""
        moved = getattr(record, "moved", 0)
        if moved and record.thread == self._thread:
            with suppress(ValueError):
                get_worker().log_event(self._topic, {"work": self._work, "moved": int(moved)})


@contextmanager
def telling(topic: str, work: str) -> Iterator[None]:
    """Tell, on a Dask worker and while the context lasts, of every byte that this thread's work moves.

    Parameters
    ----------
    topic
        What the flow listens to; if empty, nothing is told.
    work
        Names the work.
    """
    handler = _Telling(topic, work)
    logger = logging.getLogger(CORE)
    if topic:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class Heard:
    """What workers have told so far, no byte twice and none too many.

    Parameters
    ----------
    sizes
        Work → its bytes.
    topic
        What they tell it under.
    """

    def __init__(self, sizes: Mapping[str, int], topic: str = "") -> None:
        self.topic = topic
        self._left = dict(sizes)
        self._new = 0
        self._lock = threading.Lock()

    def hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take in one event: when it was, and what a worker told."""
        _, told = event
        with self._lock:
            moved = min(told["moved"], self._left.get(told["work"], 0))
            if moved:
                self._left[told["work"]] -= moved
                self._new += moved

    def take(self) -> int:
        """Return the bytes told since this was last asked."""
        with self._lock:
            new, self._new = self._new, 0
            return new

    def finish(self, work: str) -> int:
        """Return the bytes of a work that has ended which nobody has told of, and no longer listen to it."""
        with self._lock:
            return self._left.pop(work, 0)


@contextmanager
def hearing(client: Client, sizes: Mapping[str, int]) -> Iterator[Heard]:
    """Listen, while the context lasts, to what a scheduler hands on.

    Parameters
    ----------
    client
        Of the scheduler.
    sizes
        Work → its bytes.
    """
    heard = Heard(sizes, f"aggrade-moved-{uuid.uuid4()}")
    client.subscribe_topic(heard.topic, heard.hear)  # type: ignore[no-untyped-call]
    try:
        yield heard
    finally:
        client.unsubscribe_topic(heard.topic)  # type: ignore[no-untyped-call]
