"""What a run's log says: the core's own records, and errors of ours as the sentences that they are.

The core logs through the standard library and never asks who runs it; its records are handed to Prefect here.
"""

from __future__ import annotations

import logging
from functools import partial

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from aggrade.errors import AggradeError

__all__ = ["CORE", "PlainErrors", "RunLogHandler", "in_a_run", "send_core_logs"]

CORE = "aggrade"
_RUNS = ("prefect.flow_runs", "prefect.task_runs")


def in_a_run() -> bool:
    """Tell whether this code runs inside a Prefect flow or task run."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


class RunLogHandler(APILogHandler):
    """Sends records to the run they belong to, and leaves alone those that belong to none."""

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """Let through what is logged inside a run."""
        return in_a_run() and super().filter(record)


class PlainErrors(logging.Filter):
    """Leaves of an error of ours what it says, without its traceback, unless the run's logger shows DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, AggradeError) and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            record.exc_info = None
            record.msg, record.args = "%s: %s", (type(error).__name__, error)
        return True


def send_core_logs() -> None:
    """Send the core's records of level INFO and above to the run that they belong to. Doing it twice is once.

    A console that nobody reads any more, as that of a worker which was killed, falls silent and ends no run.
    """
    _outlive_readers()
    for name in _RUNS:
        runs = logging.getLogger(name)
        if not any(isinstance(one, PlainErrors) for one in runs.filters):
            runs.addFilter(PlainErrors())
    logger = logging.getLogger(CORE)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, RunLogHandler) for handler in logger.handlers):
        logger.addHandler(RunLogHandler())


def _outlive_readers() -> None:
    """Let consoles fall silent where rich would end the process, by an exit that even service threads die of."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            fall_silent = partial(setattr, handler.console, "quiet", True)
            handler.console.on_broken_pipe = fall_silent  # type: ignore[method-assign]
