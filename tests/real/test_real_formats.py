"""Real catalogues of other formats, cell by cell against independent readings of the same files."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from aggrade.catalogues.finding import find_catalogues
from aggrade.catalogues.inspecting import discover
from aggrade.catalogues.loading import How, load_epoch
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec

pytestmark = pytest.mark.real


def rows_of(catalogues, spec):
    """Return every row that says something, as (epoch, id, measurement, status, value, error, time), sorted."""
    how = How(spec=CatalogueSpec.model_validate(spec), match=MatchSpec())
    found = discover(find_catalogues(catalogues), how, None, map)
    assert not found.problems
    rows = []
    for source in found.epochs:
        epoch = load_epoch(source, how, None).catalogue
        for row, column in np.argwhere(epoch.status > 0):
            numbers = (
                each[row, column].item() for each in (epoch.status, epoch.value, epoch.error, epoch.time)
            )
            name = "" if epoch.ids is None else str(epoch.ids[row])
            rows.append((epoch.key, name, epoch.measurements[column], *numbers))
    return sorted(rows, key=repr)


def test_one_plain_file_per_object_and_band(real_data):
    """All 15,118 lines of 19 MACHO light curves come out, each under its object, band and time."""
    folder = real_data / "catalogues" / "macho"
    spec = {
        "object_id": {"filename": r"lc_(.+)\.[BR]\.mjd"},
        "epoch": {"column": "MJD"},
        "time": "MJD",
        "time_scale": "utc",
        "measurements": {"x": {"value": "Mag", "error": "Err", "name": {"filename": r"\.([BR])\.mjd"}}},
        "unit": "mag",
    }
    expected = []
    for path in folder.glob("*.mjd"):
        _, name, band, _ = (
            path.name.replace("lc_", "lc_|", 1).replace(".B.", "|B|").replace(".R.", "|R|").split("|")
        )
        for mjd, mag, error in np.loadtxt(path):
            expected.append((str(mjd), name, band, 1, np.float32(mag).item(), np.float32(error).item(), mjd))
    assert len(expected) == 15118
    assert rows_of(folder, spec) == sorted(expected, key=repr)


def test_an_ipac_table_of_forced_fluxes(real_data):
    """All 1,150 rows of 17 epochs and two bands come out, each detection twice as the file lists it."""
    (path,) = (real_data / "catalogues" / "untimely").glob("*.dat")
    spec = {
        "ra": "ra",
        "dec": "dec",
        "epoch": {"column": "epoch"},
        "time": "mjdmean",
        "time_scale": "utc",
        "measurements": {
            f"W{band}": {"value": "flux", "error": "dflux", "where": {"band": band}} for band in (1, 2)
        },
        "value": "flux",
    }
    lines = path.read_text().splitlines()
    edges = [place for place, letter in enumerate(lines[0]) if letter == "|"]
    names = [name.strip() for name in lines[0].strip("|").split("|")]
    table = pd.DataFrame(
        [[line[a:b].strip() for a, b in itertools.pairwise(edges)] for line in lines[4:]],
        columns=names,
    )
    expected = [
        (
            row.epoch,
            "",
            f"W{row.band}",
            1,
            np.float32(row.flux).item(),
            np.float32(row.dflux).item(),
            float(row.mjdmean),
        )
        for row in table.itertuples()
    ]
    assert len(expected) == 1150
    assert rows_of(path, spec) == sorted(expected, key=repr)


def test_nested_alerts_say_what_the_flat_table_says(real_data):
    """Detections and limits in the alerts' packets are those of the table that was read from them."""
    columns = {"value": "magpsf", "error": "sigmapsf", "limit": "diffmaglim"}
    spec = {
        "object_id": "objectId",
        "ra": "ra",
        "dec": "dec",
        "epoch": {"column": "jd"},
        "time": "jd",
        "time_format": "jd",
        "time_scale": "utc",
        "measurements": {name: {**columns, "where": {"fid": fid}} for name, fid in (("g", 1), ("r", 2))},
        "unit": "mag",
    }
    folder = real_data / "catalogues" / "ztf_field"
    flat, nested = (rows_of(folder / f"{name}.parquet", spec) for name in ("ztf_field_51obj", "alerts"))
    assert len(flat) == 818
    assert repr(nested) == repr(flat)
