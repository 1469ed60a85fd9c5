"""Running a flow by hand: quiet logs, one clear sentence for an error, a Prefect server for the time of the run."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    PREFECT_SERVER_LOGGING_LEVEL,
    temporary_settings,
)
from rich.text import Text

from aggrade.errors import Problem, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect.settings.legacy import Setting
    from rich.console import Console

__all__ = ["QuietHandler", "at_terminal", "terminal_settings"]


class QuietHandler(logging.Handler):
    """Shows what the core reports, and of Prefect only warnings, a line each and without tracebacks.

    Parameters
    ----------
    console
        Where to write.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """Let through warnings, and the core's own reports."""
        loud = record.levelno >= logging.WARNING or record.name.partition(".")[0] == "aggrade"
        raised_anyway = record.name.startswith("prefect.") and record.levelno >= logging.ERROR
        ends_slowly = record.name == "distributed.nanny" and "still alive after" in record.getMessage()
        return loud and not raised_anyway and not ends_slowly and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a plan goes to standard output, where results go."""
        if record.name == "aggrade.plan":
            print(record.getMessage())
            return
        style = "dim" if record.levelno < logging.WARNING else "yellow"
        self._console.print(Text(record.getMessage(), style=style), soft_wrap=True)


def terminal_settings(*, has_server: bool) -> dict[Setting, Any]:
    """Return Prefect settings for a run by hand, where the user has not chosen others.

    Parameters
    ----------
    has_server
        Whether a Prefect server is named. Where none is, one is started for this run only: nobody watches its
        heartbeats, each of which would cost a run a second, and what it says of being stopped concerns nobody.
    """
    chosen: dict[Setting, Any] = {
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore",
    }
    own = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_SERVER_LOGGING_LEVEL: "CRITICAL"}
    return chosen if has_server else chosen | own


@contextmanager
def at_terminal(console: Console, *, debug: bool = False) -> Iterator[None]:
    """Run flows by hand while the context lasts.

    The core's reports are shown instead of Prefect's from here on, also when the context has ended: what Prefect
    says when the process ends, and what Dask's workers say, is not for this terminal either.

    Parameters
    ----------
    console
        Where to write.
    debug
        Leave Prefect's own output, with tracebacks, as it is.
    """
    if not debug:
        root = logging.getLogger()
        others = (PrefectConsoleHandler, QuietHandler)
        kept = [handler for handler in root.handlers if not isinstance(handler, others)]
        root.handlers = [*kept, QuietHandler(console)]
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    has_server = bool(PREFECT_API_URL.value())
    if not has_server:
        console.print(
            "this run gets a Prefect server of its own; PREFECT_API_URL names one that keeps its history",
            style="dim",
            soft_wrap=True,
        )
    settings: Mapping[Setting, Any] = terminal_settings(has_server=has_server)
    with temporary_settings(set_defaults=settings), _reached():
        yield


@contextmanager
def _reached() -> Iterator[None]:
    """Turn what Prefect raises where its server does not answer into one sentence."""
    try:
        yield
    except (RuntimeError, httpx.TransportError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("Failed to reach API"):
            raise
        fix = "start it, name another, or unset PREFECT_API_URL: a run without one gets a server of its own"
        url = str(PREFECT_API_URL.value())
        raise Unavailable(Problem(url, "no answer", "a Prefect server", fix, "no-server")) from error
