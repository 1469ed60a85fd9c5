"""An export is a HATS catalogue that holds every object and every observed cell of the store, and is counted."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import lonlat_to_healpix
from make_catalogues import make_survey
from make_stores import light_curves, write_light_curves

import aggrade
from aggrade.errors import BadInput, Damaged, Refused
from flows.command_line import main

RNG = np.random.default_rng(4)
COUNT = 80
RA = RNG.uniform(0, 360, COUNT)
DEC = np.degrees(np.arcsin(RNG.uniform(-1, 1, COUNT)))
IDS = 2**60 + RNG.permutation(COUNT)
READER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import lsdb
from hats.io.validation import is_valid_catalog
catalogue = lsdb.open_catalog(sys.argv[1])
found = catalogue.compute()
cells = found["lightcurve"].nest.to_flat()
cone = catalogue.cone_search(0, 89, 7200).compute()
curves = {
    str(row["object"]): [[float(t), str(b), float(m)] for t, b, m in zip(
        row["lightcurve"]["time"], row["lightcurve"]["measurement"], row["lightcurve"]["mag"])]
    for _, row in found.iterrows()
}
print(json.dumps({"valid": bool(is_valid_catalog(sys.argv[1], strict=True)), "objects": len(found), "length": len(catalogue),
    "cells": len(cells), "cone": sorted(map(int, cone["object"])), "curves": curves}))
"""


def write(root, *, ra=RA, dec=DEC, **mark):
    """Write a cube of both layouts' names' worth of known light curves; return it."""
    truth = light_curves(IDS, ra, dec)
    write_light_curves(truth, root, "lightcurves.zarr", objects=COUNT, epochs=1, **mark)
    return truth


def properties_of(folder):
    """Return what the properties of a catalogue say."""
    lines = (Path(folder) / "hats.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_the_layout_is_that_of_hats(tmp_path):
    """Properties, list of cells, files by cell sorted by their index, and the footers of all: each says what is."""
    truth = write(tmp_path)
    done = aggrade.export_hats(tmp_path, tmp_path / "hats", name="my survey", objects_per_file=9)
    folder = tmp_path / "hats"
    said = properties_of(folder)
    assert (folder / "properties").read_text() == (folder / "hats.properties").read_text()
    assert (said["obs_collection"], said["dataproduct_type"]) == ("my survey", "object")
    assert (said["hats_col_ra"], said["hats_col_dec"], said["hats_npix_suffix"]) == ("ra", "dec", ".parquet")
    assert (said["hats_col_healpix"], said["hats_col_healpix_order"]) == ("_healpix_29", "29")
    assert (said["hats_nrows"], said["aggrade_time_scale"]) == (str(COUNT), "tai")
    with (folder / "partition_info.csv").open() as file:
        cells = [(int(row["Norder"]), int(row["Npix"])) for row in csv.DictReader(file)]
    paths = [f"Norder={order}/Dir={pixel // 10000 * 10000}/Npix={pixel}.parquet" for order, pixel in cells]
    there = {str(path.relative_to(folder / "dataset")) for path in folder.glob("dataset/**/*.parquet")}
    assert set(paths) == there
    assert len(paths) == done.files > 12
    assert int(said["hats_order"]) == max(order for order, _ in cells)
    rows = 0
    for (order, pixel), path in zip(cells, paths, strict=True):
        table = pq.ParquetFile(folder / "dataset" / path).read()
        index = table["_healpix_29"].to_numpy()
        place = Longitude(table["ra"].to_numpy(), units.deg), Latitude(table["dec"].to_numpy(), units.deg)
        assert (index == lonlat_to_healpix(*place, 29).astype(np.int64)).all()
        assert (index >> 2 * (29 - order) == pixel).all()
        assert (np.diff(index) >= 0).all()
        assert len(table) <= int(said["hats_max_rows"]) <= 9
        rows += len(table)
    whole = pq.read_metadata(folder / "dataset/_metadata")
    assert (rows, whole.num_rows, done.objects) == (COUNT,) * 3
    assert [whole.row_group(n).column(0).file_path for n in range(whole.num_row_groups)] == paths
    assert pq.read_schema(folder / "dataset/_common_metadata") == pq.read_schema(
        folder / "dataset" / paths[0]
    )
    assert done.cells == int((truth["status"] != 0).sum())


def test_every_cell_comes_back(tmp_path):
    """What was observed, and nothing else, stands in the nested column, with its time, value, error and status."""
    truth = write(tmp_path)
    aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=20)
    found = {}
    for path in (tmp_path / "hats").glob("dataset/**/*.parquet"):
        table = pq.ParquetFile(path).read()
        found |= dict(zip(table["object"].to_pylist(), table["lightcurve"].to_pylist(), strict=True))
    assert set(found) == set(IDS.tolist())
    for index, number in enumerate(IDS.tolist()):
        lists, one = found[number], truth.isel(object=index)
        assert lists["time"] == sorted(lists["time"])
        assert len(lists["status"]) == int((one["status"] != 0).sum())
        for epoch, band, value, error, status in zip(
            *(lists[name] for name in ("epoch", "measurement", "mag", "mag_err", "status")), strict=True
        ):
            cell = one.isel(epoch=int(epoch.split()[1]), measurement="gr".index(band))
            np.testing.assert_array_equal(cell["lightcurves"].values, np.array([value, error], "f4"))
            assert int(cell["status"]) == status


