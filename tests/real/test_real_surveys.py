"""A survey of a file per object and band, and one without ids, against a reading of their text without a library."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import aggrade

pytestmark = pytest.mark.real

MACHO = {
    "object_id": {"filename": r"lc_(.+)\.[BR]\.mjd"},
    "time": "MJD",
    "time_scale": "utc",
    "epoch": {"column": "MJD"},
    "measurements": [{"value": "Mag", "error": "Err", "name": {"filename": r"\.([BR])\.mjd"}}],
    "unit": "mag",
}
UNTIMELY = {
    "ra": "ra",
    "dec": "dec",
    "time": "mjdmean",
    "time_scale": "utc",
    "epoch": {"column": "epoch"},
    "measurements": {
        f"W{band}": {"value": "flux", "error": "dflux", "where": {"band": band}} for band in (1, 2)
    },
    "value": "flux",
    "duplicates": "first",
}
FEW = ["lc_2.4907.2086.B.mjd", "lc_2.4907.2086.R.mjd", "lc_111.23746.772.B.mjd", "lc_58.6272.729.R.mjd"]


def opened(root):
    """Open the store as anyone would, in memory."""
    return xr.open_zarr(root / "lightcurves.zarr").load()


def cells_of_macho(paths):
    """Return (object, band, time) → magnitude and error, by splitting lines."""
    found = {}
    for path in paths:
        name, band = path.name.removeprefix("lc_").removesuffix(".mjd").rsplit(".", 1)
        for line in path.read_text().splitlines():
            if not line.startswith("#") and line.strip():
                mjd, *numbers = (float(word) for word in line.split())
                found[name, band, mjd] = tuple(np.float32(number) for number in numbers)
    return found


@pytest.mark.parametrize("files", [FEW, pytest.param(None, marks=pytest.mark.long)], ids=["few", "all"])
def test_a_file_per_object_and_band(files, real_data, tmp_path):
    """Every cell of either layout is the file's, the others were not observed, and every row is matched."""
    folder = real_data / "catalogues" / "macho"
    paths = [folder / name for name in files] if files else sorted(folder.glob("*.mjd"))
    truth = cells_of_macho(paths)
    receipt = aggrade.populate(paths, str(tmp_path), MACHO)
    written = opened(tmp_path)
    aggrade.rechunk(str(tmp_path / "lightcurves.zarr"), str(tmp_path / "lightcurves_by_object.zarr"))
    for cube in (written, xr.open_zarr(tmp_path / "lightcurves_by_object.zarr").load()):
        assert cube.sizes["epoch"] == len({mjd for _, _, mjd in truth})
        status, values = cube["status"].values, cube["lightcurves"].values
        stored = {
            (cube["object"].values[i], cube["measurement"].values[j], cube["epoch_time"].values[k]): tuple(
                values[i, j, :, k]
            )
            for i, j, k in zip(*status.nonzero(), strict=True)
        }
        assert stored == truth
        assert set(np.unique(status)) == {0, 1}
        assert np.isnan(values).sum() == 2 * (status == 0).sum()
    told = {name: receipt.details[name] for name in ("rows", "matched", "unmatched", "duplicates", "losers")}
    assert told == {
        "rows": len(truth),
        "matched": len(truth),
        "unmatched": 0,
        "duplicates": 0,
        "losers": 0,
    }


def detections(path):
    """Return one row (epoch, band, ra, dec, flux, error, mjd) per line of an IPAC table."""
    lines = path.read_text().splitlines()
    bars = [at for at, letter in enumerate(lines[0]) if letter == "|"]
    names = [name.strip() for name in lines[0].strip("|").split("|")]
    spans = {
        name: slice(start + 1, stop + 1) for name, start, stop in zip(names, bars, bars[1:], strict=False)
    }
    wanted = ("epoch", "band", "ra", "dec", "flux", "dflux", "mjdmean")
    return [tuple(float(line[spans[name]]) for name in wanted) for line in lines[4:] if line.strip()]


def away(ra, dec, cube):
    """Return arcseconds from one place to every object, on the plane that touches the sky there."""
    east = (cube["ra"].values - ra) * np.cos(np.radians(dec))
    return np.hypot(east, cube["dec"].values - dec) * 3600


@pytest.mark.parametrize("radius", [1.0, 3.0])
def test_detections_without_ids_listed_twice(radius, real_data, tmp_path):
    """Each detection is one cell of the nearest object, its second listing a duplicate, and none is unmatched."""
    (path,) = (real_data / "catalogues" / "untimely").glob("*.dat")
    rows = detections(path)
    receipt = aggrade.populate(path, str(tmp_path), UNTIMELY, match={"radius_arcsec": radius})
    cube = opened(tmp_path)
    assert (len(rows), len(set(rows)), cube.sizes["epoch"]) == (1150, 575, 17)
    taken: dict[tuple[float, float, int], list[tuple[float, ...]]] = {}
    for epoch, band, ra, dec, *numbers in set(rows):
        apart = away(ra, dec, cube)
        nearest = int(apart.argmin())
        assert apart[nearest] <= radius * (1 + 1e-5)
        taken.setdefault((epoch, band, nearest), []).append((apart[nearest], *numbers))
    for (epoch, band, nearest), found in taken.items():
        _, flux, error, mjd = min(found)
        cell = cube.isel(object=nearest).sel(measurement=f"W{band:.0f}", epoch=f"{epoch:.0f}")
        assert cell["lightcurves"].values.tolist() == [np.float32(flux), np.float32(error)]
        assert cell["status"] == 1
        assert cell["epoch_time"] + cell["time_offset"] / 86400 == pytest.approx(mjd, abs=1e-9)
    losers = sum(len(found) - 1 for found in taken.values())
    assert (cube["status"].values != 0).sum() == len(taken)
    told = [receipt.details[name] for name in ("rows", "matched", "unmatched", "duplicates", "losers")]
    assert told == [1150, len(taken), 0, 575 - losers, 2 * losers]
    assert cube["measurement_unit"].values.tolist() == ["nMgy", "nMgy"]


def test_both_files_of_a_field(real_data, tmp_path):
    """The nested alerts and the flat table that was made of them give one cube."""
    spec = {
        "object_id": "objectId",
        "ra": "ra",
        "dec": "dec",
        "time": "jd",
        "time_format": "jd",
        "time_scale": "utc",
        "epoch": {"column": "jd"},
        "measurements": {
            band: {"value": "magpsf", "error": "sigmapsf", "limit": "diffmaglim", "where": {"fid": fid}}
            for fid, band in enumerate("gr", 1)
        },
        "value_range": (5, 30),
    }
    cubes = []
    for name in ("alerts", "ztf_field_51obj"):
        path = real_data / "catalogues" / "ztf_field" / f"{name}.parquet"
        aggrade.populate(path, str(tmp_path / name), spec)
        cubes.append(opened(tmp_path / name))
    for name in ("object", "epoch", "epoch_time", "ra", "dec", "lightcurves", "status", "measurement_unit"):
        xr.testing.assert_equal(cubes[0][name].variable, cubes[1][name].variable)
