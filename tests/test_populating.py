"""`populate` from catalogues to the store: every cell, every refusal, and nothing twice."""

from __future__ import annotations

import json
import logging
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from make_catalogues import BANDS, angles, make_survey, write_table
from memory_storage import Numbered, World, open_world

import aggrade
from aggrade import populate
from aggrade.catalogues.planning import PopulatePlan
from aggrade.errors import BadInput, Conflict, Refused

__all__ = ["open_world"]

SPEC = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_scale": "tai",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "mag", "error": "err", "limit": "limit", "flags": "flags"}},
}
IDS = np.arange(20) + 2**60


def night(index, rows=20, **changes):
    """Return one night: detections, limits, flagged and missing ones, each row at its own time."""
    rng = np.random.default_rng([5, index])
    mag = rng.uniform(15, 22, 20)
    faint = mag > 20
    columns = {
        "id": IDS,
        "ra": np.linspace(355, 365, 20) % 360,
        "dec": np.linspace(-5, 5, 20),
        "mjd": 61000.0 + index + rng.uniform(0, 0.01, 20),
        "mag": np.where(faint, np.nan, mag),
        "err": np.where(faint, np.nan, 0.05),
        "limit": np.where(faint & (np.arange(20) % 3 > 0), 20.0, np.nan),
        "flags": np.where(np.arange(20) % 7 == 0, 2, 0),
    }
    return {name: np.asarray(changes.get(name, values))[:rows] for name, values in columns.items()}


def write_nights(folder, nights, suffix="csv", **changes):
    """Write some nights."""
    for index in nights:
        write_table(folder / f"night_{index}.{suffix}", night(index, **changes))
    return folder


@pytest.fixture
def nights(tmp_path):
    """Return a folder with three nights."""
    return write_nights(tmp_path / "cats", (1, 2, 3))


def cube(root):
    """Open the store as anyone would, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(f"{root}/lightcurves.zarr").load()


def files(root):
    """Return every object of the store's arrays by its path; bookkeeping and the root are left out."""
    top = root / "lightcurves.zarr"
    paths = [path for path in top.rglob("*") if path.is_file()]
    named = {str(path.relative_to(top)): path.read_bytes() for path in paths}
    return {
        name: data
        for name, data in named.items()
        if not name.startswith(".") and name != "zarr.json" and ".aggrade-lock" not in name
    }


def expect(rows):
    """Return status, value and error of each id, worked out with pandas alone."""
    frame = pd.DataFrame(rows).set_index("id")
    seen, limited = frame.mag.notna(), frame.mag.isna() & frame.limit.notna()
    status = np.where(seen, np.where(frame["flags"] != 0, 3, 1), np.where(limited, 2, 0))
    return frame.index, status, frame.mag.where(seen, frame.limit), frame.err.where(seen)


def check_night(dataset, index, rows=None):
    """Compare one night of the cube with its catalogue."""
    rows = rows or night(index)
    ids, status, value, error = expect(rows)
    cells = dataset.sel(object=ids.to_numpy(), epoch=str(index), measurement="g")
    assert cells.status.values.tolist() == status.tolist()
    assert np.array_equal(cells.lightcurves.values[:, 0], value.to_numpy("f4"), equal_nan=True)
    assert np.array_equal(cells.lightcurves.values[:, 1], error.to_numpy("f4"), equal_nan=True)
    times = cells.epoch_time.item() + cells.time_offset.values / 86400
    expected = np.where(status > 0, rows["mjd"], np.nan)
    assert np.allclose(times, expected, rtol=0, atol=2e-11, equal_nan=True)


def test_every_cell_is_that_of_the_catalogue(nights, tmp_path):
    """Value, error, state and time of every cell are the row's; the ledger counts them."""
    receipt = populate(nights, str(tmp_path), SPEC)
    dataset = cube(tmp_path)
    assert dataset.epoch.values.tolist() == ["1", "2", "3"]
    assert sorted(dataset.object.values.tolist()) == IDS.tolist()
    assert (np.diff(dataset.healpix) > 0).all()
    for index in (1, 2, 3):
        check_night(dataset, index)
    assert dataset.populated.values.tolist() == [1, 1, 1]
    assert dataset.rows.values.tolist() == [20, 20, 20]
    assert (
        dataset.cells.values.tolist() == (dataset.status > 0).sum(("object", "measurement")).values.tolist()
    )
    assert receipt.details["cells"] == int(dataset.cells.sum())
    assert receipt.details["epochs"]["2"]["blank"] == dataset.blank.values[1] > 0
    assert receipt.layers == {"1": 0, "2": 1, "3": 2}
    assert receipt.kind == "populate"
    assert aggrade.verify(str(tmp_path)).ok


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv"])
def test_the_format_does_not_matter(suffix, nights, tmp_path):
    """The same rows in another format make the same cube."""
    other = write_nights(tmp_path / "other", (1, 2, 3), suffix)
    populate(nights, str(tmp_path / "a"), SPEC)
    populate(other, str(tmp_path / "b"), SPEC)
    xr.testing.assert_identical(
        cube(tmp_path / "a").drop_vars("source_mark").drop_attrs(),
        cube(tmp_path / "b").drop_vars("source_mark").drop_attrs(),
    )


