"""`populate` where it is known where the telescope looked: what was looked at and not seen is a limit, nothing else is."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from make_catalogues import angles, write_table

import aggrade
from aggrade import LightCurves, populate
from aggrade.errors import BadInput, Refused
from aggrade.observations import count_observations

BANDS = ("g", "r")
NIGHTS = (1, 2, 3)
TABLE = {
    "epoch": "night",
    "ra": "ra",
    "dec": "dec",
    "radius": "radius",
    "limit": "depth",
    "time": "mjd",
    "measurement": "band",
}
SPEC = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_scale": "tai",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {band: {"value": f"mag_{band}"} for band in BANDS},
    "value_range": (5, 40),
}
POINTINGS = ((0.0, 0.0), (359.0, 0.5), (40.0, 89.6), (220.0, -89.5))


@pytest.fixture(scope="module")
def objects():
    """Return objects around RA 0, around both poles, and far from every pointing."""
    rng = np.random.default_rng(61)
    ra = np.concatenate([rng.uniform(-2.5, 2, 60) % 360, rng.uniform(0, 360, 80), np.full(5, 150.0)])
    dec = np.concatenate(
        [rng.uniform(-1.5, 1.5, 60), 90 - rng.uniform(0, 2, 40), rng.uniform(0, 2, 40) - 90, np.arange(5.0)]
    )
    return pd.DataFrame({"object": np.arange(len(ra)) + 2**60, "ra": ra, "dec": dec})


def exposures(night):
    """Return a night's exposures: pointings in both bands, some without a limit, one of them twice."""
    rng = np.random.default_rng([9, night])
    rows = [
        {
            "night": night,
            "ra": ra,
            "dec": dec,
            "radius": rng.uniform(0.6, 1.4),
            "band": band,
            "depth": rng.uniform(21, 23),
        }
        for ra, dec in POINTINGS
        for band in BANDS
        if rng.uniform() < 0.8
    ]
    table = pd.DataFrame(
        [*rows, {**rows[0], "depth": np.nan}, {**rows[0], "depth": 23.5}, {**rows[-1], "depth": 20.5}]
    )
    times = 61000.0 + night + rng.uniform(0, 0.4, len(table))
    return table.assign(mjd=np.where(rng.uniform(size=len(table)) < 0.7, times, np.nan))


def looked_at(night, objects):
    """Return (object, band) who was looked at, the deepest limit, and its time, one exposure after the other."""
    looked = np.zeros((len(objects), len(BANDS)), bool)
    limit, time = np.full(looked.shape, np.nan), np.full(looked.shape, np.nan)
    table = exposures(night)
    apart = angles(objects.ra, objects.dec, table.ra, table.dec) / 3600
    for index, each in enumerate(table.itertuples()):
        within, band = apart[:, index] <= each.radius, BANDS.index(each.band)
        deeper = within & ((each.depth > limit[:, band]) | (np.isnan(limit[:, band]) & ~looked[:, band]))
        deeper |= within & np.isnan(limit[:, band]) & np.isfinite(each.depth)
        looked[within, band] = True
        limit[deeper, band], time[deeper, band] = each.depth, each.mjd
    return looked, limit, time


def detections(night, objects):
    """Return a night's rows: a third of the objects that were looked at in any band; a sentinel where one was not seen."""
    rng = np.random.default_rng([5, night])
    looked, _, _ = looked_at(night, objects)
    seen = looked & (rng.uniform(size=looked.shape) < 0.4)
    rows = np.flatnonzero(seen.any(axis=1))
    mag = np.where(seen, rng.uniform(15, 20, looked.shape), 99.0)[rows]
    columns = {
        "id": objects.object.to_numpy()[rows],
        "ra": objects.ra.to_numpy()[rows],
        "dec": objects.dec.to_numpy()[rows],
    }
    columns |= {"mjd": 61000.0 + night + rng.uniform(0, 0.01, len(rows))}
    return columns | {f"mag_{band}": mag[:, column].astype("f4") for column, band in enumerate(BANDS)}


