"""Whatever format and layout a survey is delivered in, its epochs hold the same cells."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable.tree import Param, Resource, TableElement, VOTableFile
from astropy.table import QTable, Table
from make_catalogues import write_ldac

from aggrade.catalogues.finding import find_catalogues
from aggrade.catalogues.inspecting import discover
from aggrade.catalogues.loading import How, load_epoch
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec
from aggrade.errors import BadInput

IDS = np.array([2**60 + 1, 2**60 + 2, 2**53 + 1])
ROWS = pd.DataFrame(
    {
        "objid": np.tile(IDS, 4),
        "ra": np.tile([0.125, 359.5, 180.25], 4),
        "dec": np.tile([-89.5, 0.0, 45.25], 4),
        "mjd": np.repeat([61000.25, 61000.25, 61003.5, 61003.5], 3),
        "night": np.repeat([7, 7, 8, 8], 3),
        "band": np.tile(np.repeat(["g", "r"], 3), 2),
        "mag": 15 + np.arange(12) / 8,
        "err": 0.125 + np.arange(12) / 64,
    }
)
"""Three objects, two nights, two bands; a row for each. Every number is one of float32, too."""
ROWS.loc[4, ["mag", "err"]] = np.nan
SPEC = {
    "object_id": "objid",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_scale": "tai",
    "epoch": {"column": "night"},
    "measurements": {band: {"value": "mag", "error": "err", "where": {"band": band}} for band in "gr"},
    "unit": "mag",
}
ONE_BAND = {"band": {"value": "mag", "error": "err"}}
EXPECTED = {
    (str(row.night), row.objid, row.band): (row.mag, row.err, row.mjd, row.ra)
    for row in ROWS.itertuples()
    if np.isfinite(row.mag)
}
"""(Epoch, id, band) → value, error, time, right ascension; what was not measured is not there."""


def cells_of(folder, spec):
    """Return what a folder holds, cell by cell."""
    how = How(spec=CatalogueSpec.model_validate(spec), match=MatchSpec())
    found = discover(find_catalogues(folder), how, None, map)
    if found.problems:
        raise BadInput(*found.problems)
    cells = {}
    for epoch in found.epochs:
        read = load_epoch(epoch, how, None).catalogue
        assert set(read.units) == {"mag"}
        for row, column in np.argwhere(read.status == 1):
            place = (epoch.key, read.ids[row].item(), read.measurements[column])
            assert place not in cells
            cells[place] = tuple(
                float(each)
                for each in (
                    read.value[row, column],
                    read.error[row, column],
                    read.time[row, column],
                    read.ra[row],
                )
            )
    return cells


def table(rows=ROWS, names=("objid", "ra", "dec", "mjd", "night", "band", "mag", "err")):
    """Return rows as an astropy table with units."""
    made = Table(
        {name: rows[name].to_numpy(str if name == "band" else None) for name in names if name in rows}
    )
    for name in ("mag", "err"):
        made[name].unit = "mag"
    return made


def by_astropy(rows, path, **how):
    """Write rows by astropy."""
    table(rows).write(path, **how)


def as_ldac(rows, path):
    """Write rows as FITS_LDAC."""
    write_ldac(path, {name: table(rows)[name] for name in table(rows).colnames}, {"FILTER": "x"})


def as_sextractor(rows, path):
    """Write rows as ASCII_HEAD, by hand."""
    units = {"mag": "[mag]", "err": "[mag]"}
    head = [f"#  {place} {name:<20} About it {units.get(name, '')}" for place, name in enumerate(rows, 1)]
    body = [" ".join(map(str, row)) for row in rows.itertuples(index=False)]
    path.write_text("\n".join([*head, *body, ""]))


def as_photutils(rows, path):
    """Write rows as photutils would: positions as coordinates, values as quantities."""
    made = QTable(
        {
            name: rows[name].to_numpy(str if name == "band" else None)
            for name in ("objid", "mjd", "night", "band")
        }
    )
    made["sky"] = SkyCoord(rows["ra"].to_numpy() * u.deg, rows["dec"].to_numpy() * u.deg)
    made["mag"], made["err"] = rows["mag"].to_numpy() * u.mag, rows["err"].to_numpy() * u.mag
    made.write(path, format="ascii.ecsv")


def as_lists(rows, path):
    """Write a row per object, with lists of what was measured."""
    grouped = rows.groupby(["objid", "ra", "dec"], as_index=False).agg(list)
    pq.write_table(pa.Table.from_pandas(grouped, preserve_index=False), path)


def as_structures(rows, path):
    """Write a row per object, with a list of structures."""
    grouped = rows.groupby(["objid", "ra", "dec"])
    sources = [part.drop(columns=["objid", "ra", "dec"]).to_dict("records") for _, part in grouped]
    keys = pd.DataFrame([key for key, _ in grouped], columns=["objid", "ra", "dec"])
    keys["objid"] = keys["objid"].astype("i8")
    pq.write_table(
        pa.Table.from_pandas(keys, preserve_index=False).append_column("lc", pa.array(sources)), path
    )


WRITERS = {
    "FITS": ("fits", lambda rows, path: by_astropy(rows, path, format="fits")),
    "FITS_LDAC": ("cat", as_ldac),
    "ECSV": ("ecsv", lambda rows, path: by_astropy(rows, path, format="ascii.ecsv")),
    "VOTable": ("xml", lambda rows, path: by_astropy(rows, path, format="votable")),
    "binary VOTable": (
        "vot",
        lambda rows, path: by_astropy(rows, path, format="votable", tabledata_format="binary2"),
    ),
    "IPAC": ("dat", lambda rows, path: by_astropy(rows, path, format="ascii.ipac")),
    "Parquet": ("parquet", lambda rows, path: rows.to_parquet(path)),
    "Parquet of lists": ("parquet", as_lists),
    "Parquet of structures": ("parquet", as_structures),
    "CSV": ("csv", lambda rows, path: rows.to_csv(path, index=False)),
    "CSV of another name": ("txt", lambda rows, path: rows.to_csv(path, index=False)),
    "SExtractor": ("cat", as_sextractor),
    "plain text": ("asc", lambda rows, path: by_astropy(rows, path, format="ascii.commented_header")),
    "photutils": ("ecsv", as_photutils),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_cells(kind, tmp_path):
    """A file of each format, several epochs and bands in it, holds the same cells of the same 64-bit ids."""
    suffix, write = WRITERS[kind]
    write(ROWS, tmp_path / f"all.{suffix}")
    spec = {**SPEC, "ra": "sky.ra", "dec": "sky.dec"} if kind == "photutils" else SPEC
    assert cells_of(tmp_path, spec) == EXPECTED


@pytest.mark.parametrize("kind", ["FITS", "IPAC", "VOTable", "plain text"])
def test_one_file_per_epoch_and_band(kind, tmp_path):
    """Epoch and band by the file's name are the same as by columns."""
    suffix, write = WRITERS[kind]
    for (night, band), rows in ROWS.groupby(["night", "band"]):
        write(rows.drop(columns=["night", "band"]), tmp_path / f"night_{night}_{band}.{suffix}")
    named = {"name": {"filename": r"_([gr])\."}}
    spec = {
        **SPEC,
        "epoch": {"filename": r"night_(\d+)"},
        "measurements": {"x": {**ONE_BAND["band"], **named}},
    }
    assert cells_of(tmp_path, spec) == EXPECTED


