"""Light curves by object, by region and by epoch, each read from the layout that serves the question.

A dataset root holds up to two layouts of the same light curves (``docs/lightcurves.md``): the one they are written in,
epoch by epoch, which is the truth, and a rechunked copy, object by object. Objects and regions are read from the
copy if it shows the state of the original, and from the original otherwise.
"""

from __future__ import annotations

import difflib
import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aggrade.errors import BadInput, Damaged, Problem, raise_all
from aggrade.layout import LIGHTCURVES, LIGHTCURVES_BY_OBJECT, stores_in
from aggrade.lightcurve_dataset import LightCurveDataset
from aggrade.opening import open_dataset, without_superseded
from aggrade.sky import in_box, in_cone, in_coverage, in_polygon
from aggrade.storage import open_storage, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    import xarray as xr
    from numpy.typing import NDArray

    from aggrade.sky import CoverageMap
    from aggrade.storage import Storage

__all__ = ["LightCurves"]

logger = logging.getLogger(__name__)

_MOST_COMPARED = 50_000
_MOST_NAMED = 20


class LightCurves:
    """The light curves of a dataset, as they are at the time of opening.

    Every answer is a lazy `LightCurveDataset`: an xarray Dataset with ``to_timeseries()``, ``to_pandas()`` and
    ``arrays()``. Nothing but ids, positions and names is read before one asks for values. Epochs that were replaced
    or removed are left out.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store of light curves. A local path or URL.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Attributes
    ----------
    layout : str
        Name of the store that objects and regions are read from.
    epoch_layout : str
        Name of the store that epochs are read from.

    Raises
    ------
    BadInput
        If there are no light curves, saying what lies there instead.
    Damaged
        If a store's metadata cannot be read.
    """

    def __init__(
        self, store: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None
    ) -> None:
        store = url_of(store)
        storage = open_storage(store, storage_options)
        self.url = storage.url
        self.layout, by_object, self.epoch_layout, by_epoch = _open_layouts(storage)
        self._by_object_plain = without_superseded(by_object, "epoch")
        self._by_epoch = LightCurveDataset.of(without_superseded(by_epoch, "epoch"))
        logger.info(
            "opened light curves of %d objects in %d epochs of %s; objects from %s, epochs from %s",
            self._by_object_plain.sizes["object"],
            self._by_object_plain.sizes["epoch"],
            self.url,
            self.layout,
            self.epoch_layout,
        )

    def __repr__(self) -> str:
        sizes = self._by_object_plain.sizes
        return (
            f"<LightCurves {self.url}: {sizes['object']} objects, {sizes['epoch']} epochs; "
            f"objects from {self.layout}, epochs from {self.epoch_layout}>"
        )

    @cached_property
    def dataset(self) -> xr.Dataset:
        """Everything, as a plain lazy xarray Dataset of the layout that objects are read from.

        The positions are in memory, the light curves are not; ``dataset.chunk(…)`` makes Dask arrays of them.
        """
        for variable in self._by_object_plain.variables.values():
            if variable.dims == ("object",):
                variable.load()
        return self._by_object_plain

    @cached_property
    def _by_object(self) -> LightCurveDataset:
        return LightCurveDataset.of(self.dataset)

    def lightcurve(self, id: int | str) -> LightCurveDataset:  # noqa: A002 - the name users know
        """Return the light curve of one object.

        Parameters
        ----------
        id
            The object's id, of the type the store has: an integer or a text.

        Returns
        -------
        LightCurveDataset
            ``lightcurves`` (measurement, value, epoch) float32, ``status`` (measurement, epoch) uint8 and so on, lazy,
            epochs in the store's order.

        Raises
        ------
        BadInput
            If there is no such object, naming near misses, or if the id is of another type.
        """
        (index,) = self._indices([id])
        return self._by_object.isel(object=int(index))

    def lightcurves(self, ids: Iterable[int | str]) -> LightCurveDataset:
        """Return the light curves of several objects, in the order of `ids`; reading them reads each chunk once.

        Parameters
        ----------
        ids
            Ids of objects, of the type the store has.

        Returns
        -------
        LightCurveDataset
            ``lightcurves`` (object, measurement, value, epoch) float32 and so on, lazy.

        Raises
        ------
        BadInput
            If any is missing or of another type; every one of them at once.
        """
        if isinstance(ids, (str, bytes)):
            problem = Problem(
                "ids", repr(ids), "several ids", "put it into a list, or call lightcurve()", "object-id"
            )
            raise BadInput(problem)
        return self._take(self._indices(list(ids)))

    def cone(self, ra: float, dec: float, radius: float) -> LightCurveDataset:
        """Return the light curves of every object within a radius, in the store's order.

        Parameters
        ----------
        ra, dec
            Centre in degrees.
        radius
            Degrees on the sky, edge included.

        Returns
        -------
        LightCurveDataset
            As `lightcurves`; without objects if there are none in the region.

        Raises
        ------
        BadInput
            If the region is not made of numbers in their ranges.
        """
        return self._within(in_cone(*self._positions(), (ra, dec), radius))

    def box(self, ra: tuple[float, float], dec: tuple[float, float]) -> LightCurveDataset:
        """Return the light curves of every object between two meridians and two parallels, in the store's order.

        Parameters
        ----------
        ra
            From west to east in degrees: ``(355, 5)`` crosses right ascension 0.
        dec
            From south to north in degrees.

        Returns
        -------
        LightCurveDataset
            As `lightcurves`; without objects if there are none in the region.

        Raises
        ------
        BadInput
            If the region is not made of numbers in their ranges.
        """
        return self._within(in_box(*self._positions(), ra, dec))

    def polygon(self, vertices: Iterable[tuple[float, float]]) -> LightCurveDataset:
        """Return the light curves of every object within a polygon of great circles, in the store's order.

        Parameters
        ----------
        vertices
            ``[(ra, dec), …]`` in degrees, in order, three or more, within a hemisphere; concave ones too.

        Returns
        -------
        LightCurveDataset
            As `lightcurves`; without objects if there are none in the region.

        Raises
        ------
        BadInput
            If the region is not made of positions within a hemisphere.
        """
        return self._within(in_polygon(*self._positions(), vertices))

    def moc(self, coverage: CoverageMap) -> LightCurveDataset:
        """Return the light curves of every object in a coverage map, in the store's order.

        Parameters
        ----------
        coverage
            A ``mocpy.MOC``. mocpy is not installed with aggrade.

        Returns
        -------
        LightCurveDataset
            As `lightcurves`; without objects if there are none in the region.

        Raises
        ------
        BadInput
            If it is no coverage map.
        """
        return self._within(in_coverage(*self._positions(), coverage))

    def map(self, function: Callable[[LightCurveDataset], Any]) -> list[Any]:
        """Call a function with the light curve of every object; see `LightCurveDataset.map_objects`."""
        return self._by_object.map_objects(function)

    def epoch(self, key: str) -> LightCurveDataset:
        """Return what was seen of every object in one epoch.

        Parameters
        ----------
        key
            The epoch's key.

        Returns
        -------
        LightCurveDataset
            ``lightcurves`` (object, measurement, value) float32 and so on, lazy.

        Raises
        ------
        BadInput
            If there is no such epoch, naming near misses, or if the key is no text.
        """
        (index,) = _find(self._by_epoch.indexes["epoch"], [key], "epoch", self.url)
        return self._by_epoch.isel(epoch=int(index))

    def _indices(self, ids: Sequence[Any]) -> NDArray[np.intp]:
        return _find(self._by_object.indexes["object"], ids, "object", self.url)

    def _positions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.dataset["ra"].values, self.dataset["dec"].values

    def _within(self, inside: NDArray[np.bool_]) -> LightCurveDataset:
        return self._take(np.flatnonzero(inside))

    def _take(self, indices: NDArray[np.intp]) -> LightCurveDataset:
        first = int(indices[0]) if len(indices) else 0
        if np.array_equal(indices, np.arange(first, first + len(indices))):
            return self._by_object.isel(object=slice(first, first + len(indices)))
        return self._by_object.isel(object=indices)


