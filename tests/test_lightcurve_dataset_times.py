"""Times of tables come back as they were, in their scale, from catalogue over store to time series."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time
from astropy.timeseries import TimeSeries

from aggrade import LightCurves, populate
from aggrade.errors import BadInput

LEAP_DAY = 57753.0  # 2016-12-31, which ends with a leap second in UTC


@pytest.mark.parametrize("scale", ["tdb", "utc", "tai"])
def test_times_keep_their_scale_and_every_microsecond(tmp_path, scale):
    """Times of rows, some on the day of a leap second, are those of the table to a microsecond, in its scale."""
    rng = np.random.default_rng(6)
    days = np.concatenate(
        [LEAP_DAY + rng.uniform(0, 2, 20), 58000 + rng.uniform(0, 3000, 40), [59999.9999999999]]
    )
    table = Table(
        {
            "id": np.arange(len(days)) % 3,
            "night": [f"n{day:.0f}-{n}" for n, day in enumerate(days // 100)],
            "mag": days,
        }
    )
    table["obs"] = Time(days, format="mjd", scale=scale)
    (tmp_path / "cats").mkdir()
    table.write(tmp_path / "cats/all.ecsv")
    spec = {
        "object_id": "id",
        "time": "obs",
        "time_scale": scale,
        **({"time_ref": "barycentric"} if scale == "tdb" else {}),
        "epoch": {"column": "night"},
        "measurements": {"g": {"value": "mag"}},
        "unit": "mag",
    }
    populate(tmp_path / "cats", tmp_path, spec)
    curves = LightCurves(tmp_path)
    for number in range(3):
        series = curves.lightcurve(number).to_timeseries()
        assert isinstance(series, TimeSeries)
        assert series.time.scale == scale
        exact = np.sort(days[np.arange(len(days)) % 3 == number])
        apart = series.time - Time(exact, format="mjd", scale=scale)
        assert np.abs(apart.to_value("us")).max() < 1


def test_a_catalogue_without_a_time_scale_is_refused(tmp_path):
    """Nothing is written, and the specification is what has to be completed."""
    (tmp_path / "cats").mkdir()
    Table({"id": [1], "t": [60000.0], "mag": [1.0]}).write(tmp_path / "cats/night_1.ecsv")
    spec = {
        "object_id": "id",
        "time": "t",
        "epoch": {"filename": r"night_(\d+)"},
        "measurements": {"g": {"value": "mag"}},
    }
    with pytest.raises(BadInput, match="time_scale"):
        populate(tmp_path / "cats", tmp_path / "store", spec)
    assert not (tmp_path / "store").exists()