def test_one_epoch_in_several_files(tmp_path):
    """Rows of one epoch may lie in as many files as there are detectors, of different formats even."""
    for detector, (rows, kind) in enumerate(
        zip((ROWS[::3], ROWS[1::3], ROWS[2::3]), ("FITS", "IPAC", "CSV"), strict=True)
    ):
        suffix, write = WRITERS[kind]
        write(rows, tmp_path / f"detector_{detector}.{suffix}")
    assert cells_of(tmp_path, SPEC) == EXPECTED


def test_bands_as_columns(tmp_path):
    """A column per band says the same as a row per band."""
    wide = ROWS.pivot(index=["objid", "ra", "dec", "mjd", "night"], columns="band", values=["mag", "err"])
    wide.columns = ["_".join(each) for each in wide.columns]
    wide.reset_index().to_csv(tmp_path / "all.csv", index=False)
    bands = {band: {"value": f"mag_{band}", "error": f"err_{band}"} for band in "gr"}
    assert cells_of(tmp_path, {**SPEC, "measurements": bands}) == EXPECTED


NAMED = {**SPEC, "measurements": {"x": {**ONE_BAND["band"], "name": {"header": "BAND"}}}}


def test_one_table_per_band_in_a_fits_file(tmp_path):
    """Every table of a FITS file is read with its own header; images and other tables beside them are not."""
    parts = [fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((8, 8), "i2")), fits.ImageHDU(np.zeros(3))]
    parts.append(fits.BinTableHDU(Table({"ra": [1.5], "dec": [2.5], "seeing": [0.5]})))
    for band, rows in ROWS.groupby("band"):
        hdu = fits.BinTableHDU(table(rows.drop(columns="band")))
        hdu.header["BAND"] = band
        parts.append(hdu)
    fits.HDUList(parts).writeto(tmp_path / "all.fits")
    assert cells_of(tmp_path, NAMED) == EXPECTED