def _open_layouts(storage: Storage) -> tuple[str, xr.Dataset, str, xr.Dataset]:
    """Return name and dataset of the layout for objects, then of that for epochs."""
    names = (LIGHTCURVES, LIGHTCURVES_BY_OBJECT)
    original, copy = (open_dataset(storage.within(name)) for name in names)
    if original is None and copy is None:
        alone = open_dataset(storage)
        if alone is None:
            raise BadInput(_no_light_curves(storage, stores_in(storage)))
        name = storage.url.rstrip("/").rpartition("/")[2]
        return name, _checked(alone, storage), name, alone
    if original is None or copy is None:
        name, alone = (names[1], copy) if copy is not None else (names[0], original)
        assert alone is not None
        return name, _checked(alone, storage), name, alone
    _checked(original, storage)
    if _shows_state_of(copy, original):
        return names[1], _checked(copy, storage), names[0], original
    logger.info("%s is behind %s, so objects are read from the latter", names[1], names[0])
    return names[0], original, names[0], original


def _shows_state_of(copy: xr.Dataset, original: xr.Dataset) -> bool:
    source = copy.attrs.get("aggrade", {}).get("source", {})
    mark = original.attrs.get("aggrade", {})
    return bool(source) and all(source.get(key) == mark.get(key) for key in ("generation", "write_id"))


