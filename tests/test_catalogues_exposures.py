"""Tables of exposures: every format, and every problem of a table at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from make_catalogues import write_table

from aggrade.catalogues.exposures import read_exposures
from aggrade.catalogues.footprint import Exposure
from aggrade.catalogues.spec import CatalogueSpec, specification
from aggrade.errors import BadInput

TABLE = {
    "visit": np.array([7, 7, 9]),
    "ra": np.array([359.5, -20.0, 10.0]),
    "dec": np.array([0.0, 89.5, -90.0]),
    "size": np.array([0.5, 1.0, 2.0]),
    "band": np.array([1, 2, 3]),
    "depth": np.array([21.5, np.nan, 99.0]),
}
CIRCLES = {"epoch": "visit", "ra": "ra", "dec": "dec", "radius": "size", "limit": "depth"}
CORNERS = {"epoch": "visit", "corners": [("ra", "dec"), ("ra1", "dec1"), ("ra2", "dec2")]}


def spec(path, **footprint):
    """Return a specification with a table of exposures."""
    return specification(
        CatalogueSpec,
        {
            "ra": "ra",
            "dec": "dec",
            "epoch_time": "MJD",
            "time_scale": "utc",
            "epoch": {"filename": r"(\d+)"},
            "measurements": {"g": {"value": "g"}, "r": {"value": "r"}},
            "value_range": (5, 40),
            "footprint": {"exposures": path, **footprint} if footprint else None,
        },
    )


def wrong(path, **footprint):
    """Return the problems of a table, as where → found, expected."""
    with pytest.raises(BadInput) as caught:
        read_exposures(spec(path, **footprint), None)
    return {
        each.where.partition(", column ")[2]: f"{each.found}; {each.expected}"
        for each in caught.value.problems
    }


@pytest.mark.parametrize("suffix", ["fits", "parquet", "csv", "ecsv"])
def test_tables_of_every_format_say_the_same(suffix, tmp_path):
    """Circles, bands by another name, limits: a missing one and a sentinel are not known, one band is left out."""
    path = write_table(tmp_path / f"exposures.{suffix}", TABLE)
    names = {"1": "g", "2": "r", "3": None}
    read = read_exposures(spec(path, **CIRCLES, measurement="band", names=names), None)
    assert read.of_epochs == {
        "7": (
            Exposure(ra=359.5, dec=0.0, radius=0.5, measurement="g", limit=21.5),
            Exposure(ra=-20.0, dec=89.5, radius=1.0, measurement="r"),
        )
    }
    assert read.urls == {str(path)}
    every = read_exposures(spec(path, **CIRCLES), None)
    assert every.of_epochs["9"] == (Exposure(ra=10.0, dec=-90.0, radius=2.0),)


def test_one_radius_serves_all(tmp_path):
    """A number stands for the radius of every exposure."""
    path = write_table(tmp_path / "exposures.csv", TABLE)
    read = read_exposures(spec(path, **{**CIRCLES, "radius": 0.25, "limit": None}), None)
    assert read.of_epochs["9"] == (Exposure(ra=10.0, dec=-90.0, radius=0.25),)


def test_corners_make_polygons(tmp_path):
    """Each row's corners, in the order of the columns, make its polygon; several tables are read as one."""
    corners = {"ra1": [1.0], "dec1": [0.0], "ra2": [0.0], "dec2": [1.0]}
    for night in (1, 2):
        columns = {"visit": [f"v{night}"], "ra": [-float(night)], "dec": [0.0], **corners}
        write_table(tmp_path / f"exposures_{night}.csv", columns)
    read = read_exposures(spec(f"{tmp_path}/exposures_*.csv", **CORNERS), None)
    assert read.of_epochs == {
        f"v{night}": (Exposure(corners=((-float(night), 0.0), (1.0, 0.0), (0.0, 1.0))),) for night in (1, 2)
    }


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("mjd", [61000.25, 61000.5]),
        ("jd", [2461000.75, 2461001.0]),
        ("isot", ["2025-11-21T06:00:00", "2025-11-21 12:00:00"]),
    ],
)
def test_times_are_written_as_in_the_catalogues(form, written, tmp_path):
    """Each exposure's time becomes MJD by the specification's format; one that is missing is the epoch's."""
    frame = pd.DataFrame({**TABLE, "begin": [*written, None]})
    frame.to_csv(tmp_path / "exposures.csv", index=False)
    asked = spec(tmp_path / "exposures.csv", **CIRCLES, time="begin").model_copy(update={"time_format": form})
    found = read_exposures(asked, None).of_epochs
    assert [each.time for each in (*found["7"], *found["9"])] == [61000.25, 61000.5, None]


