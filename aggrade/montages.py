"""The name of a session's montage: sessions that bear the same one can share a store."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from aggrade.modalities import MODALITIES

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["montage_of"]

_DIGITS = 8


def montage_of(dataset: xr.Dataset) -> str:
    """Return the name of a session's montage, which follows from its channels and nominal rates alone.

    It says how many channels of each modality there are and at which rate, and ends in a digest of their names,
    units, types and rates, in their order.

    Parameters
    ----------
    dataset
        One session, as `aggrade.cut_windows` returns it.

    >>> montage_of(session)
    'eeg64-500Hz_fnirs40-10Hz_5f0c1a9e'
    """
    told = {modality: _told(dataset, modality) for modality in MODALITIES if f"{modality}_channel" in dataset}
    parts = [f"{name}{len(each['channel'])}{_rate(each['rate'])}" for name, each in told.items()]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return "_".join([*parts, digest[:_DIGITS]])


def _told(dataset: xr.Dataset, modality: str) -> dict[str, Any]:
    about = {"channel": f"{modality}_channel"}
    about |= {key: f"{modality}_channel_{key}" for key in ("unit", "type")}
    lists = {key: list(map(str, dataset[name].values)) for key, name in about.items() if name in dataset}
    rate = dataset.attrs.get(f"{modality}_nominal_rate")
    return {**lists, "rate": None if rate is None else float(rate)}


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"-{rate:g}Hz"
