"""Several lazy datasets as one along a dimension, without reading them and without Dask.

`xarray.concat` reads what it joins unless it is a Dask array, and a Dask graph has a task for every chunk of every
store. Here, joining costs nothing per chunk: an index into the whole is split into indices into the parts.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Place = int | NDArray[np.intp]

__all__ = ["duplicates", "placed", "unite"]

_ABSENT = -1
_ENCODING = ("fill_value", "_FillValue", "dtype")
_APART = "open the stores one by one"


def _theirs(place: Place, indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Translate indices into the whole into indices into a part, -1 where it has none.

    A place is the part's length, or for each index into the whole the index into the part.
    """
    if isinstance(place, int):
        return np.where(indices < place, indices, _ABSENT)
    return place[indices]


def _as_slice(indices: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    span = slice(int(indices[0]), int(indices[0]) + len(indices))
    return span if np.array_equal(indices, np.arange(span.start, span.stop)) else indices


def _read(
    variable: xr.Variable, places: Sequence[Place], wanted: Sequence[NDArray[np.intp]], out: NDArray[Any]
) -> None:
    """Put what a part has of the wanted indices into `out`, which has their shape."""
    theirs = [_theirs(place, indices) for place, indices in zip(places, wanted, strict=True)]
    present = [np.flatnonzero(indices != _ABSENT) for indices in theirs]
    if all(len(at) for at in present):
        index = tuple(_as_slice(indices[at]) for indices, at in zip(theirs, present, strict=True))
        out[np.ix_(*present)] = variable[index].values


@dataclass
class _Joined(BackendArray):
    """The arrays of one name, read when they are indexed, one behind the other along `axis`.

    Parameters
    ----------
    variables
        The lazy array of each part, None where it has none.
    places
        Of each part, one place per dimension; that of `axis` is the part's length.
    starts
        (part + 1,) where each part begins along `axis`.
    axis, shape, dtype, fill
        Of the whole.
    """

    variables: Sequence[xr.Variable | None]
    places: Sequence[Sequence[Place]]
    starts: NDArray[np.intp]
    axis: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        support = indexing.IndexingSupport.OUTER
        found: NDArray[Any] = indexing.explicit_indexing_adapter(key, self.shape, support, self._outer)
        return found

    def _outer(self, key: tuple[Any, ...]) -> NDArray[Any]:
        wanted = [np.atleast_1d(np.arange(size)[item]) for item, size in zip(key, self.shape, strict=True)]
        whole = np.full([len(indices) for indices in wanted], self.fill, self.dtype)
        rows = wanted[self.axis]
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        for owner in np.unique(owners):
            self._read_part(int(owner), wanted, np.flatnonzero(owners == owner), whole)
        scalars = [0 if isinstance(item, (int, np.integer)) else slice(None) for item in key]
        return np.asarray(whole[tuple(scalars)], self.dtype)

    def _read_part(
        self, owner: int, wanted: Sequence[NDArray[np.intp]], at: NDArray[np.intp], whole: NDArray[Any]
    ) -> None:
        variable = self.variables[owner]
        if variable is not None:
            theirs = [*wanted]
            theirs[self.axis] = wanted[self.axis][at] - self.starts[owner]
            index: Any = (*[slice(None)] * self.axis, at)
            block = whole[index]
            _read(variable, self.places[owner], theirs, block)
            whole[index] = block


@dataclass
class _Whole:
    """What the parts make together: length, labels and places along each dimension, and what does not fit."""

    parts: Mapping[str, xr.Dataset]
    dim: str
    below: str = ""
    sizes: dict[Hashable, int] = field(default_factory=dict)
    labels: dict[Hashable, list[Any]] = field(default_factory=dict)
    places: dict[Hashable, list[Place]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def dimensions(self, ragged: Sequence[str]) -> None:
        """Find out length, labels and places along every dimension."""
        for dim in dict.fromkeys(dim for part in self.parts.values() for dim in part.dims):
            lengths = [part.sizes.get(dim, 0) for part in self.parts.values()]
            self.places[dim] = list(lengths)
            self.sizes[dim] = sum(lengths) if dim == self.dim else max(lengths)
            if dim != self.dim and dim not in ragged:
                self._align(dim)

    def _align(self, dim: Hashable) -> None:
        having = {name: part for name, part in self.parts.items() if dim in part.dims}
        if all(dim in part.indexes for part in having.values()):
            known = list(dict.fromkeys(label for part in having.values() for label in part.indexes[dim]))
            self.labels[dim], self.sizes[dim] = known, len(known)
            self.places[dim] = [
                part.indexes[dim].get_indexer(pd.Index(known)) if dim in part.dims else 0
                for part in self.parts.values()
            ]
        else:
            self._same(f"dimension {dim}", {name: part.sizes[dim] for name, part in having.items()})

    def _differ(self, where: str, found: str, part: str) -> None:
        """Note that one part differs from those before it, and how it is opened instead."""
        one = f", such as {self.below}/{part}" if self.below else ""
        expected = "the same in every store that is opened with others"
        self.problems.append(Problem(where, found, expected, f"{_APART}{one}", "stores-differ"))

    def _same(self, where: str, values: Mapping[str, Any]) -> None:
        """Note a problem if the parts differ in what must be the same."""
        texts = {name: json.dumps(value, sort_keys=True, default=str) for name, value in values.items()}
        first = next(iter(texts))
        other = next((name for name, text in texts.items() if text != texts[first]), None)
        if other is not None:
            self._differ(where, f"{values[first]} in {first} and {values[other]} in {other}", other)

    def variable(self, name: Hashable) -> xr.Variable:
        """Join the arrays of one name, or note why that cannot be."""
        variables = [part.variables.get(name) for part in self.parts.values()]
        having = {
            part: variable
            for part, variable in zip(self.parts, variables, strict=True)
            if variable is not None
        }
        reference = next(iter(having.values()))
        before = len(self.problems)
        self._same(f"attributes of {name}", {part: variable.attrs for part, variable in having.items()})
        self._same(
            f"dimensions of {name}",
            {part: list(map(str, variable.dims)) for part, variable in having.items()},
        )
        if len(self.problems) > before:
            return reference
        join = self._join if self.dim in reference.dims else self._merge
        dtype = np.result_type(*(variable.dtype for variable in having.values()))
        encoding = {key: value for key, value in reference.encoding.items() if key in _ENCODING}
        return xr.Variable(reference.dims, join(name, variables, reference, dtype), reference.attrs, encoding)

    def labelled(self, dim: Hashable) -> xr.Variable:
        """Return the coordinate of a dimension with labels."""
        reference = next(part.variables[dim] for part in self.parts.values() if dim in part.dims)
        return xr.Variable((dim,), np.asarray(self.labels[dim], reference.dtype), reference.attrs)

    def _places(self, dims: Sequence[Hashable]) -> list[list[Place]]:
        return [[self.places[dim][index] for dim in dims] for index in range(len(self.parts))]

    def _join(
        self,
        _name: Hashable,
        variables: Sequence[xr.Variable | None],
        reference: xr.Variable,
        dtype: np.dtype[Any],
    ) -> indexing.LazilyIndexedArray:
        lengths = [part.sizes[self.dim] for part in self.parts.values()]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
        shape = tuple(self.sizes[dim] for dim in reference.dims)
        axis, fill = reference.dims.index(self.dim), _fill_of(variables, dtype)
        places = self._places(reference.dims)
        return indexing.LazilyIndexedArray(_Joined(variables, places, starts, axis, shape, dtype, fill))

    def _merge(
        self,
        name: Hashable,
        variables: Sequence[xr.Variable | None],
        reference: xr.Variable,
        dtype: np.dtype[Any],
    ) -> NDArray[Any]:
        """Merge what each part holds for itself; where two parts hold a value, it must be the same."""
        shape = tuple(self.sizes[dim] for dim in reference.dims)
        whole, known = np.full(shape, _fill_of(variables, dtype), dtype), np.zeros(shape, bool)
        wanted = [np.arange(size) for size in shape]
        for part, variable, places in zip(self.parts, variables, self._places(reference.dims), strict=True):
            if variable is None:
                continue
            mine, held = whole.copy(), np.zeros(shape, bool)
            _read(variable, places, wanted, mine)
            _read(xr.Variable(variable.dims, np.ones(variable.shape, bool)), places, wanted, held)
            if (known & held & ~_equal(mine, whole)).any():
                self._differ(str(name), f"other values in {part} than in the stores before it", part)
            whole, known = np.where(known, whole, mine).astype(dtype), known | held
        return whole


def placed(variable: xr.Variable, places: Mapping[Hashable, NDArray[np.intp]], fill: Any) -> xr.Variable:
    """Put a variable into a larger one, lazily.

    Parameters
    ----------
    variable
        With at least one dimension.
    places
        Dimension → for each index into the larger one the index into this one, -1 where it has none.
    fill
        What stands there.
    """
    own: list[Place] = [places.get(dim, size) for dim, size in variable.sizes.items()]
    shape = tuple(place if isinstance(place, int) else len(place) for place in own)
    whole = _Joined([variable], [own], np.array([0, shape[0]]), 0, shape, variable.dtype, fill)
    return xr.Variable(
        variable.dims, indexing.LazilyIndexedArray(whole), variable.attrs, dict(variable.encoding)
    )


def _equal(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((one == other) | ((one != one) & (other != other)))  # noqa: PLR0124 - only NaN differs from itself


def _fill_of(variables: Sequence[xr.Variable | None], dtype: np.dtype[Any]) -> Any:
    declared = (variable.encoding.get("fill_value") for variable in variables if variable is not None)
    known = next((fill for fill in declared if fill is not None), None)
    if dtype.kind == "f":
        return np.nan
    return known if known is not None else ("" if dtype.kind in "OUT" else np.zeros((), dtype)[()])


def duplicates(parts: Mapping[str, xr.Dataset], dim: str, below: str) -> Iterator[Problem]:
    """Yield the labels that lie in several parts. Parameters as for `unite`."""
    lying: dict[Any, list[str]] = {}
    for name, part in parts.items():
        for label in part.indexes.get(dim, ()):
            lying.setdefault(label, []).append(name)
    for label, names in lying.items():
        if len(names) > 1:
            fix = f"{_APART}, and remove it from the one where it doesn't belong"
            if below:
                command = _removal(f"{below}/{names[0]}", label, dim)
                fix += f", such as {command} (given the root alone, it is taken out of all)"
            yield Problem(
                f"{dim} {label!r}",
                f"it in {' and in '.join(names)}",
                "it in one place",
                fix,
                "duplicate-label",
            )


def _removal(store: str, label: Any, dim: str) -> str:
    return shlex.join(["aggrade", "remove", "--dim", dim, "--", store, str(label)])


def _common_attributes(parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Merge attributes on which all parts that have them agree; a store's bookkeeping is its own."""
    merged: dict[Hashable, Any] = {}
    texts: dict[Hashable, set[str]] = {}
    for part in parts:
        for key, value in part.attrs.items():
            merged.setdefault(key, value)
            texts.setdefault(key, set()).add(json.dumps(value, sort_keys=True, default=str))
    return {str(key): value for key, value in merged.items() if len(texts[key]) == 1 and key != "aggrade"}


def unite(
    parts: Mapping[str, xr.Dataset], *, dim: str, ragged: Sequence[str] = (), below: str = ""
) -> xr.Dataset:
    """Join datasets along a dimension, lazily.

    Parameters
    ----------
    parts
        Name of each part, for messages → the dataset, which has `dim`. At least one.
    dim
        Along which they are joined, in their order.
    ragged
        Dimensions that may differ in length; the shorter parts are filled up at their end.
    below
        The dataset root, if the parts' names are paths below it; for messages.

    Returns
    -------
    xarray.Dataset
        Every variable of every part. Along dimensions with labels, the union of labels in the order of their
        first appearance; what a part does not have is the fill that its store declares, of the same type.
        Attributes of the dataset are kept where all parts that have them agree. A single part comes back as it is.

    Raises
    ------
    BadInput
        With every reason: two parts hold the same label along `dim`; a dimension without labels differs in length;
        the attributes of a variable differ; a value without `dim` differs under the same label.
    """
    if len(parts) == 1:
        return next(iter(parts.values()))
    whole = _Whole(parts, dim, below, problems=list(duplicates(parts, dim, below)))
    whole.dimensions(ragged)
    raise_all(whole.problems, BadInput)
    names = dict.fromkeys(
        name for part in parts.values() for name in part.variables if name not in whole.labels
    )
    variables = {name: whole.variable(name) for name in names}
    raise_all(whole.problems, BadInput)
    variables |= {other: whole.labelled(other) for other in whole.labels}
    coordinates = {name for part in parts.values() for name in part.coords}
    united = xr.Dataset(variables, attrs=_common_attributes(list(parts.values())))
    return united.set_coords(sorted(coordinates, key=str))
