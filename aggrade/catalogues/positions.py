"""Positions on the sphere: unit vectors, angles, HEALPix. Degrees throughout; nothing here knows where RA wraps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HEALPIX_ORDER", "chord", "degrees_of", "healpix", "separation", "unit_vectors", "within_turn"]

HEALPIX_ORDER = 29


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (row, 3) float64 unit vectors of positions in degrees."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def degrees_of(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return right ascension, 0 ≤ ra < 360, and declination in degrees of (row, 3) vectors of any length."""
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    return within_turn(np.degrees(np.arctan2(y, x))), np.degrees(np.arctan2(z, np.hypot(x, y)))


def within_turn(ra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right ascensions, 0 ≤ ra < 360; those that are within already stay bit by bit."""
    turned = np.where((ra < 0) | (ra >= 360), np.mod(ra, 360.0), ra)
    return np.where(turned >= 360, 0.0, turned)


def separation(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (row,) angles in arcseconds between (row, 3) unit vectors, exact from microarcseconds to 180°.

    W. Kahan's formula: 2 atan2(|a - b|, |a + b|).
    """
    apart = np.linalg.norm(one - other, axis=-1)
    return np.asarray(np.degrees(2 * np.arctan2(apart, np.linalg.norm(one + other, axis=-1))) * 3600)


def chord(arcsec: float) -> float:
    """Return the straight distance on the unit sphere of an angle in arcseconds."""
    return float(2 * np.sin(np.radians(arcsec / 3600) / 2))


def healpix(
    ra: NDArray[np.float64], dec: NDArray[np.float64], order: int = HEALPIX_ORDER
) -> NDArray[np.int64]:
    """Return (row,) HEALPix NESTED indices of positions in degrees; -1 where there is no position."""
    from astropy import units
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    found = np.full(len(ra), -1, np.int64)
    there = np.isfinite(ra) & np.isfinite(dec)
    if there.any():
        lon = Longitude(within_turn(ra[there]), units.deg)
        lat = Latitude(dec[there], units.deg)
        found[there] = lonlat_to_healpix(lon, lat, order).astype(np.int64)
    return found