def test_a_populated_and_rechunked_store(tmp_path):
    """Of a real store, the copy for objects is read, and the cells are as many as the ledger counts."""
    survey = make_survey(60, 3)
    survey.write(tmp_path / "cats")
    receipt = aggrade.populate(tmp_path / "cats", tmp_path, survey.SPEC, objects=survey.objects())
    aggrade.rechunk(str(tmp_path / "lightcurves.zarr"), str(tmp_path / "lightcurves_by_object.zarr"))
    done = aggrade.export_hats(tmp_path, tmp_path / "hats")
    assert (done.objects, done.cells) == (len(survey.ra), receipt.details["cells"])
    assert properties_of(tmp_path / "hats")["aggrade_store"].endswith("/lightcurves_by_object.zarr")


def test_what_was_exported_can_be_populated_from(tmp_path):
    """Aggrade's own reader of nested Parquet finds the same cells in the export as the store has."""
    write(tmp_path)
    done = aggrade.export_hats(tmp_path, tmp_path / "hats")
    spec = {
        "object_id": "object",
        "ra": "ra",
        "dec": "dec",
        "time": "lightcurve.time",
        "time_scale": "tai",
        "epoch": {"column": "lightcurve.epoch"},
        "measurements": {
            band: {
                "value": "lightcurve.mag",
                "error": "lightcurve.mag_err",
                "where": {"lightcurve.measurement": band},
            }
            for band in "gr"
        },
    }
    receipt = aggrade.populate(tmp_path / "hats/dataset/**/*.parquet", tmp_path / "again", spec)
    assert (receipt.details["objects"], receipt.details["cells"]) == (COUNT, done.cells)


def test_the_same_again_changes_nothing(tmp_path):
    """An export that is there is left as it is, and counted again."""
    write(tmp_path)
    first = aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=9)
    marks = {path: path.stat() for path in (tmp_path / "hats").rglob("*") if path.is_file()}
    assert aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=9) == first
    assert {path: path.stat() for path in marks} == marks


def test_an_export_that_died_goes_on(tmp_path):
    """Until the last step no reader finds properties; the same call then brings what is missing."""
    write(tmp_path)

    def dying(function, parts):
        for number, part in enumerate(parts):
            if number == 5:
                raise KeyboardInterrupt
            yield function(part)

    with pytest.raises(KeyboardInterrupt):
        aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=9, map=dying)
    assert not (tmp_path / "hats/hats.properties").exists()
    assert len(list((tmp_path / "hats").rglob("*.parquet"))) == 5
    done = aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=9)
    assert done == aggrade.export_hats(tmp_path, tmp_path / "other", objects_per_file=9).model_copy(
        update={"folder": done.folder}
    )


def test_parts_go_to_other_processes(tmp_path):
    """What each file is made of is pickled and unpickled on its way, as a cluster does it."""
    truth = write(tmp_path)

    def far(function, parts):
        for part in parts:
            sent_function, sent_part = pickle.loads(pickle.dumps((function, part)))
            yield pickle.loads(pickle.dumps(sent_function(sent_part)))

    done = aggrade.export_hats(tmp_path, tmp_path / "hats", map=far)
    assert done.cells == int((truth["status"] != 0).sum())


def test_a_file_that_lacks_an_object_is_noticed(tmp_path):
    """A file with other rows than the store's objects in its cell stops the export."""
    write(tmp_path)

    def adding(function, parts):
        for part in parts:
            more = part.cell._replace(objects=np.append(part.cell.objects, 0))
            yield function(part._replace(cell=more))

    with pytest.raises(Damaged, match=r"expected \d+ objects") as caught:
        aggrade.export_hats(tmp_path, tmp_path / "hats", map=adding)
    assert caught.value.code == "export-counts"
    assert not (tmp_path / "hats/hats.properties").exists()


def test_a_folder_in_use_is_refused(tmp_path):
    """Where other files lie nothing is written; nor over another state of the same light curves."""
    write(tmp_path / "one")
    (tmp_path / "one/notes.txt").write_text("mine")
    with pytest.raises(Refused, match=r"other objects, such as lightcurves\.zarr"):
        aggrade.export_hats(tmp_path / "one", tmp_path / "one")
    aggrade.export_hats(tmp_path / "one", tmp_path / "hats")
    write(tmp_path / "two", generation=9)
    with pytest.raises(Refused, match="properties") as caught:
        aggrade.export_hats(tmp_path / "two", tmp_path / "hats")
    assert caught.value.code == "folder-in-use"


