"""Running a flow by hand: quiet logs, one clear sentence for an error, a Prefect server for the time of the run."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from rich.logging import RichHandler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect.settings.legacy import Setting
    from rich.console import Console

__all__ = ["QuietHandler", "at_terminal", "terminal_settings"]


class QuietHandler(RichHandler):
    """Shows what the core reports, and of Prefect only warnings, without tracebacks.

    Parameters
    ----------
    console
        Where to write.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(
            console=console, show_path=False, show_time=False, markup=False, rich_tracebacks=False
        )

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """Let through warnings, and the core's own reports."""
        loud = record.levelno >= logging.WARNING or record.name.partition(".")[0] == "aggrade"
        reported = record.name.startswith("prefect.") and record.levelno >= logging.ERROR
        return loud and not reported and super().filter(record)


def terminal_settings(*, has_server: bool) -> dict[Setting, Any]:
    """Return Prefect settings for a run by hand, where the user has not chosen others.

    Parameters
    ----------
    has_server
        Whether a Prefect server is named. Where none is, one is started for this run only: nobody watches its
        heartbeats, each of which would cost a run a second.
    """
    chosen: dict[Setting, Any] = {
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore",
    }
    return chosen if has_server else chosen | {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}


@contextmanager
def at_terminal(console: Console, *, debug: bool = False) -> Iterator[None]:
    """Show the core's reports instead of Prefect's while the context lasts.

    Parameters
    ----------
    console
        Where to write.
    debug
        Leave Prefect's own output, with tracebacks, as it is.
    """
    settings: Mapping[Setting, Any] = terminal_settings(has_server=bool(PREFECT_API_URL.value()))
    with temporary_settings(set_defaults=settings):
        if debug:
            yield
            return
        root = logging.getLogger()
        before = root.handlers[:]
        root.handlers = [h for h in before if not isinstance(h, PrefectConsoleHandler)] + [
            QuietHandler(console)
        ]
        try:
            yield
        finally:
            root.handlers = before