def test_a_survey_without_ids_is_matched_by_sky(tmp_path):
    """Across RA 0 and over both poles, with two conventions of RA, every detection is in its object's cell."""
    survey = make_survey()
    survey.write(tmp_path / "cats")
    receipt = populate(tmp_path / "cats", str(tmp_path), survey.SPEC, objects=survey.objects())
    dataset = cube(tmp_path)
    order = dataset.object.values - 2**60
    assert np.array_equal(dataset.ra, survey.ra[order])
    value = np.where(survey.seen[..., None] & (survey.mag < 40), survey.mag, np.nan)[:, order]
    assert np.array_equal(dataset.lightcurves.values[:, :, 0], value.transpose(1, 2, 0), equal_nan=True)
    error = np.where(np.isnan(value), np.nan, survey.err[:, order])
    assert np.array_equal(dataset.lightcurves.values[:, :, 1], error.transpose(1, 2, 0), equal_nan=True)
    assert np.array_equal(dataset.status, np.isfinite(value).transpose(1, 2, 0))
    assert np.array_equal(dataset.epoch_time, survey.mjd)
    assert receipt.details["unmatched"] == survey.noise * len(survey.mjd)
    assert receipt.details["losers"] == receipt.details["duplicates"] == 0
    assert "time_offset" not in dataset


def test_objects_are_built_from_the_sky(tmp_path):
    """Without a table, the clusters of all positions are the objects, noise included."""
    survey = make_survey()
    survey.write(tmp_path / "cats", "parquet")
    spec = {**survey.SPEC, "epoch_time": None, "time": "t"}
    for epoch in range(len(survey.mjd)):
        rows = survey.rows(epoch)
        rows["t"] = np.full(len(rows["RA"]), survey.mjd[epoch])
        write_table(tmp_path / "cats" / f"visit_{epoch:03d}.parquet", rows)
    populate(tmp_path / "cats", str(tmp_path), spec, match={"radius_arcsec": 2})
    dataset = cube(tmp_path)
    said = survey.seen.any(axis=0)
    apart = angles(survey.ra[said], survey.dec[said], dataset.ra, dataset.dec)
    assert dataset.sizes["object"] == said.sum() + survey.noise
    nearest = apart.argmin(axis=1)
    value = np.where(survey.seen[..., None] & (survey.mag < 40), survey.mag, np.nan)[:, said]
    assert np.array_equal(dataset.lightcurves.values[nearest, :, 0], value.transpose(1, 2, 0), equal_nan=True)
    assert list(dataset.measurement.values) == list(BANDS)


class Requests(Numbered):
    """Counts requests that change anything."""

    def writes(self):
        """Return the requests so far that change something."""
        return [kind for kind in self.kinds if kind.split()[0] in ("PUT", "DELETE", "COPY")]


