"""How far a long step is: a bar on the terminal, a progress artifact in the Prefect UI."""

from __future__ import annotations

import functools
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from aggrade.price import human_bytes
from tasks.logs import in_a_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

__all__ = ["pace", "progress", "terminal"]

logger = logging.getLogger("aggrade.progress")

_SECONDS_BETWEEN_UPDATES = 2.0
_SECONDS_BETWEEN_NEWS = 30.0
"""Between lines of a log while no unit ends."""


@functools.cache
def terminal() -> Console:
    """Return the one console on standard error, so that bars and log lines don't overwrite each other."""
    return Console(stderr=True)


def pace(done: int, size: int, seconds: float) -> str:
    """Say how many bytes are done, how fast that went, and how long the rest will take.

    Parameters
    ----------
    done, size
        Bytes that are done, and bytes in all.
    seconds
        How long it took.

    >>> pace(500_000_000, 2_000_000_000, 10.0)
    '500.0 MB of 2.0 GB, 50.0 MB/s, 30 s left'
    """
    told = f"{human_bytes(done)} of {human_bytes(size)}"
    if not done or seconds <= 0:
        return told
    left = round(seconds * (size - done) / done)
    minutes = f"{left // 60} min {left % 60} s" if left >= 60 else f"{left} s"
    return f"{told}, {human_bytes(done / seconds)}/s, {minutes} left"


class _Artifact:
    """A progress artifact that is updated every few seconds at most."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._updated = time.monotonic()
        self._id: UUID | None = None
        if in_a_run():
            self._send(0.0, "")

    def show(self, share: float, told: str = "") -> None:
        """Show a share between 0 and 1; in between updates nothing is sent, at the end always."""
        due = time.monotonic() - self._updated > _SECONDS_BETWEEN_UPDATES or share >= 1.0
        if in_a_run() and due:
            self._send(100.0 * share, told)

    def _send(self, percent: float, told: str) -> None:
        self._updated = time.monotonic()
        try:
            if self._id is None:
                made = create_progress_artifact(percent, description=self._description)
                self._id = cast("UUID", made)
            else:
                description = f"{self._description}; {told}" if told else self._description
                update_progress_artifact(self._id, percent, description=description)
        except httpx.HTTPError as error:
            logger.warning("progress could not be shown in the Prefect UI: %s", error)


@contextmanager
def progress(
    what: str, *, total: int, unit: str, size: int = 0, console: Console | None = None
) -> Iterator[Callable[..., None]]:
    """Show the progress of a long step while the context lasts.

    Parameters
    ----------
    what
        What is done, as a verb.
    total
        How many units there are.
    unit
        The unit's plural.
    size
        Bytes of all units together, where they are known; then bytes, rate and time left are told, too.
    console
        Where the bar is drawn; by default on standard error, if that is a terminal.

    Yields
    ------
    callable
        ``advance(note, count=1, moving=0)``, called when units of so many bytes are done, or, with a count of 0, when so
        many bytes of a unit are.
    """
    console = console or terminal()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counted]} " + unit),
        TextColumn("{task.fields[told]}") if size else TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    artifact = _Artifact(f"{what}: {total} {unit}")
    done, moved, began = 0, 0, time.monotonic()
    said = began
    with bar:
        line = bar.add_task(what, total=size or total, told="", counted=f"0/{total}")

        def advance(note: str, count: int = 1, moving: int = 0) -> None:
            nonlocal done, moved, said
            done, moved = done + count, moved + moving
            told = pace(moved, size, time.monotonic() - began) if size else ""
            patience = _SECONDS_BETWEEN_UPDATES if count else _SECONDS_BETWEEN_NEWS
            if (unit != "pieces" and count) or done == total or time.monotonic() - said > patience:
                logger.info("%s (%d of %d %s%s)", note, done, total, unit, f"; {told}" if told else "")
                said = time.monotonic()
            completed = moved if size else done
            bar.update(line, completed=completed, description=note, told=told, counted=f"{done}/{total}")
            artifact.show(1.0 if done == total else completed / (size or total), told)

        yield advance
