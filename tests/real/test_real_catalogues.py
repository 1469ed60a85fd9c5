"""Real catalogues against an independent reading of the same files, with pandas alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import aggrade

pytestmark = pytest.mark.real

BANDS = {"g": 1, "r": 2}
COLUMNS = {"value": "magpsf", "error": "sigmapsf", "limit": "diffmaglim"}
SPEC = {
    "object_id": "objectId",
    "ra": "ra",
    "dec": "dec",
    "time": "jd",
    "time_format": "jd",
    "time_scale": "utc",
    "epoch": {"column": "jd"},
    "measurements": {band: {**COLUMNS, "where": {"fid": fid}} for band, fid in BANDS.items()},
    "value": "mag",
    "unit": "mag",
    "value_range": (5, 30),
}


@pytest.fixture(scope="module")
def field(real_data):
    """Return the table of 51 objects and 59 exposures."""
    return pd.read_parquet(real_data / "catalogues" / "ztf_field" / "ztf_field_51obj.parquet")


@pytest.fixture(scope="module")
def root(real_data, tmp_path_factory):
    """Return a dataset root populated from that table."""
    folder = tmp_path_factory.mktemp("ztf")
    aggrade.populate(real_data / "catalogues" / "ztf_field" / "ztf_field_51obj.parquet", str(folder), SPEC)
    return folder


@pytest.fixture(scope="module")
def cube(root):
    """Return the cube as plain xarray reads it."""
    return xr.open_zarr(root / "lightcurves.zarr").load()


@pytest.fixture(scope="module")
def truth(field):
    """Return (object, band, exposure) tables of status, value and error, worked out with pandas alone."""
    pairs = pd.MultiIndex.from_product([sorted(field["objectId"].unique()), sorted(field["jd"].unique())])
    tables = {}
    for band, fid in BANDS.items():
        rows = field[field["fid"] == fid].set_index(["objectId", "jd"]).reindex(pairs)
        seen, known = rows["magpsf"].notna(), rows["diffmaglim"].notna()
        tables[band] = pd.DataFrame(
            {
                "status": np.select([seen, known], [1, 2], 0),
                "value": np.select([seen, known], [rows["magpsf"], rows["diffmaglim"]], np.nan),
                "error": rows["sigmapsf"].where(seen),
            },
            index=pairs,
        )
    return tables


def test_the_table_is_as_its_description_says(field):
    """51 objects, 59 exposures, 66 detections, 752 upper limits, one row per object and exposure."""
    assert field["objectId"].nunique() == 51
    assert field["jd"].nunique() == 59
    assert field["magpsf"].notna().sum() == 66
    assert (field["magpsf"].isna() & field["diffmaglim"].notna()).sum() == 752
    assert not field.duplicated(["objectId", "jd", "fid"]).any()


@pytest.mark.parametrize("band", BANDS)
def test_every_cell_is_that_of_the_table(cube, truth, band):
    """Status, value and error of all 51 x 59 cells of a band are the table's, the empty ones too."""
    expected = truth[band]
    objects, times = (level.tolist() for level in expected.index.levels)
    cells = cube.sel(object=objects, epoch=[str(time) for time in times], measurement=band)
    assert cells["status"].values.ravel().tolist() == expected["status"].tolist()
    for index, name in enumerate(("value", "error")):
        stored = cells["lightcurves"].isel(value=index).values.ravel()
        assert np.array_equal(stored, expected[name].to_numpy("f4"), equal_nan=True)


def test_limits_and_what_was_not_observed_are_told_apart(cube, truth):
    """66 detections, 752 limits and 5,200 cells that were not observed, each kind counted by the ledger too."""
    status = cube["status"].values
    assert [(status == state).sum() for state in range(4)] == [51 * 2 * 59 - 818, 66, 752, 0]
    assert sum(len(table) for table in truth.values()) == status.size
    assert int(cube["cells"].sum()) == int(cube["matched"].sum()) == int(cube["rows"].sum()) == 818
    assert int(cube["unmatched"].sum() + cube["duplicates"].sum() + cube["blank"].sum()) == 0


def test_epochs_have_the_exposures_times(cube, field):
    """Every epoch's time is its JD less 2400000.5, in UTC, and epochs are in order of time."""
    times = np.sort(field["jd"].unique())
    assert cube["epoch"].values.tolist() == [str(float(time)) for time in times]
    assert np.array_equal(cube["epoch_time"].values, times - 2400000.5)
    assert cube["epoch_time"].attrs["time_scale"] == "utc"
    assert "time_offset" not in cube


def test_objects_lie_at_their_mean_positions(cube, field):
    """Each object is within a nanodegree of the mean of its detections' positions."""
    mean = field.groupby("objectId")[["ra", "dec"]].mean().loc[[str(each) for each in cube["object"].values]]
    assert np.abs(cube["ra"].values - mean["ra"].to_numpy()).max() < 1e-8
    assert np.abs(cube["dec"].values - mean["dec"].to_numpy()).max() < 1e-8
    assert (np.diff(cube["healpix"]) > 0).all()


def test_light_curves_are_those_of_the_table(root, field):
    """One object's light curve, asked for by its id, is its rows of the table."""
    curves = aggrade.LightCurves(str(root))
    for name, rows in field[field["magpsf"].notna()].groupby("objectId"):
        found = curves.lightcurve(name).load()
        seen = found["status"].values == 1
        assert seen.sum() == len(rows)
        values = np.sort(found["lightcurves"].isel(value=0).values[seen])
        assert np.array_equal(values, np.sort(rows["magpsf"].to_numpy("f4")))


def test_populating_again_changes_nothing(root, real_data):
    """The same table again is known by its content."""
    path = real_data / "catalogues" / "ztf_field" / "ztf_field_51obj.parquet"
    before = (root / "lightcurves.zarr" / "zarr.json").read_bytes()
    receipt = aggrade.populate(path, str(root), SPEC)
    assert receipt.details["rows"] == 818
    assert (root / "lightcurves.zarr" / "zarr.json").read_bytes() == before
    assert aggrade.verify(str(root)).ok
