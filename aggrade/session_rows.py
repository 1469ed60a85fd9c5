"""What the catalogue says of one session: a line, worked out from coordinates and quality, never from samples.

The same function makes it of a session that is being appended and of one that lies in a store, so that both are equal:
values are taken as users see them, in float64, and only those of the session's own windows.
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from aggrade.channels import length_at
from aggrade.modalities import MODALITIES, absent_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["SCHEMA", "chosen", "empty_table", "load", "needed", "table_of"]

SESSION, WINDOW, LABEL = "session", "window", "label"
_TEXTS = ("session_start", "source", "source_digest", "content_digest", "receipt")
_NUMBERS: dict[str, Any] = {
    f"{modality}_{name}": kind
    for name, kind in (("rate_measured", pa.float64()), ("gaps", pa.int64()), ("lost", pa.int64()))
    for modality in MODALITIES
}
_SUMMARIES: dict[str, tuple[str, Callable[[NDArray[np.float64]], Any], Any]] = {
    **{f"{m}_coverage": (f"{m}_coverage", np.mean, pa.float64()) for m in MODALITIES},
    **{f"{m}_coverage_min": (f"{m}_coverage", np.min, pa.float64()) for m in MODALITIES},
    **{f"{m}_surplus": (f"{m}_surplus", np.sum, pa.int64()) for m in MODALITIES},
    "bad_fraction": ("bad_fraction", np.mean, pa.float64()),
    "max_gap": ("max_gap", np.max, pa.float64()),
    "eeg_flat": ("eeg_flat", np.mean, pa.float64()),
    "eeg_peak_to_peak": ("eeg_peak_to_peak", np.median, pa.float64()),
}
_NO_QUALITY = {"window_start", "i_trial", "i_window_in_trial", LABEL}
_PLAIN = {variable for variable, _, _ in _SUMMARIES.values()} | _NO_QUALITY

SCHEMA = pa.schema(
    [
        ("session", pa.string()),
        ("store", pa.string()),
        ("index", pa.int64()),
        ("windows", pa.int64()),
        ("window_size_s", pa.float64()),
        ("duration_s", pa.float64()),
        *((f"{modality}_channels", pa.list_(pa.string())) for modality in MODALITIES),
        ("labels", pa.map_(pa.string(), pa.int64())),
        *((name, kind) for name, (_, _, kind) in _SUMMARIES.items()),
        ("quality", pa.map_(pa.string(), pa.float64())),
        *_NUMBERS.items(),
        *((name, pa.string()) for name in _TEXTS),
    ]
)
"""The catalogue's columns; `docs/windows.md` says what each is."""


def empty_table() -> pa.Table:
    """Return the catalogue of no session."""
    return SCHEMA.empty_table()


def chosen(table: pa.Table, keep: Callable[[str, int], bool]) -> pa.Table:
    """Return the lines whose session and index `keep` says yes to."""
    pairs = zip(table.column("session").to_pylist(), table.column("index").to_pylist(), strict=True)
    return table.filter(pa.array([keep(*pair) for pair in pairs], pa.bool_()))


def needed(variables: Mapping[Any, xr.Variable]) -> list[str]:
    """Return the names of the variables that a line is worked out from; never those that hold samples."""
    return [str(name) for name, variable in variables.items() if _is_needed(str(name), variable.dims)]


def load(variables: Mapping[Any, xr.Variable]) -> dict[str, xr.Variable]:
    """Read what is needed into these very variables, so that lazy ones are read once; return it."""
    return {name: variables[name].load() for name in needed(variables)}


def _is_needed(name: str, dims: tuple[Any, ...]) -> bool:
    if dims == (SESSION,):
        return name in (SESSION, "n_windows", *_TEXTS, *_NUMBERS)
    if dims[:2] == (SESSION, WINDOW):
        return len(dims) == 2 or (len(dims) == 3 and str(dims[2]).endswith("_channel"))
    return dims == (name,) and name in {f"{modality}_channel" for modality in MODALITIES}


def table_of(
    variables: Mapping[Any, xr.Variable],
    rows: Sequence[int],
    *,
    store: str,
    first: int,
    attributes: Mapping[str, Any],
    mark: Mapping[str, Any] = MappingProxyType({}),
) -> pa.Table:
    """Return the lines of some sessions.

    Parameters
    ----------
    variables
        Decoded variables; of them, `needed` are read.
    rows
        Which sessions: indices along ``session`` within `variables`.
    store
        Path of the Zarr store below the dataset root.
    first
        Index in the store of the first session of `variables`.
    attributes
        The store's: ``window_size_s`` and ``mapping`` matter.
    mark
        What aggrade keeps in the store's root: how many channels there were when a session came.
    """
    held = load(variables)
    lines = [
        {"store": store, "index": first + row, **_Session(held, row, attributes, mark, first).line()}
        for row in rows
    ]
    return pa.Table.from_pylist(lines, schema=SCHEMA)


