"""Surveys as they are delivered: each kind of catalogue becomes the same plain cube."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from astropy.io import fits
from astropy.time import Time
from make_catalogues import make_survey, write_ldac, write_table

from aggrade import populate
from aggrade.errors import BadInput

NAN = np.nan
PLAIN = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "epoch_time": "MJD",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "mag", "error": "err"}},
}


def cube(root):
    """Open the store as anyone would."""
    return xr.open_zarr(f"{root}/lightcurves.zarr").load()


def values(dataset, measurement="g"):
    """Return value by object and epoch, of what was detected."""
    one = dataset.sel(measurement=measurement)
    cells = one["lightcurves"].isel(value=0).values
    return pd.DataFrame(cells, index=one["object"].values, columns=one["epoch"].values).sort_index()


def rows(count=4, **changes):
    """Return a few rows."""
    base = {
        "id": np.arange(count) + 100,
        "ra": np.arange(count) * 1.0,
        "dec": np.zeros(count),
        "mag": np.linspace(18, 19, count),
        "err": np.full(count, 0.1),
    }
    return {**base, **changes}


def test_a_file_per_object_and_band(tmp_path):
    """Light curves as delivered, one file per object and band, whose epochs are times that they partly share."""
    rng = np.random.default_rng(4)
    times = 48823 + np.sort(rng.uniform(0, 100, 30)).round(6)
    truth = {}
    for name in ("1.3444.614", "10.4279.1493"):
        for band in "BR":
            mjd = np.sort(rng.choice(times, 20, replace=False))
            mag = rng.normal(-6, 1, 20).round(3)
            truth[name, band] = dict(zip(mjd, mag, strict=True))
            write_table(
                tmp_path / "cats" / f"lc_{name}.{band}.csv", {"MJD": mjd, "Mag": mag, "Err": np.full(20, 0.1)}
            )
    spec = {
        "object_id": {"filename": r"lc_(.+)\.[BR]\.csv"},
        "time": "MJD",
        "time_scale": "utc",
        "epoch": {"column": "MJD"},
        "measurements": [{"value": "Mag", "error": "Err", "name": {"filename": r"\.([BR])\.csv"}}],
    }
    receipt = populate(tmp_path / "cats", str(tmp_path), spec)
    dataset = cube(tmp_path)
    assert dataset["measurement"].values.tolist() == ["B", "R"]
    assert dataset["object"].values.tolist() == ["1.3444.614", "10.4279.1493"]
    assert np.isnan(dataset["ra"]).all()
    assert (dataset["healpix"] == -1).all()
    used = sorted({mjd for each in truth.values() for mjd in each})
    assert dataset["epoch_time"].values.tolist() == used
    for (name, band), curve in truth.items():
        stored = values(dataset, band).loc[name]
        assert stored.dropna().to_dict() == {str(mjd): np.float32(mag) for mjd, mag in curve.items()}
    assert receipt.details["cells"] == 80
    assert receipt.details["duplicates"] == 0


def test_detections_that_are_all_listed_twice(tmp_path):
    """Where every row is repeated, the default refuses; 'first' gives the cube of the rows listed once."""
    survey = make_survey(objects=30, epochs=2)
    survey.write(tmp_path / "once")
    for epoch in range(2):
        doubled = {name: np.repeat(column, 2) for name, column in survey.rows(epoch).items()}
        path = tmp_path / "twice" / f"visit_{epoch:03d}.fits"
        write_table(path, doubled, meta={"MJD-OBS": float(survey.mjd[epoch])})
    with pytest.raises(BadInput, match="rows that repeat another"):
        populate(tmp_path / "twice", str(tmp_path / "a"), survey.SPEC, objects=survey.objects())
    spec = {**survey.SPEC, "duplicates": "first"}
    receipt = populate(tmp_path / "twice", str(tmp_path / "a"), spec, objects=survey.objects())
    plain = populate(tmp_path / "once", str(tmp_path / "b"), survey.SPEC, objects=survey.objects())
    for name in ("lightcurves", "status"):
        xr.testing.assert_equal(cube(tmp_path / "a")[name].variable, cube(tmp_path / "b")[name].variable)
    assert receipt.details["duplicates"] == plain.details["matched"] == receipt.details["matched"]
    assert receipt.details["rows"] == 2 * plain.details["rows"]


@pytest.mark.parametrize(("policy", "kept"), [("first", 18.5), ("best", 18.2)])
def test_of_two_rows_one_is_taken(policy, kept, tmp_path):
    """'first' takes the first row, 'best' the one with the smaller error; the other is counted."""
    doubled = rows(3, id=np.array([7, 7, 8]), mag=np.array([18.5, 18.2, 19]), err=np.array([0.2, 0.1, 0.1]))
    write_table(tmp_path / "cats" / "night_1.fits", doubled, meta={"MJD": 60000.0})
    receipt = populate(tmp_path / "cats", str(tmp_path), {**PLAIN, "duplicates": policy})
    assert values(cube(tmp_path)).loc[7, "1"] == np.float32(kept)
    assert (receipt.details["duplicates"], receipt.details["matched"]) == (1, 2)


def test_fluxes_below_zero_stay(tmp_path):
    """Forced fluxes are kept in their unit, the negative ones too, and limits of flux beside them."""
    forced = rows(
        flux=np.array([-3.5, 0.0, 12.0, NAN]), sigma=np.full(4, 2.0), five=np.array([NAN, NAN, NAN, 10.0])
    )
    write_table(
        tmp_path / "cats" / "night_1.ecsv",
        forced,
        meta={"MJD": 60000.0},
        units={"flux": "nJy", "sigma": "nJy"},
    )
    spec = {
        **PLAIN,
        "value": "flux",
        "measurements": {"g": {"value": "flux", "error": "sigma", "limit": "five"}},
    }
    populate(tmp_path / "cats", str(tmp_path), spec)
    dataset = cube(tmp_path).sortby("object")
    assert dataset["lightcurves"].values[:, 0, 0, 0].tolist() == [-3.5, 0.0, 12.0, 10.0]
    assert dataset["status"].values[:, 0, 0].tolist() == [1, 1, 1, 2]
    assert dataset["value"].values.tolist() == ["flux", "flux_err"]
    assert dataset["measurement_unit"].values.tolist() == ["nJy"]
    assert dataset["lightcurves"].attrs["units"] == "nJy"


@pytest.mark.parametrize(
    ("scale", "ref", "written"),
    [("tdb", "barycentric", "jd"), ("tai", None, "mjd"), ("utc", "heliocentric", "isot")],
)
def test_times_keep_their_scale(scale, ref, written, tmp_path):
    """A table in any scale and form comes back through astropy to the microsecond, with scale and place."""
    times = Time(60000.123456789 + np.arange(4) * 0.1, format="mjd", scale=scale)
    column = times.isot if written == "isot" else getattr(times, written)
    write_table(tmp_path / "cats" / "night_1.csv", rows(when=column))
    spec = {
        **PLAIN,
        "epoch_time": None,
        "time": "when",
        "time_format": written,
        "time_scale": scale,
        "time_ref": ref,
    }
    populate(tmp_path / "cats", str(tmp_path), spec)
    dataset = cube(tmp_path).sortby("object")
    attributes = dataset["epoch_time"].attrs
    assert attributes["time_scale"] == scale
    assert attributes["time_ref"] == (ref or "topocentric")
    mjd = dataset["epoch_time"].values[0] + dataset["time_offset"].values[:, 0, 0] / 86400
    back = Time(mjd, format=attributes["format"], scale=attributes["time_scale"])
    precision = {"isot": 1e-3, "jd": 4.1e-5, "mjd": 2e-6}[written]
    assert np.abs((back - times).sec).max() < precision


def test_an_ldac_catalogue_per_image(tmp_path):
    """SExtractor's FITS_LDAC: time and filter are the image's, matched by sky."""
    for index, band in ((1, "g"), (2, "r")):
        columns = {
            name: column for name, column in rows(mag=np.full(4, 18.0 + index)).items() if name != "id"
        }
        path = tmp_path / "cats" / f"night_{index}.ldac"
        path.parent.mkdir(exist_ok=True)
        write_ldac(path, columns, {"MJD": 60000.0 + index, "FILTER": band})
    spec = {**PLAIN, "object_id": None, "filter": {"header": "FILTER"}}
    populate(tmp_path / "cats", str(tmp_path), spec)
    dataset = cube(tmp_path)
    assert dataset["filter"].values.tolist() == ["g", "r"]
    assert dataset["epoch_time"].values.tolist() == [60001.0, 60002.0]
    assert (values(dataset)["2"] == 20).all()


def test_a_file_per_night_and_band(tmp_path):
    """Two files of one night are one epoch; each band has the time of its own exposure."""
    for night in (1, 2):
        for band, delay in (("g", 0.0), ("r", 0.25)):
            path = tmp_path / "cats" / f"night_{night}_{band}.fits"
            write_table(path, rows(mag=np.full(4, night + delay)), meta={"MJD": 60000.0 + night + delay})
    spec = {**PLAIN, "measurements": [{"value": "mag", "name": {"filename": r"_([gr])\.fits"}}]}
    populate(tmp_path / "cats", str(tmp_path), spec)
    dataset = cube(tmp_path)
    assert dict(dataset.sizes) == {"object": 4, "measurement": 2, "value": 2, "epoch": 2}
    assert dataset["epoch_time"].values.tolist() == [60001.125, 60002.125]
    mjd = dataset["epoch_time"].values + dataset["time_offset"].values / 86400
    assert np.allclose(mjd[:, 0], [60001.0, 60002.0], rtol=0, atol=2e-11)
    assert np.allclose(mjd[:, 1], [60001.25, 60002.25], rtol=0, atol=2e-11)
    assert (values(dataset, "r")["2"] == 2.25).all()


def test_masked_and_nullable_columns(tmp_path):
    """A masked flag is no flag, a null magnitude no detection, and ids beside nulls keep their digits."""
    frame = pd.DataFrame(
        {
            "id": pd.array([2**60 + 1, 2**60 + 3], "Int64"),
            "mag": pd.array([18.5, None], "Float64"),
            "limit": pd.array([None, 21.0], "Float64"),
            "flags": pd.array([None, 1], "Int64"),
            "mjd": [60000.0, 60000.0],
        }
    )
    (tmp_path / "cats").mkdir()
    frame.to_parquet(tmp_path / "cats" / "night_1.parquet")
    measurement = {"value": "mag", "limit": "limit", "flags": "flags"}
    spec = {
        **PLAIN,
        "ra": None,
        "dec": None,
        "epoch_time": None,
        "time": "mjd",
        "measurements": {"g": measurement},
    }
    populate(tmp_path / "cats", str(tmp_path), spec)
    dataset = cube(tmp_path)
    assert dataset["object"].values.tolist() == [2**60 + 1, 2**60 + 3]
    assert dataset["status"].values[:, 0, 0].tolist() == [1, 2]
    assert dataset["lightcurves"].values[:, 0, 0, 0].tolist() == [18.5, 21.0]


def test_a_night_on_which_nothing_was_seen(tmp_path):
    """An empty catalogue is an epoch that is populated and holds nothing, unlike one that never came."""
    write_table(tmp_path / "cats" / "night_1.fits", rows(), meta={"MJD": 60001.0})
    empty = {name: column[:0] for name, column in rows().items()}
    write_table(tmp_path / "cats" / "night_2.fits", empty, meta={"MJD": 60002.0})
    populate(tmp_path / "cats", str(tmp_path), PLAIN)
    dataset = cube(tmp_path)
    assert dataset["populated"].values.tolist() == [1, 1]
    assert dataset["rows"].values.tolist() == [4, 0]
    assert (dataset["status"].sel(epoch="2") == 0).all()


@pytest.mark.parametrize("break_it", ["cut", "column", "unit", "place", "far", "twice", "image"])
def test_each_broken_catalogue_is_told_and_stops_no_other(break_it, tmp_path):
    """Cut short, without a column, in another unit, without or off its place, doubled, or an image: told by name."""
    good = rows()
    spec = {**PLAIN, "object_id": None}
    for index in (1, 2):
        write_table(
            tmp_path / "cats" / f"night_{index}.fits",
            good,
            meta={"MJD": 60000.0 + index},
            units={"mag": "mag"},
        )
    bad = tmp_path / "cats" / "night_3.fits"
    changed = {
        "column": {name: column for name, column in good.items() if name != "mag"},
        "place": rows(ra=np.array([0.0, NAN, 2, 3])),
        "far": rows(ra=np.array([0.0, 400, 2, 3])),
        "twice": rows(ra=np.zeros(4)),
    }.get(break_it, good)
    write_table(bad, changed, meta={"MJD": 60003.0}, units={"mag": "mmag"} if break_it == "unit" else {})
    if break_it == "cut":
        bad.write_bytes(bad.read_bytes()[:-3000])
    if break_it == "image":
        fits.PrimaryHDU(np.zeros((5, 5))).writeto(bad, overwrite=True)
    receipt = populate(tmp_path / "cats", str(tmp_path), spec)
    assert list(receipt.layers) == ["1", "2"]
    assert list(receipt.details["refused"]) == ["night_3.fits"]
    told = {
        "cut": "can't be read as FITS",
        "column": "column mag",
        "unit": "'mmag'",
        "place": "1 rows without a position",
        "far": "such as 400",
        "twice": "rows that repeat another",
        "image": "no table",
    }
    assert told[break_it] in receipt.details["refused"]["night_3.fits"]