def _checked(dataset: xr.Dataset, storage: Storage) -> xr.Dataset:
    if (
        not {"lightcurves", "status", "ra", "dec"} <= set(dataset.variables)
        or "object" not in dataset.indexes
    ):
        raise BadInput(_no_light_curves(storage, sorted(map(str, dataset.data_vars))))
    return dataset


def _no_light_curves(storage: Storage, there: Sequence[str]) -> Problem:
    found = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
    return Problem(
        storage.url,
        found or "no store",
        f"{LIGHTCURVES}, {LIGHTCURVES_BY_OBJECT}, or a Zarr store of light curves",
        "name a folder that populate_epochs has written to",
        "no-lightcurves",
    )


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _wrong_types(index: pd.Index[Any], labels: Sequence[Any], what: str) -> Iterator[Problem]:
    integers = index.dtype.kind in "iu"
    kinds, expected = ((int, np.integer), "an integer") if integers else ((str,), "a text")
    for label in labels:
        if not isinstance(label, kinds) or isinstance(label, bool):
            fix = (
                f"give {expected}; the first one here is {_plain(index[0])!r}"
                if len(index)
                else f"give {expected}"
            )
            yield Problem(
                f"{what} id", f"{_plain(label)!r}, a {type(label).__name__}", expected, fix, f"{what}-type"
            )


def _near(index: pd.Index[Any], label: Any) -> list[str]:
    names = [str(name) for name in index] if len(index) <= _MOST_COMPARED else []
    near = difflib.get_close_matches(str(label), names, n=3, cutoff=0.6)
    if not near and len(index):
        ordered = index.sort_values()
        at = int(ordered.searchsorted(label))
        near = [str(name) for name in ordered[max(at - 1, 0) : at + 1]]
    return near


def _unknown(index: pd.Index[Any], labels: Sequence[Any], what: str, url: str) -> Iterator[Problem]:
    for label in labels[:_MOST_NAMED]:
        near = ", ".join(_near(index, label))
        fix = f"try one of {near}" if near else "populate the store first"
        yield Problem(
            url, f"no {what} {_plain(label)!r}", f"one of its {len(index)} {what}s", fix, f"unknown-{what}"
        )
    if len(labels) > _MOST_NAMED:
        found = f"{len(labels) - _MOST_NAMED} more unknown {what}s"
        yield Problem(
            url, found, f"{what}s that are there", "see dataset.indexes for all of them", f"unknown-{what}"
        )


def _find(index: pd.Index[Any], labels: Sequence[Any], what: str, url: str) -> NDArray[np.intp]:
    """Return where labels lie, or raise with every one that doesn't."""
    raise_all(list(_wrong_types(index, labels, what))[:_MOST_NAMED], BadInput)
    if not index.is_unique:
        found = f"{what} {_plain(index[index.duplicated()][0])!r} twice"
        raise Damaged(
            Problem(
                url, found, f"each {what} once", "verify the store, then restore a backup", f"twice-{what}"
            )
        )
    if not len(labels):
        return np.empty(0, np.intp)
    found_at = _positions_of(index, labels)
    raise_all(_unknown(index, [labels[int(at)] for at in np.flatnonzero(found_at < 0)], what, url), BadInput)
    return found_at


def _positions_of(index: pd.Index[Any], labels: Sequence[Any]) -> NDArray[np.intp]:
    """Return where labels lie, -1 for those that don't. Integers are never compared as floats."""
    if index.dtype.kind not in "iu":
        return np.asarray(index.get_indexer(pd.Index(list(labels), dtype=object)), np.intp)
    limits = np.iinfo(index.to_numpy().dtype)
    fits = np.array([limits.min <= int(label) <= limits.max for label in labels])
    numbers = [int(label) if fit else 0 for label, fit in zip(labels, fits, strict=True)]
    at = index.get_indexer(pd.Index(np.array(numbers, limits.dtype)))
    return np.where(fits, at, -1).astype(np.intp)
