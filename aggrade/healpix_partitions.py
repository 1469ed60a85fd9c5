"""Which HEALPix cells a catalogue is cut into, so that each holds at most so many of its objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aggrade.catalogues.positions import HEALPIX_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Partition", "partitions"]

_PIXELS_PER_FOLDER = 10_000
_FINEST = 18  # some 0.8 arcsec


class Partition(NamedTuple):
    """A HEALPix cell and the objects in it.

    Parameters
    ----------
    order, pixel
        The cell's order, and its index in the NESTED scheme.
    objects
        (object,) int64 indices, sorted by their HEALPix index.
    """

    order: int
    pixel: int
    objects: NDArray[np.intp]

    @property
    def path(self) -> str:
        """Where its file lies below a HATS catalogue's folder ``dataset``."""
        folder = self.pixel // _PIXELS_PER_FOLDER * _PIXELS_PER_FOLDER
        return f"Norder={self.order}/Dir={folder}/Npix={self.pixel}.parquet"

    @property
    def sky(self) -> float:
        """Fraction of the sky that it covers."""
        return float(1 / (12 * 4**self.order))


def partitions(healpix: NDArray[np.int64], most: int) -> list[Partition]:
    """Cut objects into the largest cells that hold at most so many of them.

    Cells of order 18 aren't cut any more.

    Parameters
    ----------
    healpix
        (object,) NESTED indices of order 29; objects at -1 are in no cell.
    most
        Objects per cell.

    Returns
    -------
    list of Partition
        In the order of the sky; no two overlap, and none is empty.
    """
    order = np.argsort(healpix, kind="stable")
    order = order[np.searchsorted(healpix[order], 0) :]
    return list(_cut(order, healpix[order], 0, most))


def _cut(objects: NDArray[np.intp], healpix: NDArray[np.int64], order: int, most: int) -> Iterator[Partition]:
    """Yield the cells of objects that are sorted by their index, of this order or finer."""
    pixels, starts = np.unique(healpix >> 2 * (HEALPIX_ORDER - order), return_index=True)
    stops = np.append(starts[1:], len(objects))[: len(starts)]
    for pixel, start, stop in zip(pixels, starts, stops, strict=True):
        inside = slice(start, stop)
        if stop - start <= most or order == _FINEST:
            yield Partition(order, int(pixel), objects[inside])
        else:
            yield from _cut(objects[inside], healpix[inside], order + 1, most)
