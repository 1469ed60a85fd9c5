"""aggrade grows Zarr stores on S3, layer upon layer, and never damages what lies there.

The names below are the whole public interface. Each is loaded when it is first used, so that importing
aggrade costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggrade.append_plan import AppendPlan
    from aggrade.appending import append
    from aggrade.backups import list_backups, prune_backups
    from aggrade.catalogues.planning import PopulatePlan
    from aggrade.catalogues.spec import CatalogueSpec, MatchSpec, Measurement
    from aggrade.errors import AggradeError, BadInput, Conflict, Damaged, Problem, Refused, Unavailable
    from aggrade.exporting import HatsExport, export_hats
    from aggrade.lightcurves import LightCurves
    from aggrade.opening import open_windows
    from aggrade.populating import populate
    from aggrade.receipt import Receipt
    from aggrade.rechunking import RechunkPlan, rechunk
    from aggrade.recovering import recover
    from aggrade.remove_plan import RemovePlan
    from aggrade.removing import remove
    from aggrade.restore_plan import RestorePlan
    from aggrade.restoring import restore
    from aggrade.session_catalogue import read_catalogue, rebuild_catalogue
    from aggrade.verifying import Report, verify
    from aggrade.window_reader import WindowReader
    from aggrade.window_spec import WindowSpec
    from aggrade.windowing import cut_windows

__version__ = "0.1.0"

_HOMES = {
    "aggrade.append_plan": ("AppendPlan",),
    "aggrade.appending": ("append",),
    "aggrade.backups": ("list_backups", "prune_backups"),
    "aggrade.catalogues.planning": ("PopulatePlan",),
    "aggrade.catalogues.spec": ("CatalogueSpec", "MatchSpec", "Measurement"),
    "aggrade.errors": (
        "AggradeError",
        "BadInput",
        "Conflict",
        "Damaged",
        "Problem",
        "Refused",
        "Unavailable",
    ),
    "aggrade.exporting": ("HatsExport", "export_hats"),
    "aggrade.lightcurves": ("LightCurves",),
    "aggrade.opening": ("open_windows",),
    "aggrade.populating": ("populate",),
    "aggrade.receipt": ("Receipt",),
    "aggrade.rechunking": ("RechunkPlan", "rechunk"),
    "aggrade.recovering": ("recover",),
    "aggrade.remove_plan": ("RemovePlan",),
    "aggrade.removing": ("remove",),
    "aggrade.restore_plan": ("RestorePlan",),
    "aggrade.restoring": ("restore",),
    "aggrade.session_catalogue": ("read_catalogue", "rebuild_catalogue"),
    "aggrade.verifying": ("Report", "verify"),
    "aggrade.window_reader": ("WindowReader",),
    "aggrade.window_spec": ("WindowSpec",),
    "aggrade.windowing": ("cut_windows",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AggradeError",
    "AppendPlan",
    "BadInput",
    "CatalogueSpec",
    "Conflict",
    "Damaged",
    "HatsExport",
    "LightCurves",
    "MatchSpec",
    "Measurement",
    "PopulatePlan",
    "Problem",
    "Receipt",
    "RechunkPlan",
    "Refused",
    "RemovePlan",
    "Report",
    "RestorePlan",
    "Unavailable",
    "WindowReader",
    "WindowSpec",
    "append",
    "cut_windows",
    "export_hats",
    "list_backups",
    "open_windows",
    "populate",
    "prune_backups",
    "read_catalogue",
    "rebuild_catalogue",
    "rechunk",
    "recover",
    "remove",
    "restore",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aggrade' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