@pytest.fixture
def nights(tmp_path, objects):
    """Return a folder with three nights, and the table of their exposures in it."""
    for night in NIGHTS:
        write_table(tmp_path / "cats" / f"night_{night}.parquet", detections(night, objects))
    write_exposures(tmp_path)
    return tmp_path / "cats"


def write_exposures(folder, *others, nights=NIGHTS):
    """Write the table of exposures."""
    table = pd.concat([exposures(night) for night in nights] + list(others))
    return write_table(folder / "cats" / "exposures.csv", table.to_dict("list"))


def spec(tmp_path, **changes):
    """Return the specification with the table of exposures."""
    return {**SPEC, "footprint": {"exposures": f"{tmp_path}/cats/exposures.csv", **TABLE}, **changes}


def cube(root):
    """Open the store as anyone would."""
    return xr.open_zarr(f"{root}/lightcurves.zarr").load()


def check_night(dataset, night, objects, shown):
    """Compare one night with the tables, cell by cell."""
    rows = pd.DataFrame(detections(night, objects)).set_index("id").reindex(objects.object)
    looked, limit, time = looked_at(night, objects)
    mag = rows[[f"mag_{band}" for band in BANDS]].to_numpy("f4")
    seen = mag < 40
    cells = dataset.sel(object=objects.object.to_numpy()[shown], epoch=str(night), measurement=list(BANDS))
    status = np.where(seen, 1, np.where(looked, 2, 0))
    value = np.where(seen, mag, np.where(looked, limit, np.nan)).astype("f4")
    assert np.array_equal(cells.status.values, status[shown])
    assert np.array_equal(cells.lightcurves.values[:, :, 0], value[shown], equal_nan=True)
    assert np.isnan(cells.lightcurves.values[:, :, 1]).all()
    times = np.where(
        seen, rows.mjd.to_numpy()[:, None], np.where(np.isnan(time), cells.epoch_time.item(), time)
    )
    offset = np.where(seen | looked, (times - cells.epoch_time.item()) * 86400, np.nan)
    assert np.allclose(cells.time_offset.values, offset[shown], atol=2e-6, equal_nan=True)
    return int((looked & ~seen)[shown].sum())


@pytest.mark.parametrize("match", [{"by": "id"}, {"by": "sky"}])
def test_every_cell_knows_whether_it_was_looked_at(match, nights, objects, tmp_path):
    """Seen, looked at and not seen with the deepest limit, and not looked at: as by brute force over the exposures."""
    receipt = populate(nights, str(tmp_path), spec(tmp_path), objects=objects, match=match)
    dataset, everyone = cube(tmp_path), slice(None)
    undetected = [check_night(dataset, night, objects, everyone) for night in NIGHTS]
    assert min(undetected) > 20
    assert receipt.details["undetected"] == sum(undetected)
    assert [receipt.details["epochs"][str(night)]["undetected"] for night in NIGHTS] == undetected
    assert receipt.details["refused"] == {}
    held = (dataset.status > 0).sum(("object", "measurement"))
    assert dataset.cells.values.tolist() == held.values.tolist()
    assert receipt.details["limits"] == int((dataset.status == 2).sum())
    assert (dataset.status.sel(object=objects.object[-5:].to_numpy()) == 0).all()
    counted = count_observations(LightCurves(str(tmp_path)))
    assert (
        counted.epochs.limits.tolist() == (dataset.status == 2).sum(("object", "measurement")).values.tolist()
    )
    assert aggrade.verify(str(tmp_path)).ok


def test_objects_that_are_built_are_looked_at_too(nights, objects, tmp_path):
    """Where the object table is made of what was seen, each of them is looked at in every night."""
    populate(nights, str(tmp_path), spec(tmp_path))
    dataset = cube(tmp_path)
    shown = np.isin(objects.object, dataset.object)
    assert dataset.sizes["object"] == shown.sum() < len(objects)
    assert sum(check_night(dataset, night, objects, shown) for night in NIGHTS) > 20


def test_without_a_footprint_nothing_is_assumed(nights, objects, tmp_path):
    """What no row speaks of was not observed, and nothing is counted as looked at."""
    receipt = populate(f"{nights}/night_*", str(tmp_path), SPEC, objects=objects)
    assert set(np.unique(cube(tmp_path).status)) == {0, 1}
    assert "undetected" not in receipt.details


