"""Tables, time series and arrays of light curves equal their cells read one by one."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy import units
from astropy.time import Time
from make_stores import light_curves

from aggrade.errors import BadInput
from aggrade.lightcurve_dataset import LightCurveDataset

IDS = [2**60 + 1, 2**60 + 3, 7]


@pytest.fixture
def curves():
    """Give three objects in two bands and six epochs."""
    return LightCurveDataset.of(light_curves(IDS, np.array([1.0, 2.0, 3.0]), np.zeros(3)))


def _truth(dataset):
    """Return (object, epoch, measurement, day, seconds, value, error, status) of every cell seen, by loops."""
    rows = []
    for i, name in enumerate(dataset["object"].values):
        for m, band in enumerate(dataset["measurement"].values):
            for e, key in enumerate(dataset["epoch"].values):
                status = int(dataset["status"].values[i, m, e])
                if status:
                    value, error = dataset["lightcurves"].values[i, m, :, e]
                    seconds = float(dataset["time_offset"].values[i, m, e])
                    day = float(dataset["epoch_time"].values[e])
                    rows.append((int(name), key, band, day, seconds, value, error, status))
    return rows


def _key(row):
    return IDS.index(row[0]), row[3] + row[4] / 86400, row[2]


def test_a_table_has_a_row_per_cell_that_was_seen(curves):
    """Every cell with a status is one row with its own time, sorted by object, time and measurement."""
    frame, truth = curves.to_pandas(), sorted(_truth(curves), key=_key)
    assert list(frame.columns) == [
        "object",
        "epoch",
        "time",
        "measurement",
        "filter",
        "mag",
        "mag_err",
        "unit",
        "status",
    ]
    assert list(frame["object"]) == [row[0] for row in truth]
    assert frame["object"].dtype == np.dtype("i8")
    assert list(frame["epoch"]) == [row[1] for row in truth]
    assert list(frame["measurement"]) == [row[2] for row in truth]
    assert list(frame["time"]) == [row[3] + row[4] / 86400 for row in truth]
    np.testing.assert_array_equal(frame["mag"], [row[5] for row in truth])
    np.testing.assert_array_equal(frame["mag_err"], [row[6] for row in truth])
    assert frame["mag"].dtype == np.dtype("f4")
    assert list(frame["status"]) == [row[7] for row in truth]
    assert set(frame["unit"]) == {"mag"}
    assert frame.attrs == {"time_scale": "tai", "time_ref": "topocentric"}


@pytest.mark.parametrize(
    "selection",
    [
        {"object": 1},
        {"object": 1, "measurement": 0},
        {"epoch": 2},
        {"measurement": 1, "epoch": 0},
        {"object": slice(1, 3)},
    ],
)
def test_what_was_selected_converts_to_the_same_rows(curves, selection):
    """With any dimension indexed away, the table holds exactly the rows of what is left."""
    kept = {
        dim: curves[dim].values[np.atleast_1d(np.arange(curves.sizes[dim])[item])]
        for dim, item in selection.items()
    }
    columns = {"object": 0, "measurement": 2, "epoch": 1}
    truth = [row for row in _truth(curves) if all(row[columns[dim]] in names for dim, names in kept.items())]
    frame = curves.isel(selection).to_pandas()
    assert list(frame["mag"].isna()) == [bool(np.isnan(row[5])) for row in sorted(truth, key=_key)]
    assert [*zip(frame["object"], frame["epoch"], frame["measurement"], strict=True)] == [
        row[:3] for row in sorted(truth, key=_key)
    ]


def test_an_empty_region_gives_an_empty_table(curves):
    """Without objects there are no rows, but all columns."""
    frame = curves.isel(object=slice(0, 0)).to_pandas()
    assert len(frame) == 0
    assert "mag_err" in frame.columns
    assert len(curves.isel(object=slice(0, 0)).to_timeseries()) == 0


@pytest.mark.parametrize("scale", ["tdb", "utc", "tai", "tcb", "tt"])
def test_a_time_series_keeps_the_scale_and_every_microsecond(curves, scale):
    """Times come back in the store's scale, to a microsecond of day plus seconds; units and values with them."""
    curves["epoch_time"].attrs.update(time_scale=scale, time_ref="barycentric")
    series, truth = curves.to_timeseries(), sorted(_truth(curves), key=_key)
    assert series.time.scale == scale
    assert series.meta["time_ref"] == "barycentric"
    exact = Time(
        [row[3] for row in truth], np.array([row[4] for row in truth]) / 86400, format="mjd", scale=scale
    )
    assert np.abs((series.time - exact).to_value(units.us)).max() < 1
    assert series["mag"].unit == units.mag
    assert series["mag_err"].dtype == np.dtype("f4")
    np.testing.assert_array_equal(series["mag"].value, np.array([row[5] for row in truth], "f4"))
    assert list(series["measurement"]) == [row[2] for row in truth]
    assert list(series["object"]) == [row[0] for row in truth]


