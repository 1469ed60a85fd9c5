"""The core logs through the standard library and never asks who runs it; this hands its records to Prefect."""

from __future__ import annotations

import logging

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

__all__ = ["CORE", "RunLogHandler", "in_a_run", "send_core_logs"]

CORE = "aggrade"


def in_a_run() -> bool:
    """Tell whether this code runs inside a Prefect flow or task run."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


class RunLogHandler(APILogHandler):
    """Sends records to the run they belong to, and leaves alone those that belong to none."""

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """Let through what is logged inside a run."""
        return in_a_run() and super().filter(record)


def send_core_logs() -> None:
    """Send the core's records of level INFO and above to the run that they belong to. Doing it twice is once."""
    logger = logging.getLogger(CORE)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, RunLogHandler) for handler in logger.handlers):
        logger.addHandler(RunLogHandler())
