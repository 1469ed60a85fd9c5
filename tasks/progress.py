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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.logs import in_a_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

__all__ = ["progress", "terminal"]

logger = logging.getLogger("aggrade.progress")

_SECONDS_BETWEEN_UPDATES = 2.0


@functools.cache
def terminal() -> Console:
    """Return the one console on standard error, so that bars and log lines don't overwrite each other."""
    return Console(stderr=True)


class _Artifact:
    """A progress artifact that is updated every few seconds at most."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._updated = time.monotonic()
        self._id: UUID | None = None
        if in_a_run():
            self._send(0.0)

    def show(self, share: float) -> None:
        """Show a share between 0 and 1; in between updates nothing is sent, at the end always."""
        due = time.monotonic() - self._updated > _SECONDS_BETWEEN_UPDATES or share >= 1.0
        if in_a_run() and due:
            self._send(100.0 * share)

    def _send(self, percent: float) -> None:
        self._updated = time.monotonic()
        try:
            if self._id is None:
                made = create_progress_artifact(percent, description=self._description)
                self._id = cast("UUID", made)
            else:
                update_progress_artifact(self._id, percent)
        except httpx.HTTPError as error:
            logger.warning("progress could not be shown in the Prefect UI: %s", error)


@contextmanager
def progress(
    what: str, *, total: int, unit: str, console: Console | None = None
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
    console
        Where the bar is drawn; by default on standard error, if that is a terminal.

    Yields
    ------
    callable
        ``advance(note, count=1)``, called when units are done.
    """
    console = console or terminal()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    artifact = _Artifact(f"{what}: {total} {unit}")
    done, said = 0, time.monotonic()
    with bar:
        line = bar.add_task(what, total=total)

        def advance(note: str, count: int = 1) -> None:
            nonlocal done, said
            done += count
            if unit != "pieces" or done == total or time.monotonic() - said > _SECONDS_BETWEEN_UPDATES:
                logger.info("%s (%d of %d %s)", note, done, total, unit)
                said = time.monotonic()
            bar.update(line, advance=count, description=note)
            artifact.show(done / total)

        yield advance
