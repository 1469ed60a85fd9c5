"""Quality variables that aggrade learnt of after its first version: older stores grow without them.

A store has its variables for life. A session cut by a newer aggrade still fits into an older store, since these
variables can be worked out again from samples or sources; any other variable that a store lacks is refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["LATER", "without_later_variables"]

LATER = frozenset(
    {
        *(f"{m}_{name}" for m in ("eeg", "fnirs") for name in ("channel_bad", "nan_count", "rail")),
        *(f"fnirs_{name}" for name in ("peak_to_peak", "flat", "scalp_coupling")),
        "eeg_line_noise",
    }
)

_log = logging.getLogger(__name__)


def without_later_variables(dataset: xr.Dataset, stored: xr.Dataset) -> xr.Dataset:
    """Return sessions without those of `LATER` that their store was made without.

    Parameters
    ----------
    dataset
        Sessions.
    stored
        The store's dataset; of it, names alone matter. A modality that it lacks altogether is left as it is.
    """
    lacking = sorted(
        name
        for name in LATER
        & {str(name) for name in dataset.data_vars} - {str(name) for name in stored.variables}
        if name.partition("_")[0] in stored.variables
    )
    if not lacking:
        return dataset
    _log.info("left out, as the store was made without them: %s", ", ".join(lacking))
    return dataset.drop_vars(lacking)