def test_objects_without_a_position_are_counted(tmp_path):
    """They are left out, and the result says how many; without any others there is nothing to export."""
    ra = np.where(np.arange(COUNT) < 3, np.nan, RA)
    truth = write(tmp_path, ra=ra, dec=np.where(np.isnan(ra), np.nan, DEC))
    done = aggrade.export_hats(tmp_path, tmp_path / "hats")
    assert (done.objects, done.without_position) == (COUNT - 3, 3)
    assert done.cells == int((truth["status"][3:] != 0).sum())
    assert "3 objects without a position are left out" in str(done)
    nowhere = np.full(COUNT, np.nan)
    write(tmp_path / "nowhere", ra=nowhere, dec=nowhere)
    with pytest.raises(BadInput, match="80 objects without a position"):
        aggrade.export_hats(tmp_path / "nowhere", tmp_path / "other")


def test_a_store_that_lost_cells_is_not_exported(tmp_path):
    """If there are fewer cells than the epochs say, there is no catalogue."""
    truth = light_curves(IDS, RA, DEC)
    cells = (truth["status"] != 0).sum(("object", "measurement"))
    truth = truth.assign_coords(cells=("epoch", cells.values + (np.arange(6) == 2)))
    write_light_curves(truth, tmp_path, "lightcurves.zarr", objects=COUNT, epochs=1)
    with pytest.raises(Damaged, match="as its epochs say"):
        aggrade.export_hats(tmp_path, tmp_path / "hats")
    assert not (tmp_path / "hats/hats.properties").exists()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\\b"])
def test_names_that_properties_cannot_hold_are_refused(tmp_path, name):
    """A name is one line of text."""
    with pytest.raises(BadInput, match="line of text"):
        aggrade.export_hats(tmp_path, tmp_path / "hats", name=name)


def test_files_of_no_objects_are_refused(tmp_path):
    """At least one object goes to a file."""
    write(tmp_path)
    with pytest.raises(BadInput, match="1 or more"):
        aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=0)


def test_reading_file_by_file_is_warned_of(tmp_path, caplog):
    """The layout that epochs are written in is read once for each file, and that is said."""
    write(tmp_path)
    aggrade.export_hats(tmp_path, tmp_path / "one")
    aggrade.export_hats(tmp_path, tmp_path / "many", objects_per_file=9)
    assert sum("rechunk it first" in message for message in caplog.messages) == 2


def test_the_command(tmp_path, capsys):
    """`aggrade export` says what it wrote."""
    write(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["export", str(tmp_path), str(tmp_path / "hats"), "--name", "mine"])
    assert caught.value.code == 0
    assert "80 objects" in capsys.readouterr().out
    assert properties_of(tmp_path / "hats")["obs_collection"] == "mine"


def test_s3(tmp_path, s3_prefix):
    """Into a bucket the same objects go as into a folder."""
    write(tmp_path)
    there = aggrade.export_hats(
        tmp_path, f"{s3_prefix.url}/hats", objects_per_file=9, storage_options=s3_prefix.storage_options
    )
    here = aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=9)
    assert there.model_copy(update={"folder": here.folder}) == here
    storage = aggrade.storage.open_storage(f"{s3_prefix.url}/hats", s3_prefix.storage_options)
    for item in storage.list():
        assert storage.read(item.key).data == (tmp_path / "hats" / item.key).read_bytes()


def test_lsdb_opens_it(tmp_path):
    """LSDB takes the catalogue for valid, and counts, regions and light curves are the store's.

    AGGRADE_LSDB_PYTHON names the interpreter of an environment that has LSDB.
    """
    python = os.environ.get("AGGRADE_LSDB_PYTHON") or (sys.executable if find_spec("lsdb") else None)
    if python is None:
        pytest.skip("lsdb is not installed, and AGGRADE_LSDB_PYTHON names no environment that has it")
    ra, dec = np.concatenate([RA[:-3], [10, 100, 359]]), np.concatenate([DEC[:-3], [89.5, 88.5, 90]])
    truth = write(tmp_path, ra=ra, dec=dec)
    done = aggrade.export_hats(tmp_path, tmp_path / "hats", objects_per_file=9)
    run = subprocess.run(
        [python, "-c", READER, str(tmp_path / "hats")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["valid"]
    assert (found["objects"], found["length"], found["cells"]) == (COUNT, COUNT, done.cells)
    near = aggrade.LightCurves(tmp_path).cone(0, 89, 2)
    assert found["cone"] == sorted(near["object"].values.tolist())
    assert len(near["object"]) >= 2
    for index in (0, 40, 79):
        arrays = truth.isel(object=index)
        cells = [
            [
                float(arrays["epoch_time"][e]) + float(arrays["time_offset"][b, e]) / 86400,
                "gr"[b],
                float(arrays["lightcurves"][b, 0, e]),
            ]
            for b in range(2)
            for e in range(6)
            if int(arrays["status"][b, e])
        ]
        assert found["curves"][str(IDS[index])] == sorted(cells)
