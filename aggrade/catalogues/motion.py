"""Proper motion: where objects are at an epoch, by astropy's ``apply_space_motion``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from aggrade.catalogues.positions import within_turn

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Motion", "moved"]

_PARSECS = 1.0  # without a radial velocity the path on the sky is the same at any distance


class Motion(NamedTuple):
    """How objects move on the sky; NaN where it isn't known.

    Parameters
    ----------
    pmra, pmdec
        (object,) float64, mas per Julian year; `pmra` includes the cosine of the declination.
    ref_epoch
        (object,) float64 Julian years: when the objects are at their positions.
    """

    pmra: NDArray[np.float64]
    pmdec: NDArray[np.float64]
    ref_epoch: NDArray[np.float64]

    def taken(self, objects: Any) -> Self:
        """Return the motion of some of the objects."""
        return type(self)(*(values[objects] for values in self))

    def followed_by(self, count: int) -> Self:
        """Return the motion with so many further objects of which none is known."""
        return type(self)(*(np.append(values, np.full(count, np.nan)) for values in self))


def moved(
    ra: NDArray[np.float64], dec: NDArray[np.float64], motion: Motion, mjd: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where objects are at a time; those whose motion is zero or unknown stay bit by bit.

    Scales of time are not told apart: a minute is less than a milliarcsecond for every star.

    Parameters
    ----------
    ra, dec
        (object,) degrees at the reference epoch.
    motion
        How they move.
    mjd
        When; where it is NaN, they stay.

    Returns
    -------
    ra, dec
        (object,) float64 degrees, 0 ≤ ra < 360.
    """
    going = np.flatnonzero(
        np.isfinite(motion.pmra + motion.pmdec + ra) & ((motion.pmra != 0) | (motion.pmdec != 0))
    )
    if not len(going) or np.isnan(mjd):
        return ra, dec
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    yearly = units.mas / units.yr
    start = SkyCoord(
        ra[going] * units.deg,
        dec[going] * units.deg,
        distance=np.full(len(going), _PARSECS) * units.pc,
        pm_ra_cosdec=motion.pmra[going] * yearly,
        pm_dec=motion.pmdec[going] * yearly,
        obstime=Time(motion.ref_epoch[going], format="jyear", scale="tdb"),
    )
    end = start.apply_space_motion(new_obstime=Time(mjd, format="mjd", scale="tdb"))
    ra, dec = ra.copy(), dec.copy()
    ra[going], dec[going] = within_turn(end.ra.deg), end.dec.deg
    return ra, dec