def test_times_in_another_format_are_told(tmp_path):
    """A JD where an MJD is said is refused."""
    path = write_table(tmp_path / "exposures.csv", {**TABLE, "begin": [2461000.5] * 3})
    assert "is no MJD of our age" in wrong(path, **CIRCLES, time="begin")["begin"]


def test_without_a_table_nothing_is_read():
    """A specification without a footprint, or with an extent, names no table."""
    assert read_exposures(spec("nowhere"), None) is None
    plain = spec("nowhere").model_dump()
    assert (
        read_exposures(specification(CatalogueSpec, {**plain, "footprint": {"extent": "hull"}}), None) is None
    )


def test_missing_columns_and_kinds_are_told_together(tmp_path):
    """Every column that is missing, or holds no numbers, is named with those that are there."""
    columns = {name: values for name, values in TABLE.items() if name not in ("size", "visit")}
    path = write_table(tmp_path / "exposures.parquet", {**columns, "dec": ["north", "south", "north"]})
    found = wrong(path, **CIRCLES)
    assert set(found) == {"visit", "size", "dec"}
    assert "no such column; it among" in found["size"]
    assert "depth" in found["visit"]


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv"])
def test_other_units_than_degrees_are_refused(suffix, tmp_path):
    """Seconds and minutes of arc and radians are refused where the table says them; nothing is converted."""
    units = {"ra": "arcsec", "dec": "rad", "size": "arcmin", "depth": "mag"}
    path = write_table(tmp_path / f"exposures.{suffix}", TABLE, units=units)
    found = wrong(path, **CIRCLES)
    assert set(found) == {"ra", "dec", "size"}
    assert all("degrees" in told for told in found.values())


def test_rows_without_an_epoch_or_a_measurement_are_told(tmp_path):
    """An exposure that names no epoch, or no band, is counted; so is every number that is none it could be."""
    path = tmp_path / "exposures.csv"
    path.write_text("visit,ra,dec,size,band,depth\n,400,91,0.5,g,20\n7,1,1,-1,,1e-40\n8,,1,0.5,g,20\n")
    found = wrong(path, **CIRCLES, measurement="band")
    assert found["visit"] == "1 exposures that name no epoch; one in every row"
    assert found["band"] == "1 exposures that name no measurement; one in every row"
    assert found["ra"] == "2 values such as 400; degrees from -180 to 360"
    assert found["dec"] == "1 values such as 91; degrees from -90 to 90"
    assert found["size"] == "1 values such as -1; degrees from 0 to 180"


def test_limits_that_float32_cannot_hold_are_told(tmp_path):
    """A limit is refused rather than rounded to 0 or infinity."""
    path = write_table(tmp_path / "exposures.csv", {**TABLE, "depth": [1e-42, 20.0, 20.0]})
    asked = spec(path, **CIRCLES).model_copy(update={"value_range": None})
    with pytest.raises(BadInput, match="what float32 can hold"):
        read_exposures(asked, None)


def test_polygons_wider_than_a_hemisphere_are_told(tmp_path):
    """Corners all around the sky bound no region that could be told from its outside."""
    columns = {
        "visit": [1],
        "ra": [0.0],
        "dec": [0.0],
        "ra1": [120.0],
        "dec1": [0.0],
        "ra2": [240.0],
        "dec2": [0.0],
    }
    path = write_table(tmp_path / "exposures.csv", columns)
    assert "1 polygons such as" in wrong(path, **CORNERS)[""]


def test_a_table_that_is_not_there_or_torn_is_bad_input(tmp_path):
    """Where there is no table, or none that can be read, that is said."""
    with pytest.raises(BadInput, match="no catalogues"):
        read_exposures(spec(tmp_path / "exposures.csv", **CIRCLES), None)
    path = write_table(tmp_path / "exposures.csv", TABLE)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BadInput, match="truncated"):
        read_exposures(spec(path, **CIRCLES), None)