def test_a_later_night_needs_its_exposures_alone(nights, objects, tmp_path, caplog):
    """Rows for new nights leave the old ones as they are; the table may say more than there are catalogues."""
    write_exposures(tmp_path, nights=(1, 2))
    receipt = populate(nights, str(tmp_path), spec(tmp_path), objects=objects)
    assert list(receipt.layers) == ["1", "2"]
    assert "found no exposure of epoch 3" in receipt.details["refused"]["night_3.parquet"]
    write_exposures(tmp_path, exposures(4))
    with caplog.at_level(logging.WARNING):
        receipt = populate(nights, str(tmp_path), spec(tmp_path))
    assert "1 epochs have exposures and no catalogue, such as 4" in caplog.text
    assert list(receipt.layers) == ["3"]
    assert receipt.details["unchanged"] == 2
    for night in NIGHTS:
        check_night(cube(tmp_path), night, objects, slice(None))


def test_a_table_that_moved_says_the_same(nights, objects, tmp_path):
    """The same exposures in another place, format and order make the same epochs."""
    first = populate(nights, str(tmp_path), spec(tmp_path), objects=objects)
    table = pd.concat([exposures(night) for night in reversed(NIGHTS)])
    other = write_table(tmp_path / "log.fits", table.to_dict("list"), units={"ra": "deg", "depth": "mag"})
    moved = {"footprint": {"exposures": str(other), **TABLE}}
    again = populate(f"{nights}/night_*", str(tmp_path), {**SPEC, **moved})
    assert again == first


def test_other_exposures_are_other_content(nights, objects, tmp_path):
    """A night whose exposures changed is refused by name, or replaced if that is asked for."""
    populate(nights, str(tmp_path), spec(tmp_path), objects=objects)
    deeper = exposures(2).assign(depth=24.0)
    write_exposures(tmp_path, deeper, nights=(1, 3))
    with pytest.raises(Refused) as caught:
        populate(nights, str(tmp_path), spec(tmp_path))
    assert [each.where for each in caught.value.problems] == ["epoch '2' (night_2.parquet)"]
    receipt = populate(nights, str(tmp_path), spec(tmp_path), on_conflict="replace")
    assert receipt.details["replaced"] == ["2"]
    shown = LightCurves(str(tmp_path)).epoch("2").load()
    limits = shown.lightcurves.values[..., 0][shown.status.values == 2]
    assert len(limits)
    assert (limits == 24.0).all()


def test_a_night_on_which_nothing_was_seen_has_limits(objects, tmp_path):
    """An empty catalogue beside exposures: whoever was looked at was not seen, in each band that it has."""
    rows = {name: values[:0] for name, values in detections(1, objects).items() if name != "mjd"}
    write_table(tmp_path / "cats" / "night_1.parquet", rows, meta={"MJD": 61001.0})
    write_exposures(tmp_path, nights=(1,))
    asked = spec(tmp_path, time=None, epoch_time="MJD")
    del asked["footprint"]["measurement"]
    populate(tmp_path / "cats", str(tmp_path), asked, objects=objects)
    table = exposures(1)
    near = (angles(objects.ra, objects.dec, table.ra, table.dec) / 3600 <= table.radius.to_numpy()).any(
        axis=1
    )
    status = cube(tmp_path).sel(object=objects.object.to_numpy()).status.values[..., 0]
    assert np.array_equal(status, np.repeat(np.where(near, 2, 0)[:, None], 2, axis=1))
    offset = cube(tmp_path).sel(object=objects.object.to_numpy()).time_offset.values[..., 0]
    assert np.array_equal(np.isfinite(offset), status == 2)
    assert offset[status == 2].max() > 60


