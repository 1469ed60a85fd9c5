"""Pictures of what a run has made, for the Prefect UI."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aggrade.opening import open_windows
from aggrade.pictures import store_picture
from tasks.artifacts import show_picture
from tasks.credentials import storage_options
from tasks.logs import in_a_run

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from aggrade.receipt import Receipt

__all__ = ["quality_picture", "show_quality"]

logger = logging.getLogger("aggrade.pictures")


def show_quality(store: str, receipts: Sequence[Receipt], credentials: str | None) -> None:
    """Show the quality of the sessions that a run has brought; outside of a run, do nothing.

    Parameters
    ----------
    store
        The dataset root.
    receipts
        Of the commits that brought them.
    credentials
        Name of a block, or None.
    """
    sessions = {label for receipt in receipts for label in receipt.layers}
    if not in_a_run() or not sessions:
        return
    try:
        png = quality_picture(store, sessions, credentials)
    except Exception:  # the sessions have landed, whatever becomes of their picture
        logger.warning("the quality of the sessions could not be drawn", exc_info=True)
        return
    show_picture(png, "quality", "Quality of the windows that this run has brought")


def quality_picture(store: str, sessions: Collection[str], credentials: str | None) -> bytes:
    """Draw the quality of some sessions of a dataset; return a PNG file.

    Parameters
    ----------
    store, credentials
        As for `show_quality`.
    sessions
        Their ids.

    Raises
    ------
    AggradeError
        As `aggrade.open_windows` and `aggrade.pictures.store_picture`.
    """
    opened = open_windows(store, storage_options=storage_options(credentials))
    chosen = [row for row, session in enumerate(opened["session"].values) if str(session) in sessions]
    return store_picture(opened.isel(session=chosen))
