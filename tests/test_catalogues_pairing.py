"""Values find their errors by the ways that surveys name them."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.pairing import band_of, pairs_among
from aggrade.catalogues.tables import Column


def columns(*names, **units):
    """Return columns of numbers, some with units."""
    return {name: Column.whole(np.ones(2), units.get(name)) for name in (*names, *units)}


@pytest.mark.parametrize(
    ("names", "kind", "pairs"),
    [
        (
            "jd magpsf sigmapsf diffmaglim magap sigmagap",
            "mag",
            [("magpsf", "sigmapsf"), ("magap", "sigmagap")],
        ),
        ("MAG_AUTO MAGERR_AUTO FLUX_RADIUS", "mag", [("MAG_AUTO", "MAGERR_AUTO")]),
        (
            "MAG_APER MAG_APER_1 MAGERR_APER MAGERR_APER_1",
            "mag",
            [("MAG_APER", "MAGERR_APER"), ("MAG_APER_1", "MAGERR_APER_1")],
        ),
        ("MJD Mag Err", "mag", [("Mag", "Err")]),
        ("gmag e_gmag rmag e_rmag", "mag", [("gmag", "e_gmag"), ("rmag", "e_rmag")]),
        ("psfFlux psfFluxErr midpointMjdTai", "flux", [("psfFlux", "psfFluxErr")]),
        ("flux flux_error phot_g_mean_mag", "flux", [("flux", "flux_error")]),
        ("segment_flux segment_fluxerr xcentroid", "flux", [("segment_flux", "segment_fluxerr")]),
        ("flux dflux mag dmag", "mag", [("mag", "dmag")]),
        ("mag ra dec", "mag", [("mag", None)]),
        ("ra dec", "mag", []),
    ],
)
def test_values_find_their_errors(names, kind, pairs):
    """Magnitudes with errors come first, then fluxes with errors, then what has none."""
    assert pairs_among(columns(*names.split())) == (kind, pairs)


def test_units_have_a_say():
    """What is in magnitudes is a magnitude, and what is in janskys a flux, whatever it is called."""
    assert pairs_among(columns(mag="Jy", mag_err="Jy")) == ("flux", [("mag", "mag_err")])
    assert pairs_among(columns(g="mag", g_err="mag")) == ("mag", [("g", "g_err")])
    assert pairs_among(columns(flux="nMgy", sky="nMgy")) == ("flux", [("flux", None)])
    assert pairs_among(columns(mag="arcsec", area="pix2")) == ("mag", [])


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("mag_g", "g"),
        ("psfMag_r", "r"),
        ("gmag", "g"),
        ("mag_auto", ""),
        ("W1mag", "W1"),
        ("MAG_AUTO_I", "I"),
    ],
)
def test_bands_are_told_by_names(name, band):
    """A letter that stands apart, or right before or after the word, is a band."""
    assert band_of(name) == band