def put(world, folder, prefix="data/cats"):
    """Put the files of a folder into a world."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            world.objects[f"{prefix}/{path.name}"] = (path.read_bytes(), world.mark(path.read_bytes()))


@pytest.mark.parametrize("epoch", [{"filename": r"night_(\d+)"}, {"column": "visit"}])
def test_the_same_again_changes_nothing(epoch, tmp_path, open_world):
    """The same catalogues again give the same receipt without a write, not even of an intent."""
    world, spec = World(), {**SPEC, "epoch": epoch}
    for index in (1, 2):
        write_table(tmp_path / f"night_{index}.csv", {**night(index), "visit": np.full(20, index)})
    put(world, tmp_path)
    first = populate("world://data/cats", "world://data", spec, storage_options=open_world(world))
    requests = Requests()
    options = open_world(world, requests)
    assert populate("world://data/cats", "world://data", spec, storage_options=options) == first
    assert requests.writes() == []


def test_a_dry_run_writes_nothing(nights, open_world):
    """A dry run is a plan, for a new store and for one that grows, and sends no write."""
    world = World()
    put(world, nights)
    requests = Requests()
    options = open_world(world, requests)
    plan = populate("world://data/cats", "world://data", SPEC, dry_run=True, storage_options=options)
    assert isinstance(plan, PopulatePlan)
    assert requests.writes() == []
    assert len(plan.epochs) == 3
    populate("world://data/cats/night_1.csv", "world://data", SPEC, storage_options=open_world(world))
    grown = populate("world://data/cats", "world://data", SPEC, dry_run=True, storage_options=options)
    assert [epoch.report.key for epoch in grown.epochs] == ["2", "3"]
    assert requests.writes() == []


def test_the_price_is_about_right(nights, open_world):
    """The plan foresees the number of writes within a tenth, and no fewer."""
    world = World()
    put(world, nights)
    plan = populate(
        "world://data/cats", "world://data", SPEC, dry_run=True, storage_options=open_world(world)
    )
    requests = Requests()
    populate("world://data/cats", "world://data", SPEC, storage_options=open_world(world, requests))
    puts = sum(kind.startswith("PUT") for kind in requests.kinds)
    assert puts <= plan.price.requests["PUT"] <= 1.1 * puts + 3


def test_new_nights_are_added_behind_the_old(nights, tmp_path):
    """Later nights extend the epochs; not one chunk of the old ones is touched, whenever they were taken."""
    populate(nights, str(tmp_path), SPEC)
    before = files(tmp_path)
    write_nights(nights, (0, 4))
    receipt = populate(nights, str(tmp_path), SPEC)
    assert receipt.layers == {"0": 3, "4": 4}
    assert receipt.details["unchanged"] == 3
    dataset = cube(tmp_path)
    assert dataset.epoch.values.tolist() == ["1", "2", "3", "0", "4"]
    for index in range(5):
        check_night(dataset, index)
    after = files(tmp_path)
    data = [
        name
        for name in before
        if name.startswith(("lightcurves/c", "status/c", "time_offset/c", "object/c", "ra/c"))
    ]
    assert data
    assert all(after[name] == before[name] for name in data)


def test_a_night_with_other_content_is_refused(nights, tmp_path):
    """A night delivered again with other rows is refused by name, and nothing changes, not even for new nights."""
    populate(nights, str(tmp_path), SPEC)
    before = files(tmp_path)
    write_table(nights / "night_2.csv", night(2, mag=np.full(20, 15.0)))
    write_nights(nights, (4,))
    with pytest.raises(Refused, match=r"epoch '2' \(night_2.csv\)"):
        populate(nights, str(tmp_path), SPEC)
    with pytest.raises(Refused, match="other rows"):
        populate(nights, str(tmp_path), SPEC, dry_run=True)
    assert files(tmp_path) == before


def test_the_same_night_in_another_file_is_the_same(nights, tmp_path):
    """A night delivered again with the same rows in another format is known by its content."""
    first = populate(nights, str(tmp_path), SPEC)
    again = write_nights(tmp_path / "again", (1, 2, 3), "fits")
    assert populate(again, str(tmp_path), SPEC) == first


def test_another_specification_is_other_content(nights, tmp_path):
    """What was read with one specification can't be read again with another."""
    populate(nights, str(tmp_path), SPEC)
    with pytest.raises(Refused, match="another specification"):
        populate(nights, str(tmp_path), {**SPEC, "value_range": (0, 18)})


def test_bad_catalogues_are_left_out_by_name(nights, tmp_path):
    """The good nights land in one commit, and the receipt says of each bad file why."""
    write_table(nights / "night_4.csv", {"ra": [1.0], "dec": [1.0]})
    (nights / "night_5.fits").write_bytes(b"SIMPLE  = not at all")
    write_table(nights / "night_6.csv", night(6, id=np.repeat(IDS[:10], 2)))
    (nights / "flat.csv").write_text("a,b\n")
    receipt = populate(nights, str(tmp_path), SPEC)
    assert list(receipt.layers) == ["1", "2", "3"]
    refused = receipt.details["refused"]
    assert set(refused) == {"night_4.csv", "night_5.fits", "night_6.csv", "flat.csv"}
    assert "column id: found no such column" in refused["night_4.csv"]
    assert "column mag: found no such column" in refused["night_4.csv"]
    assert "repeat another in epoch 6" in refused["night_6.csv"]
    again = populate(nights, str(tmp_path), SPEC)
    assert again == receipt
    write_nights(nights, (4,))
    assert list(populate(nights, str(tmp_path), SPEC).layers) == ["4"]