def test_different_units_are_never_mixed_into_one(curves):
    """Where bands have different units, values stay plain and each row says its unit."""
    mixed = curves.assign_coords(measurement_unit=("measurement", np.array(["nJy", "mag"], object)))
    series = mixed.to_timeseries()
    assert series["mag"].unit is None
    assert set(series["unit"][np.array(series["measurement"]) == "g"]) == {"nJy"}


def test_a_unit_that_astropy_does_not_know_is_kept(curves):
    """Such a unit does not fail, and its name stays readable."""
    strange = curves.assign_coords(measurement_unit=("measurement", np.array(["nMgy", "nMgy"], object)))
    assert str(strange.to_timeseries()["mag"].unit) == "nMgy"


@pytest.mark.parametrize("scale", [None, "bjd"])
def test_a_time_series_needs_a_time_scale(curves, scale):
    """A store whose time scale is missing or unknown is refused, not guessed at."""
    curves["epoch_time"].attrs.pop("time_scale")
    if scale:
        curves["epoch_time"].attrs["time_scale"] = scale
    with pytest.raises(BadInput, match="one of") as caught:
        curves.to_timeseries()
    assert caught.value.code == "time-scale"


def test_arrays_are_sorted_by_time(curves):
    """Arrays have the shape of the dataset without its value dimension, epochs in the order of time."""
    arrays, order = curves.arrays(), np.argsort(curves["epoch_time"].values)
    assert {name: values.shape for name, values in arrays.items()} == dict.fromkeys(
        ("time", "value", "error", "status"), (3, 2, 6)
    )
    for name, index in (("value", 0), ("error", 1)):
        np.testing.assert_array_equal(arrays[name], curves["lightcurves"].values[:, :, index][..., order])
    np.testing.assert_array_equal(arrays["status"], curves["status"].values[..., order])
    days = (
        curves["epoch_time"].values[order] + np.nan_to_num(curves["time_offset"].values[..., order]) / 86400
    )
    np.testing.assert_array_equal(arrays["time"], days)


def test_arrays_of_one_object_and_band_have_one_dimension(curves):
    """Dimensions that were indexed away are gone from the arrays too."""
    assert curves.isel(object=0).arrays()["value"].shape == (2, 6)
    assert curves.isel(object=0, measurement=1).arrays()["time"].shape == (6,)
    assert curves.isel(epoch=1).arrays()["status"].shape == (3, 2)


def test_without_offsets_the_time_is_the_epochs(curves):
    """A store without a time per cell gives each cell its epoch's time."""
    plain = curves.drop_vars(["time_offset", "filter"])
    assert set(plain.to_pandas()["time"]) <= set(curves["epoch_time"].values)
    np.testing.assert_array_equal(plain.arrays()["time"][1, 0], np.sort(curves["epoch_time"].values))


def test_value_and_error_must_both_be_there(curves):
    """With only the value selected there is nothing to make a table of, and the error says what to do."""
    with pytest.raises(BadInput, match="convert before you select") as caught:
        curves.sel(value="mag").to_pandas()
    assert caught.value.code == "value-selected"


def test_it_is_an_xarray_dataset(curves):
    """Whatever xarray derives from it still has the conversions, and it equals the plain dataset."""
    plain = light_curves(IDS, np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert isinstance(curves, xr.Dataset)
    assert curves.identical(plain)
    for derived in (
        curves.isel(object=0),
        curves.sel(measurement="g"),
        curves.copy(),
        curves.sortby("epoch_time"),
    ):
        assert isinstance(derived, LightCurveDataset)


def test_an_arrow_table_holds_the_same_rows(curves):
    """The columns are those of the table, and the schema says scale and place of the times."""
    frame, table = curves.to_pandas(), curves.to_arrow()
    assert table.column_names == list(frame.columns)
    assert table["time"].to_pylist() == frame["time"].tolist()
    assert table["object"].to_pylist() == frame["object"].tolist()
    assert table.schema.metadata == {b"time_scale": b"tai", b"time_ref": b"topocentric"}


def test_a_function_is_called_with_every_object(curves):
    """Results come in the order of the objects, and the function sees each light curve as it is, in memory."""

    def seen(curve):
        assert isinstance(curve, LightCurveDataset)
        return int(curve["object"]), int((curve["status"] == 1).sum())

    truth = [
        (int(curves["object"][i]), int((curves["status"].values[i] == 1).sum())) for i in range(len(IDS))
    ]
    assert curves.map_objects(seen) == truth
    assert curves.isel(object=[2, 0]).map_objects(seen) == [truth[2], truth[0]]
    assert curves.isel(object=[]).map_objects(seen) == []
    with pytest.raises(BadInput, match="one object"):
        curves.isel(object=0).map_objects(seen)


def test_an_error_of_the_function_is_raised(curves):
    """What the function raises comes out as it is."""

    def fail(curve):
        raise ZeroDivisionError(str(curve["object"].item()))

    with pytest.raises(ZeroDivisionError):
        curves.map_objects(fail)
