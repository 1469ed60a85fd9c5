"""Pictures of what a run has made, for the Prefect UI."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aggrade.figures.sky import is_placed
from aggrade.lightcurves import LightCurves
from aggrade.observations import count_observations
from aggrade.opening import open_stores
from aggrade.pictures import sky_picture, store_picture
from tasks.artifacts import show_epochs, show_picture
from tasks.credentials import storage_options
from tasks.logs import in_a_run

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from aggrade.receipt import Receipt

__all__ = ["quality_picture", "show_observations", "show_quality"]

logger = logging.getLogger("aggrade.pictures")

_MOST_BYTES = 4 << 30
"""Of cells by status: more of them take minutes to count; ``aggrade sky`` and ``aggrade epochs`` do it when asked."""


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
        As `aggrade.opening.open_stores` and `aggrade.pictures.store_picture`.
    """
    opened = open_stores(store, storage_options=storage_options(credentials))
    chosen = {
        name: part.isel(session=[i for i, one in enumerate(part["session"].values) if str(one) in sessions])
        for name, part in opened.items()
    }
    return store_picture({name: part for name, part in chosen.items() if part.sizes["session"]})


def show_observations(store: str, receipt: Receipt, credentials: str | None) -> None:
    """Show the epochs that a run has brought, and how often each object was observed by now; outside of a run, nothing.

    Parameters
    ----------
    store
        The dataset root.
    receipt
        Of the population.
    credentials
        Name of a block, or None.
    """
    if not in_a_run() or not receipt.layers:
        return
    try:
        curves = LightCurves(store, storage_options=storage_options(credentials))
        if curves.dataset["status"].nbytes > _MOST_BYTES:
            logger.info("the light curves are too many to be counted after each run; aggrade sky draws them")
            return
        counts = count_observations(curves)
        brought = counts.epochs[counts.epochs["epoch"].isin(list(receipt.layers))]
        show_epochs(brought)
        if is_placed(counts.objects):
            png = sky_picture(counts.objects, len(counts.epochs))
            show_picture(png, "sky", "Where objects lie, and how often each was observed")
    except Exception:  # the epochs have landed, whatever becomes of their picture
        logger.warning("the epochs could not be counted and drawn", exc_info=True)