class _Session:
    """One session's values, cut to its own windows; those of a modality that it lacks are left out."""

    def __init__(
        self,
        every: Mapping[str, xr.Variable],
        row: int,
        attributes: Mapping[str, Any],
        mark: Mapping[str, Any],
        first: int,
    ) -> None:
        self._attributes = attributes
        absent = absent_variables(every, SESSION, row)
        held = _on_own_channels(every, row, mark, first)
        self._axes = {name: v.values for name, v in held.items() if SESSION not in v.dims}
        self._values = {
            name: np.asarray(v.values)
            for name, v in held.items()
            if SESSION in every[name].dims and name not in absent
        }
        self._absent = absent | {
            name for name in self._axes if f"{name.partition('_')[0]}_coverage" in absent
        }
        self.windows = self._count()

    def _count(self) -> int | None:
        if "n_windows" in self._values:
            return _whole(self._values["n_windows"])
        starts = self._values.get("window_start")
        return None if starts is None else int(np.isfinite(starts).sum())

    def line(self) -> dict[str, Any]:
        """Return the line's own columns."""
        return {
            "session": str(self._values[SESSION]),
            "windows": self.windows,
            "window_size_s": _number(self._attributes.get("window_size_s")),
            "duration_s": self._duration(),
            **{f"{modality}_channels": self._channels(modality) for modality in MODALITIES},
            "labels": self._labels(),
            **{name: self._summary(name) for name in _SUMMARIES},
            "quality": self._quality(),
            **{name: self._number(name) for name in _NUMBERS},
            **{name: _text(self._values.get(name)) for name in _TEXTS},
        }

    def _own(self, name: str) -> NDArray[np.float64]:
        """Return the numbers of the session's own windows, in order; none where there is nothing to count."""
        values = self._values.get(name)
        if values is None or self.windows is None or values.ndim == 0 or values.dtype.kind not in "biuf":
            return np.empty(0)
        own = np.ascontiguousarray(values[: self.windows], np.float64).ravel()
        return own[~np.isnan(own)]

    def _duration(self) -> float | None:
        starts, size = self._own("window_start"), _number(self._attributes.get("window_size_s"))
        return float(starts[-1] - starts[0] + size) if len(starts) and size is not None else None

    def _channels(self, modality: str) -> list[str] | None:
        name = f"{modality}_channel"
        return None if name in self._absent or name not in self._axes else list(map(str, self._axes[name]))

    def _labels(self) -> list[tuple[str, int]] | None:
        if LABEL not in self._values:
            return None
        counts = Counter(value for value in self._own(LABEL).tolist() if value >= 0)
        return sorted((self._name_of(value), count) for value, count in counts.items())

    def _name_of(self, value: float) -> str:
        mapping = self._attributes.get("mapping")
        names = (
            [str(name) for name, label in mapping.items() if label == value]
            if isinstance(mapping, dict)
            else []
        )
        return "/".join(sorted(names)) or f"{value:g}"

    def _summary(self, column: str) -> float | int | None:
        variable, summarise, kind = _SUMMARIES[column]
        own = self._own(variable)
        if not len(own):
            return None
        return int(summarise(own)) if kind == pa.int64() else float(summarise(own))

    def _quality(self) -> list[tuple[str, float]]:
        """Return the means of what is told of each window beside what has a column."""
        means = {name: self._own(name) for name in sorted(self._values.keys() - _PLAIN)}
        return [(name, float(np.mean(own))) for name, own in means.items() if len(own)]

    def _number(self, name: str) -> float | int | None:
        value = self._values.get(name)
        if value is None or value.dtype.kind not in "biuf":
            return None
        return _whole(value) if _NUMBERS[name] == pa.int64() else _number(value)


def _on_own_channels(
    held: Mapping[str, xr.Variable], row: int, mark: Mapping[str, Any], first: int
) -> dict[str, xr.Variable]:
    """Return one session's values, of its own channels: of those that there were when it came, the recorded ones.

    Where a session need not have all, a channel counts as recorded if anything of it is a number.
    """
    mine = {name: v.isel({SESSION: row}) if SESSION in v.dims else v for name, v in held.items()}
    for dim in mark.get("channels", {}):
        sizes = {size for v in mine.values() for d, size in v.sizes.items() if d == dim}
        length, some = length_at(mark, dim, first + row, max(sizes, default=0))
        own = np.ones(length, bool)
        told = (
            [v for v in mine.values() if dim in v.dims and v.ndim > 1 and v.dtype.kind == "f"] if some else []
        )
        if told:
            own = np.logical_or.reduce([_any_number(v.isel({dim: slice(0, length)}), dim) for v in told])
        mine = {name: v.isel({dim: np.flatnonzero(own)}) if dim in v.dims else v for name, v in mine.items()}
    return mine


def _any_number(variable: xr.Variable, dim: str) -> NDArray[np.bool_]:
    others = tuple(axis for axis, each in enumerate(variable.dims) if each != dim)
    return np.asarray(~np.isnan(variable.values).all(axis=others))


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _text(value: NDArray[Any] | None) -> str | None:
    if value is None:
        return None
    return pd.Timestamp(str(value)).isoformat() if value.dtype.kind == "M" else str(value)