def test_bad_catalogues_alone_are_bad_input(tmp_path):
    """Where not one epoch can be used, everything that is wrong is one error, and no store is made."""
    for index in (1, 2):
        write_table(tmp_path / "cats" / f"night_{index}.csv", {"ra": [1.0]})
    with pytest.raises(BadInput) as caught:
        populate(tmp_path / "cats", str(tmp_path), SPEC)
    assert {problem.where.partition(",")[0] for problem in caught.value.problems} == {
        "night_1.csv",
        "night_2.csv",
    }
    assert not (tmp_path / "lightcurves.zarr").exists()


def test_catalogues_without_rows_are_told(tmp_path):
    """A table of no rows, whose column would name the epochs, holds none."""
    write_table(tmp_path / "a.csv", night(1, rows=0))
    with pytest.raises(BadInput, match="no epochs"):
        populate(tmp_path / "a.csv", str(tmp_path / "out"), {**SPEC, "epoch": {"column": "mjd"}})


@pytest.mark.parametrize(
    "changes",
    [{"time_scale": "utc"}, {"time_ref": "barycentric"}, {"system": "AB"}, {"value": "flux", "unit": "nJy"}],
)
def test_what_does_not_fit_the_store_is_refused(changes, nights, tmp_path):
    """Another scale, reference place, system or quantity than the store's is refused."""
    populate(nights / "night_1.csv", str(tmp_path), SPEC)
    with pytest.raises(Refused, match=f"specification, {next(iter(changes))}"):
        populate(nights / "night_2.csv", str(tmp_path), {**SPEC, **changes})


def test_catalogues_that_do_not_fit_the_store_are_left_out(tmp_path):
    """A new measurement, another unit or times where the store has none are refused file by file."""
    columns = {**night(1), "mag": np.full(20, 18.0)}
    spec = {**SPEC, "epoch": {"filename": r"visit_(\d+)"}, "time": None, "epoch_time": "MJD"}
    spec["measurements"] = [{"value": "mag", "name": {"header": "BAND"}}]
    cats = tmp_path / "visits"

    def visit(index, part="", band="g", unit="mag", mjd=0.0, ids=IDS):
        path = cats / f"visit_{index}{part}.fits"
        write_table(
            path,
            {**columns, "id": ids},
            meta={"BAND": band, "MJD": 61000.0 + index + mjd},
            units={"mag": unit},
        )

    visit(1)
    populate(cats, str(tmp_path), spec)
    visit(2)
    visit(3, band="u")
    visit(4, unit="mmag")
    visit(5, "a")
    visit(5, "b", mjd=0.5, ids=IDS + 100)
    receipt = populate(cats, str(tmp_path), spec)
    assert list(receipt.layers) == ["2"]
    refused = receipt.details["refused"]
    assert "measurement 'u'" in refused["visit_3.fits"]
    assert "g in 'mmag'" in refused["visit_4.fits"]
    assert "no time_offset" in refused["visit_5a.fits, visit_5b.fits"]


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_other_stores_are_not_touched(nights, tmp_path):
    """A store of something else is refused."""
    xr.Dataset({"x": ("y", [1.0])}).to_zarr(tmp_path / "windows.zarr", zarr_format=3, consolidated=True)
    with pytest.raises(Refused, match="without epoch"):
        populate(nights, str(tmp_path / "windows.zarr"), SPEC)


def test_the_objects_of_a_store_are_fixed(nights, tmp_path):
    """The same table may be given again, another one is refused, and none takes the store's own."""
    objects = pd.DataFrame({"id": IDS[:5], "ra": np.arange(5.0), "dec": np.arange(5.0)})
    populate(nights / "night_1.csv", str(tmp_path), SPEC, objects=objects)
    populate(nights / "night_2.csv", str(tmp_path), SPEC, objects=objects[::-1])
    receipt = populate(nights / "night_3.csv", str(tmp_path), SPEC)
    assert receipt.details["unmatched"] + receipt.details["blank"] >= 15 - 5
    with pytest.raises(Refused, match="found 4 objects, expected the 5 objects"):
        populate(nights, str(tmp_path), SPEC, objects=objects[:4])
    assert cube(tmp_path).sizes["object"] == 5


