"""How often objects were observed, and what each epoch holds: counts of cells by their status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aggrade.catalogues.epochs import DETECTED, FLAGGED, LIMIT, NOT_OBSERVED
from aggrade.lightcurve_dataset import LightCurveDataset

if TYPE_CHECKING:
    from aggrade.lightcurves import LightCurves

__all__ = ["Observations", "count_observations"]

_KINDS = {"detections": DETECTED, "limits": LIMIT, "flagged": FLAGGED}


@dataclass(frozen=True, eq=False)
class Observations:
    """How often each object was observed, and what each epoch holds.

    Parameters
    ----------
    objects
        A row per object, in the store's order: ``object``, ``ra`` and ``dec`` in degrees where the store has them,
        ``epochs`` in which it was observed at all, and its cells by status: ``detections``, ``limits``, ``flagged``.
    epochs
        A row per epoch, by time: ``epoch``, ``epoch_time`` in days (MJD), ``objects`` observed in it, and its cells by
        status.
    """

    objects: pd.DataFrame
    epochs: pd.DataFrame


def count_observations(curves: LightCurves) -> Observations:
    """Count the cells of all light curves by their status, which is read once, some tens of megabytes at a time.

    Parameters
    ----------
    curves
        The light curves.
    """
    dataset = curves.dataset
    told = {name: dataset[name].values for name in ("object", "ra", "dec") if name in dataset.variables}
    objects: list[pd.DataFrame] = []
    epochs = np.zeros((1 + len(_KINDS), dataset.sizes["epoch"]), np.int64)
    for block in LightCurveDataset.of(dataset).blocks():
        status = block["status"].transpose("object", "measurement", "epoch").values
        kinds = {name: (status == kind).sum(axis=1) for name, kind in _KINDS.items()}
        counts = {"epochs": (status != NOT_OBSERVED).any(axis=1), **kinds}
        objects.append(pd.DataFrame({name: each.sum(axis=1) for name, each in counts.items()}))
        epochs += [each.sum(axis=0) for each in counts.values()]
    counted = pd.concat([pd.DataFrame(told), pd.concat(objects, ignore_index=True)], axis=1)
    times = {"epoch": dataset["epoch"].values, "epoch_time": dataset["epoch_time"].values}
    table = pd.DataFrame(times | dict(zip(("objects", *_KINDS), epochs, strict=True)))
    return Observations(counted, table.sort_values("epoch_time", ignore_index=True, kind="stable"))