def test_the_extent_of_the_rows_must_be_said(tmp_path):
    """With it, each file covers the convex region of its rows: whoever lies within was looked at, whoever outside not."""
    corners = {"ra": [359.0, 1.0, 1.0, 359.0], "dec": [-1.0, -1.0, 1.0, 1.0]}
    cap = {"ra": [0.0, 90.0, 180.0, 270.0], "dec": [89.0] * 4}
    for name, places in (("a", corners), ("b", cap)):
        rows = {
            "id": np.arange(4) + 10 * (name == "b"),
            **places,
            "mjd": [61001.0] * 4,
            "mag_g": [18.0] * 4,
            "mag_r": [18, 18, 99, 99],
        }
        write_table(tmp_path / "cats" / f"night_1_{name}.parquet", rows)
    within = {"ra": [0.0, 359.5, 45.0], "dec": [0.0, 0.9, 89.9]}
    without = {"ra": [1.5, 180.0, 0.0, 45.0], "dec": [0.0, 0.0, 80.0, 45.0]}
    places = [
        np.concatenate([corners[name], cap[name], within[name], without[name]]) for name in ("ra", "dec")
    ]
    ids = np.array([0, 1, 2, 3, 10, 11, 12, 13, 100, 101, 102, 200, 201, 202, 203])
    table = pd.DataFrame({"object": ids, "ra": places[0], "dec": places[1]})
    receipt = populate(
        tmp_path / "cats", str(tmp_path), {**SPEC, "footprint": {"extent": "hull"}}, objects=table
    )
    status = cube(tmp_path).sel(object=ids).status.values[..., 0]
    assert status[:, 0].tolist() == [1] * 8 + [2] * 3 + [0] * 4
    assert status[:, 1].tolist() == [1, 1, 0, 0, 1, 1, 0, 0] + [0] * 7
    assert receipt.details["undetected"] == 3
    assert np.isnan(cube(tmp_path).sel(object=[100, 101, 102]).lightcurves.values).all()


def test_rows_all_around_the_sky_have_no_extent(tmp_path):
    """A catalogue of the whole sky has no outside: a table of exposures must say where it was looked."""
    rows = {"id": np.arange(4), "ra": [0.0, 120, 240, 0], "dec": [0.0, 0, 0, 90], "mjd": [61001.0] * 4}
    write_table(tmp_path / "cats" / "night_1.parquet", {**rows, "mag_g": [18.0] * 4, "mag_r": [18.0] * 4})
    with pytest.raises(BadInput, match="rows of epoch 1 all around the sky"):
        populate(tmp_path / "cats", str(tmp_path), {**SPEC, "footprint": {"extent": "hull"}})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"band": "R"}, "exposures of 'R', expected one of g, r"),
        ({"dec": 30.0}, "outside of all exposures"),
    ],
)
def test_exposures_that_do_not_fit_their_night_are_told(change, told, nights, objects, tmp_path):
    """A band that nobody knows, and exposures where the night's rows do not lie, leave that night out by name."""
    write_exposures(tmp_path, exposures(2).assign(**change), nights=(1, 3))
    receipt = populate(nights, str(tmp_path), spec(tmp_path), objects=objects)
    assert list(receipt.layers) == ["1", "3"]
    assert told in receipt.details["refused"]["night_2.parquet"]


def test_limits_in_another_unit_are_told(nights, objects, tmp_path):
    """Limits are never converted: where the table says another unit than the measurement's, its nights are left out."""
    table = pd.concat([exposures(night) for night in NIGHTS])
    other = write_table(tmp_path / "log.ecsv", table.to_dict("list"), units={"depth": "nJy"})
    asked = {**SPEC, "footprint": {"exposures": str(other), **TABLE}}
    with pytest.raises(BadInput) as caught:
        populate(f"{nights}/night_*", str(tmp_path), asked, objects=objects)
    told = {(each.found, each.expected) for each in caught.value.problems}
    assert told == {(f"exposures with limits of {band} in 'nJy'", "'mag'") for band in BANDS}


def test_the_plan_tells_that_limits_come_beside_the_rows(nights, objects, tmp_path):
    """Fill and warning speak of what was seen, the memory has room for what was looked at."""
    asked = {"objects": objects, "dry_run": True}
    told = populate(nights, str(tmp_path), spec(tmp_path), **asked)
    plain = populate(f"{nights}/night_*", str(tmp_path), SPEC, **asked)
    assert "beside limits where it was looked and nothing was seen" in str(told)
    assert "beside limits" not in str(plain)
    assert told.memory_per_worker > plain.memory_per_worker