def test_new_objects_are_refused_or_ignored(nights, tmp_path):
    """Rows of objects that the store lacks are counted, or their night is refused; alone, it is `Refused`."""
    write_table(tmp_path / "small" / "night_0.csv", night(0, rows=10))
    populate(tmp_path / "small", str(tmp_path), SPEC)
    with pytest.raises(Refused, match="match no object") as caught:
        populate(nights, str(tmp_path), SPEC, match={"new_objects": "refuse"})
    assert len(caught.value.problems) == 3
    receipt = populate(nights, str(tmp_path), SPEC)
    assert receipt.details["unmatched"] > 0
    assert receipt.details["unmatched"] == int(cube(tmp_path).unmatched.sum())


def test_no_match_at_all_is_warned_of(nights, tmp_path, caplog):
    """A cube in which nothing matched is warned of."""
    with caplog.at_level(logging.WARNING):
        populate(nights, str(tmp_path), SPEC, objects=pd.DataFrame({"id": [1, 2]}))
    assert "none of 60 rows matched" in caplog.text


def test_an_almost_empty_cube_is_warned_of(nights, tmp_path, caplog):
    """Under 1 % of fill is warned of before anything is written."""
    objects = pd.DataFrame({"id": np.arange(3000) + 2**60})
    with caplog.at_level(logging.WARNING):
        populate(nights, str(tmp_path), SPEC, objects=objects, dry_run=True)
    assert "of the cells will hold anything" in caplog.text
    assert not (tmp_path / "lightcurves.zarr").exists()


def test_text_ids_are_kept(tmp_path):
    """Ids of text are text in the store, sorted along the sky."""
    names = np.array([f"ZTF{index:02d}é" for index in range(20)])
    write_table(tmp_path / "cats" / "night_1.parquet", night(1, id=names))
    populate(tmp_path / "cats", str(tmp_path), SPEC)
    dataset = cube(tmp_path)
    assert sorted(map(str, dataset.object.values)) == names.tolist()
    one = dataset.sel(object=names[0])
    assert one.ra.item() == pytest.approx(355.0)


def shuffled(function, items):
    """Map in reverse order on four threads."""
    items = list(items)[::-1]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, items))[::-1]


def test_one_worker_and_four_write_the_same_bytes(tmp_path):
    """Who does what, and in which order, shows in no byte of the cube."""
    cats = write_nights(tmp_path / "cats", range(70))
    populate(cats, str(tmp_path / "one"), SPEC)
    seen = set()

    def counted(function, items):
        return shuffled(lambda item: (seen.add(threading.get_ident()), function(item))[1], items)

    populate(cats, str(tmp_path / "four"), SPEC, map=counted)
    assert len(seen) > 1
    assert files(tmp_path / "one") == files(tmp_path / "four")
    assert len(files(tmp_path / "one")) > 200


def test_pieces_can_be_sent_elsewhere(nights, tmp_path):
    """What a map gets survives pickling, and a piece is small JSON."""

    def sent(function, items):
        return [pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(item))) for item in items]

    populate(nights, str(tmp_path), SPEC, map=sent)
    check_night(cube(tmp_path), 2)
    plan = populate(nights, str(tmp_path / "other"), SPEC, dry_run=True)
    text = plan.pieces[0].model_dump_json()
    assert len(text) < 5000
    assert type(plan.pieces[0]).model_validate(json.loads(text)) == plan.pieces[0]


def test_a_catalogue_that_changes_meanwhile_stops_everything(nights, tmp_path):
    """A file that is replaced between the look and the writing is a conflict, and the old state stays."""
    populate(nights / "night_1.csv", str(tmp_path), SPEC)
    before = files(tmp_path)
    calls = []

    def meddled(function, items):
        calls.append(function)
        if len(calls) == 2:
            write_table(nights / "night_2.csv", night(2, rows=7))
        return map(function, items)

    with pytest.raises(Conflict, match=r"night_2\.csv"):
        populate(nights, str(tmp_path), SPEC, map=meddled)
    assert cube(tmp_path).epoch.values.tolist() == ["1"]
    assert {name: files(tmp_path)[name] for name in before} == before
    receipt = populate(nights, str(tmp_path), SPEC)
    assert list(receipt.layers) == ["2", "3"]
    check_night(cube(tmp_path), 2, night(2, rows=7))


def test_specifications_are_checked_first(nights, tmp_path):
    """A wrong specification is refused before any file is looked at."""
    with pytest.raises(BadInput, match="time_scale"):
        populate(tmp_path / "nowhere", str(tmp_path), {**SPEC, "time_scale": "GPS"})
    with pytest.raises(BadInput, match="radius_arcsec"):
        populate(nights, str(tmp_path), SPEC, match={"radius_arcsec": -1})
    with pytest.raises(BadInput, match="no catalogues"):
        populate(tmp_path / "nowhere", str(tmp_path), SPEC)