def test_one_table_per_band_in_a_votable(tmp_path):
    """Every table of a VOTable is read with its own parameters."""
    document = VOTableFile()
    document.resources.append(resource := Resource())
    for band, rows in ROWS.groupby("band"):
        part = TableElement.from_table(document, table(rows.drop(columns="band")))
        part.params.append(Param(document, name="BAND", value=band, datatype="char", arraysize="*"))
        resource.tables.append(part)
    file = io.BytesIO()
    document.to_xml(file)
    (tmp_path / "all.xml").write_bytes(file.getvalue())
    assert cells_of(tmp_path, NAMED) == EXPECTED


def test_one_table_per_detector_of_ldac(tmp_path):
    """Each detector's objects are read with the header of their own image."""
    parts = [fits.PrimaryHDU()]
    for detector, rows in enumerate((ROWS[::2], ROWS[1::2])):
        path = tmp_path / f"{detector}.part"
        as_ldac(rows, path)
        with fits.open(path) as single:
            parts += [each.copy() for each in single[1:]]
        path.unlink()
    fits.HDUList(parts).writeto(tmp_path / "all.ldac")
    assert cells_of(tmp_path, SPEC) == EXPECTED


def test_a_table_that_lacks_a_column_is_no_other_table(tmp_path):
    """Of two tables for one epoch, one without the errors' column is a mistake, and named as such."""
    tables = [table(ROWS[::2]), table(ROWS[1::2])]
    tables[1].remove_column("err")
    fits.HDUList([fits.PrimaryHDU(), *map(fits.BinTableHDU, tables)]).writeto(tmp_path / "all.fits")
    with pytest.raises(BadInput, match=r"column err: found no such column"):
        cells_of(tmp_path, SPEC)


@pytest.mark.parametrize("kind", ["FITS", "IPAC", "ECSV", "Parquet", "VOTable"])
def test_text_that_looks_like_numbers_stays_apart(kind, tmp_path):
    """Where the file says that ids or epochs are text, 1.10 is not 1.1, in no format that has types."""
    suffix, write = WRITERS[kind]
    rows = ROWS.assign(objid=np.tile(["1.1", "1.10", "007"], 4), night=np.repeat(["1.1", "1.10"], 6))
    if kind == "Parquet":
        write(rows, tmp_path / f"all.{suffix}")
    else:
        made = table(rows.drop(columns=["objid", "night"]))
        for name in ("objid", "night"):
            made[name] = rows[name].to_numpy(str)
        made.write(
            tmp_path / f"all.{suffix}",
            format={"FITS": "fits", "VOTable": "votable"}.get(kind, f"ascii.{kind.lower()}"),
        )
    found = cells_of(tmp_path, SPEC)
    assert {key[0] for key in found} == {"1.1", "1.10"}
    assert {key[1] for key in found} == {"1.1", "1.10", "007"}
    assert len(found) == len(EXPECTED)


@pytest.mark.parametrize("kind", ["FITS", "IPAC", "ECSV", "Parquet", "VOTable", "CSV", "SExtractor"])
def test_ids_that_went_through_floats_are_refused(kind, tmp_path):
    """An id column of floats has lost digits already: it is refused in every format."""
    suffix, write = WRITERS[kind]
    write(ROWS.assign(objid=ROWS["objid"].astype(float)), tmp_path / f"all.{suffix}")
    with pytest.raises(BadInput, match=r"2\^53|floating point"):
        cells_of(tmp_path, SPEC)
