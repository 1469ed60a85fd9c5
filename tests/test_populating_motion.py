"""Stars that move are found where they are at each epoch, by the motion that the store keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from astropy.table import Table
from make_catalogues import write_table

from aggrade import LightCurves, populate
from aggrade.errors import BadInput, Refused
from aggrade.match_report import match_report

SPEC = {
    "ra": "ra",
    "dec": "dec",
    "epoch_time": "MJD",
    "time_scale": "tai",
    "epoch": {"filename": r"year_(\d+)"},
    "measurements": {"g": {"value": "mag", "error": "err"}},
}
STARS = {
    "object": [1, 2, 3, 4],
    "ra": [359.9995, 40.0, 100.0, 200.0],
    "dec": [0.0, 89.9990, -90.0, 10.0],
    "pmra": [1000.0, 0.0, 0.0, np.nan],
    "pmdec": [0.0, 1000.0, 1000.0, np.nan],
}
YEARS = (2016, 2026, 2036)


def places(year):
    """Return where the stars are, by hand: one crosses RA 0, one the north pole, one leaves the south pole, one rests."""
    degrees = (year - 2016) / 3600
    north = 89.9990 + degrees
    return {
        "ra": [(359.9995 + degrees) % 360, 40.0 if north < 90 else 220.0, 100.0, 200.0],
        "dec": [0.0, min(north, 180 - north), -90 + degrees, 10.0],
    }


@pytest.fixture
def catalogues(tmp_path):
    """Write what was seen in each year."""
    for year in YEARS:
        seen = {**places(year), "mag": [year / 100 + star for star in range(4)], "err": [0.1] * 4}
        mjd = 57388.5 + 365.25 * (year - 2016)
        write_table(tmp_path / "cats" / f"year_{year}.fits", seen, meta={"MJD": mjd})
    return tmp_path / "cats"


def values(store):
    """Return magnitude by star and year."""
    cube = LightCurves(store).dataset
    assert sorted(cube["object"].values.tolist()) == [1, 2, 3, 4]
    return cube["lightcurves"].sel(value="mag", measurement="g").sortby(["object", "epoch"]).values


def test_moving_stars_keep_their_light_curves(catalogues, tmp_path):
    """Over RA 0 and both poles each star has its value in each year, also in years that come later."""
    match = {"radius_arcsec": 2, "reference_epoch": 2016.0}
    first = populate(
        catalogues / "year_20[12]6.fits", tmp_path, SPEC, objects=pd.DataFrame(STARS), match=match
    )
    assert (first.details["matched"], first.details["unmatched"]) == (8, 0)
    later = populate(catalogues, tmp_path, SPEC, match={"radius_arcsec": 2})
    assert (later.details["matched"], later.details["unmatched"]) == (4, 0)
    expected = np.array([[year / 100 + star for year in YEARS] for star in range(4)], "f4")
    np.testing.assert_array_equal(values(tmp_path), expected)
    store = xr.open_zarr(tmp_path / "lightcurves.zarr")
    assert store["pmra"].attrs["units"] == "mas/yr"
    assert dict(zip(store["object"].values.tolist(), store["pmdec"].values.tolist(), strict=True))[2] == 1000
    assert len(match_report(catalogues, str(tmp_path), SPEC, match={"radius_arcsec": 2})) == 0


def test_without_their_motion_they_are_lost(catalogues, tmp_path):
    """The same stars as if they stood still are missed as soon as they have gone farther than the radius."""
    still = pd.DataFrame(STARS).drop(columns=["pmra", "pmdec"])
    receipt = populate(catalogues, tmp_path, SPEC, objects=still, match={"radius_arcsec": 2})
    assert (receipt.details["matched"], receipt.details["unmatched"]) == (4 + 1 + 1, 6)
    assert "pmra" not in xr.open_zarr(tmp_path / "lightcurves.zarr")


def test_new_objects_have_no_motion(catalogues, tmp_path):
    """Objects that are added rest where they were found; those that are there keep their motion."""
    known = pd.DataFrame(STARS).iloc[:3]
    match = {"radius_arcsec": 2, "reference_epoch": 2016.0, "new_objects": "add"}
    receipt = populate(
        catalogues / "year_2016.fits", tmp_path, SPEC, objects=known, match={**match, "new_objects": "ignore"}
    )
    assert receipt.details["unmatched"] == 1
    receipt = populate(catalogues, tmp_path, SPEC, match={"radius_arcsec": 2, "new_objects": "add"})
    assert (receipt.details["added_objects"], receipt.details["unmatched"]) == (1, 0)
    cube = LightCurves(tmp_path).dataset
    assert np.isnan(cube["pmra"].values).tolist() == [False, False, False, True]
    assert int((cube["status"] == 1).sum()) == 4 + 4 + 3


def test_another_motion_is_another_table(catalogues, tmp_path):
    """A store takes no table of objects whose motion differs from its own."""
    match = {"radius_arcsec": 2, "reference_epoch": 2016.0}
    populate(catalogues / "year_2016.fits", tmp_path, SPEC, objects=pd.DataFrame(STARS), match=match)
    other = pd.DataFrame({**STARS, "pmra": [999.0, 0.0, 0.0, np.nan]})
    with pytest.raises(Refused, match="at the same positions"):
        populate(catalogues, tmp_path, SPEC, objects=other, match=match)


STAR = {"id": [1, 2], "ra": [10.0, 10.002], "dec": [0.0, 0.0], "pmra": [1000.0, 0.0], "pmdec": [0.0, 0.0]}


@pytest.mark.parametrize("by", ["id", "sky"])
def test_what_was_looked_at_has_moved(by, tmp_path):
    """A star that came into the exposure since its position was measured was looked at, whichever way rows are matched."""
    seen = {"id": [2], "ra": [10.002], "dec": [0.0], "mjd": [60000.0], "g": [16.0]}
    write_table(tmp_path / "n1.parquet", {name: np.array(values) for name, values in seen.items()})
    exposures = {"visit": ["1"], "ra": [10.002], "dec": [0.0], "radius": [2 / 3600], "depth": [21.0]}
    pd.DataFrame(exposures).to_csv(tmp_path / "exposures.csv", index=False)
    columns = {"epoch": "visit", "ra": "ra", "dec": "dec", "radius": "radius", "limit": "depth"}
    spec = {
        **{name: name for name in ("ra", "dec")},
        "object_id": "id",
        "time": "mjd",
        "time_scale": "tdb",
        "unit": "mag",
        "epoch": {"filename": r"n(\d)"},
        "measurements": {"g": {"value": "g"}},
        "footprint": {"exposures": str(tmp_path / "exposures.csv"), **columns},
    }
    objects = pd.DataFrame({**STAR, "ref_epoch": 2016.0})
    populate(tmp_path / "n1.parquet", tmp_path / "root", spec, objects=objects, match={"by": by})
    cube = LightCurves(str(tmp_path / "root")).dataset.load().sortby("object")
    assert cube["status"].values.ravel().tolist() == [2, 1]
    assert cube["pmra"].values.tolist() == [1000.0, 0.0]
    with pytest.raises(BadInput, match="reference_epoch"):
        populate(tmp_path / "n1.parquet", tmp_path / "no", spec, objects=pd.DataFrame(STAR), match={"by": by})


def test_a_store_without_motion_stays_one(catalogues, tmp_path):
    """By id and without a time at which positions hold, motion is left out; the same table later is no other table."""
    objects = pd.DataFrame({"id": [1, 2, 3, 4], **{name: STARS[name] for name in ("ra", "dec")}})
    spec = {**SPEC, "object_id": "id", "ra": None, "dec": None}
    for path in catalogues.iterdir():
        table = Table.read(path)
        table["id"] = [1, 2, 3, 4]
        table.write(path, overwrite=True)
    populate(catalogues, tmp_path, spec, objects=objects, match={"by": "id"})
    moving = objects.assign(pmra=STARS["pmra"], pmdec=STARS["pmdec"])
    populate(catalogues, tmp_path, spec, objects=moving, match={"by": "id"})
    populate(catalogues, tmp_path, spec, objects=moving.assign(ref_epoch=2016.0), match={"by": "id"})
    assert "pmra" not in LightCurves(str(tmp_path)).dataset
