"""The flows as commands of the command line, each made when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flows.arguments import command_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PLACES"]

PLACES = {
    "ingest": "flows.ingest_sessions:ingest_sessions",
    "populate": "flows.populate_epochs:populate_epochs",
    "rechunk": "flows.rechunk_store:rechunk_store",
    "pipeline": "flows.pipeline:pipeline",
    "maintain": "flows.maintain_store:maintain_store",
    "resume": "flows.resume_crashed:resume_crashed",
}
"""Subcommand → its flow."""


def __getattr__(name: str) -> Callable[..., Any]:
    """Make the command of a flow."""
    if name not in PLACES:
        raise AttributeError(f"module 'flows.commands' has no attribute {name!r}")
    module, _, attribute = PLACES[name].partition(":")
    return command_of(getattr(importlib.import_module(module), attribute))
