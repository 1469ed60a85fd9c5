"""From a table to the detections of its epochs: what each row says, and every problem at once."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.interpreting import interpret, key_of_value, name_in
from aggrade.catalogues.spec import CatalogueSpec, Origin
from aggrade.catalogues.tables import Column, Table, text_column

NAN = np.nan
SPEC = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_scale": "tai",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {
        "g": {"value": "g", "error": "ge", "limit": "gl", "flags": "gf"},
        "r": {"value": "r"},
    },
}
COLUMNS = {
    "id": np.array([11, 12, 13]),
    "ra": np.array([10.0, 359.0, -5.0]),
    "dec": np.array([0.0, 90.0, -90.0]),
    "mjd": np.array([60000.25, 60000.5, 60000.25]),
    "g": np.array([20.0, NAN, 21.0], "f4"),
    "ge": np.array([0.1, NAN, 0.2]),
    "gl": np.array([NAN, 22.0, NAN]),
    "gf": np.array([0, 0, 4], "i2"),
    "r": np.array([19.0, 18.5, NAN]),
}


def spec_of(**changes):
    """Return the specification with some fields changed; None removes a field."""
    fields = {**SPEC, **changes}
    return CatalogueSpec.model_validate({name: value for name, value in fields.items() if value is not None})


def table(header=None, units=None, **changes):
    """Return the table with some columns changed; None removes a column."""
    named = {name: values for name, values in {**COLUMNS, **changes}.items() if values is not None}
    columns = {}
    for name, values in named.items():
        array = np.asarray(values)
        unit = (units or {}).get(name)
        nothing = np.zeros(len(array), bool)
        columns[name] = (
            text_column(array, nothing, unit) if array.dtype.kind == "U" else Column.whole(array, unit)
        )
    return Table(columns, tuple(columns), header or {}, len(next(iter(columns.values())).values))


def problems_of(given, spec=None, *, by_id=True, path="night_7.fits"):
    """Return the problems of a table as one text."""
    found = interpret(given, path, spec or spec_of(), by_id=by_id)
    assert found.problems
    assert not found.epochs
    return "\n".join(map(str, found.problems))


def only(given, spec=None, *, by_id=True, path="sub/night_7.fits"):
    """Return the one epoch of a table."""
    found = interpret(given, path, spec or spec_of(), by_id=by_id)
    assert found.problems == ()
    assert len(found.epochs) == 1
    return found.epochs[0]


def test_a_table_becomes_an_epoch():
    """Values, states, times, ids and places of every row are what the columns say."""
    epoch = only(table())
    assert (epoch.key, epoch.rows, epoch.measurements, epoch.units) == ("7", 3, ("g", "r"), ("mag", "mag"))
    assert epoch.status.tolist() == [[1, 1], [2, 1], [3, 0]]
    assert np.array_equal(epoch.value, np.array([[20, 19], [22, 18.5], [21, NAN]], "f4"), equal_nan=True)
    assert np.array_equal(epoch.error, np.array([[0.1, NAN], [NAN, NAN], [0.2, NAN]], "f4"), equal_nan=True)
    assert epoch.value.dtype == np.float32
    expected = [[60000.25, 60000.25], [60000.5, 60000.5], [60000.25, NAN]]
    assert np.array_equal(epoch.time, expected, equal_nan=True)
    assert epoch.ids.tolist() == [11, 12, 13]
    assert epoch.ra.tolist() == [10.0, 359.0, -5.0]
    assert epoch.mean_time == 60000.25
    assert epoch.varies


def test_a_file_may_hold_several_epochs():
    """Rows are dealt out by the epoch's column, each to its own, whatever their order."""
    spec = spec_of(epoch={"column": "mjd"})
    epochs = interpret(table(), "all.csv", spec, by_id=True).epochs
    assert {epoch.key: epoch.ids.tolist() for epoch in epochs} == {"60000.25": [11, 13], "60000.5": [12]}
    assert [epoch.mean_time for epoch in epochs] == [60000.25, 60000.5]
    assert not any(epoch.varies for epoch in epochs)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        (np.array([3, 3, 10]), ["10", "3"]),
        (np.array(["b", "a", "b"]), ["a", "b"]),
        (np.array(["3", "3", "10"]), ["10", "3"]),
        (np.array([2458729.688148, 0.1, 0.1]), ["0.1", "2458729.688148"]),
    ],
)
def test_keys_read_as_their_values(values, keys):
    """An epoch's key is its value as text: whole numbers, text, and floats to the last digit."""
    found = interpret(table(visit=values), "a.csv", spec_of(epoch={"column": "visit"}), by_id=True)
    assert sorted(found.keys) == keys
    assert key_of_value(np.int64(5)) == "5"


def test_epochs_are_named_by_the_header():
    """A header key names the epoch, gives its time and its filter."""
    spec = spec_of(
        epoch={"header": "VISIT"},
        epoch_time="DATE-OBS",
        time=None,
        time_format="isot",
        filter={"header": "BAND"},
    )
    header = {"VISIT": 17, "DATE-OBS": "2026-10-01T12:00:00", "BAND": "g "}
    epoch = only(table(header=header), spec)
    assert (epoch.key, epoch.filter) == ("17", "g")
    assert epoch.mean_time == pytest.approx(61314.5, abs=1e-9)
    assert not epoch.varies
    assert np.isnan(epoch.time[epoch.status == 0]).all()


def test_a_header_time_and_row_times_go_together():
    """The header gives the epoch's time, the column each row's own."""
    epoch = only(table(header={"MJD": 60000.0}), spec_of(epoch_time="MJD"))
    assert epoch.mean_time == 60000.0
    assert epoch.varies
    assert epoch.time[1, 0] == 60000.5


def test_a_measurement_may_have_its_own_time():
    """A time column of one measurement goes before the rows' time."""
    spec = spec_of(measurements={"g": SPEC["measurements"]["g"], "r": {"value": "r", "time": "rt"}})
    epoch = only(table(rt=np.array([60001.0, 60002.0, NAN])), spec)
    assert np.array_equal(epoch.time[:, 1], [60001.0, 60002.0, NAN], equal_nan=True)
    assert epoch.time[0, 0] == 60000.25


def test_long_tables_have_a_row_per_band():
    """Rows are chosen by a condition; each measurement sees its own."""
    spec = spec_of(
        measurements={
            "g": {"value": "r", "where": {"band": "g"}},
            "r": {"value": "r", "where": "band == 'r'"},
        }
    )
    epoch = only(table(band=np.array(["g", "r", "z"]), r=np.array([1.0, 2.0, 3.0])), spec)
    assert epoch.status.tolist() == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("name", "header", "names"),
    [
        ({"filename": r"\.(\w)\.fits"}, {}, ("B",)),
        ({"header": "FILTER"}, {"FILTER": "V"}, ("V",)),
        ({"column": "band"}, {}, ("g", "z")),
    ],
)
def test_a_measurement_may_be_named_by_the_file(name, header, names):
    """The name comes from the file's name, its header, or row by row from a column."""
    spec = spec_of(measurements=[{"value": "r", "name": name}])
    given = table(header=header, band=np.array(["g", "z", "g"]))
    epoch = only(given, spec, path="night_7.B.fits")
    assert epoch.measurements == names
    if len(names) == 2:
        assert epoch.status.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_one_file_may_be_one_object():
    """The object's id may be in the file's name."""
    spec = spec_of(object_id={"filename": r"lc_(.+)\.B\.csv"}, epoch={"column": "mjd"})
    found = interpret(table(), "lc_1.3444.614.B.csv", spec, by_id=True)
    assert {each for epoch in found.epochs for each in epoch.ids.tolist()} == {"1.3444.614"}
    spec = spec_of(object_id={"filename": r"lc_(\d+)\.csv"}, epoch={"column": "mjd"})
    assert interpret(table(), "lc_12.csv", spec, by_id=True).epochs[0].ids.tolist() == [12, 12]


def test_rows_matched_by_sky_need_no_ids():
    """By sky, the id column is not kept; rows that say nothing need no place."""
    epoch = only(table(ra=np.array([1.0, 2.0, 3.0])), by_id=False)
    assert epoch.ids is None
    blank = only(table(g=[20, NAN, NAN], gl=[NAN] * 3, r=[NAN] * 3, ra=[1.0, NAN, NAN]), by_id=False)
    assert blank.status.any(axis=1).tolist() == [True, False, False]


def test_filters_come_from_a_column():
    """One filter per epoch is read from a column; empty is allowed."""
    assert only(table(band=np.array(["g", "g", "g"])), spec_of(filter="band")).filter == "g"
    assert only(table(band=np.array(["", "", ""])), spec_of(filter="band")).filter == ""


def test_places_without_numbers_are_kept_by_id():
    """By id, rows without a place are taken: a limit has none."""
    epoch = only(table(ra=np.array([NAN, 1.0, np.inf])))
    assert np.isnan(epoch.ra[[0, 2]]).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": None}, "night_7.fits, column id: found no such column"),
        ({"id": None, "objid": COLUMNS["id"]}, "among objid"),
        ({"g": np.array(["a", "b", "c"])}, "column g: found text, expected numbers"),
        ({"g": np.zeros((3, 2))}, "column g: found vectors"),
        ({"id": np.array([1.0, 2.0, 3.0])}, "column id: found ids as numbers: they lose digits"),
        ({"id": np.array(["a", "", "c"])}, "1 rows without an id"),
        ({"ra": np.array([1.0, 400.0, 2.0])}, "column ra: found 1 values such as 400"),
        ({"ra": np.array([1.0, -181.0, 2.0])}, "such as -181"),
        ({"dec": np.array([1.0, 91.0, -91.0])}, "column dec: found 2 values such as 91"),
        ({"mjd": np.array([60000.0, NAN, 60000.0])}, "column mjd: found 1 rows without a time"),
        ({"mjd": np.array([2460000.0, 2460000.0, 2460000.0])}, "set time_format to 'jd'"),
        ({"mjd": np.array([60000.0, np.inf, 60000.0])}, "not finite"),
        ({"g": np.array([1e39, 1.0, 1.0])}, "column g: found 1 numbers such as 1e+39"),
        ({"ge": np.array([1e-39, 1.0, 1.0])}, "column ge: found 1 numbers"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(changes, told):
    """File, column and number of rows are named."""
    assert told in problems_of(table(**changes))


def test_all_that_is_wrong_is_told_at_once():
    """Several wrong columns are told together; so are several wrong values."""
    told = problems_of(table(id=None, r=None, g=np.array(["a", "b", "c"])))
    assert told.count("night_7.fits") == 3
    told = problems_of(table(ra=[400.0, 1, 1], dec=[91.0, 1, 1], id=[1.0, 2, 3]))
    assert told.count("night_7.fits") == 3


@pytest.mark.parametrize("by_id", [True, False])
def test_nothing_hides_anything_else(by_id):
    """A column that is missing, wrong places, a unit, a time that is none and rows that repeat: each is told."""
    lacking = table(ge=None, ra=[400.0, 1, 1], mjd=[np.inf, 6e4, 6e4], units={"r": "nJy"})
    told = problems_of(lacking, spec_of(unit="mag"), by_id=by_id)
    for column in ("ge", "ra", "mjd", "r"):
        assert f"night_7.fits, column {column}: found" in told
    twice = {"ra": [400.0, 400, 1], "dec": [95.0, 95, 1], "id": [11, 11, 13]}
    told = problems_of(table(mjd=[NAN, 6e4, 6e4], **twice), by_id=by_id)
    for found in ("column ra: found 2", "column dec: found 2", "column mjd: found 1 rows without a time"):
        assert found in told
    assert "1 rows that repeat another in epoch 7, measurement r" in told


def test_a_row_without_a_place_is_refused_by_sky():
    """By sky, a row that says something needs a place."""
    assert "1 rows without a position" in problems_of(table(ra=[NAN, 1.0, 2.0]), by_id=False)


@pytest.mark.parametrize(
    ("spec", "given", "told"),
    [
        ({"epoch": {"filename": r"visit(\d+)"}}, {}, "no epoch by"),
        ({"epoch": {"header": "VISIT"}}, {}, "no epoch by 'VISIT'"),
        ({"epoch": {"column": "visit"}}, {"visit": np.array(["a", "", "b"])}, "1 rows without an epoch"),
        ({"epoch": {"column": "visit"}}, {"visit": np.zeros((3, 2))}, "column visit: found vectors"),
        ({"epoch_time": "MJD-OBS", "time": None}, {}, "no MJD-OBS in the header"),
        ({"epoch_time": "DATE"}, {"header": {"DATE": "today"}}, "correct DATE"),
        ({"filter": {"header": "BAND"}}, {}, "no filter by 'BAND'"),
        ({"filter": "band"}, {"band": np.array(["g", "g", "r"])}, "filters g, r in epoch 7"),
        ({"object_id": {"filename": r"obj_(\d+)"}}, {}, "no object id by"),
        ({"measurements": [{"value": "r", "name": {"header": "F"}}]}, {}, "no measurement by 'F'"),
        (
            {
                "measurements": [
                    {"value": "g", "name": {"header": "F"}},
                    {"value": "r", "name": {"header": "F"}},
                ]
            },
            {"header": {"F": "V"}},
            "several measurements called V",
        ),
    ],
)
def test_what_the_specification_misses_is_named(spec, given, told):
    """A name, header key or filter that isn't there is told."""
    assert told in problems_of(table(**given), spec_of(**spec))


def test_keys_are_told_even_of_bad_files():
    """Which epochs a bad file holds is known where it can be told, so that they are not taken for whole."""
    found = interpret(table(id=None), "night_7.fits", spec_of(), by_id=True)
    assert found.keys == ("7",)
    found = interpret(table(id=None), "a.fits", spec_of(epoch={"column": "mjd"}), by_id=True)
    assert found.keys == ("60000.25", "60000.5")


@pytest.mark.parametrize(
    ("spec", "units", "answer"),
    [
        ({}, {}, ("mag", "mag")),
        ({}, {"g": "mag"}, ("mag", "mag")),
        ({"unit": "mag"}, {"g": "MAG"}, ("mag", "mag")),
        ({"value": "flux", "unit": "nJy"}, {}, ("nJy", "nJy")),
        ({"value": "flux"}, {"g": "nJy", "r": "uJy"}, ("nJy", "uJy")),
        ({"value": "flux"}, {"g": "ct/s", "r": "ct s-1"}, ("ct / s", "ct / s")),
        ({"value": "flux"}, {"g": "nMgy", "r": "DN per night"}, ("nMgy", "DN per night")),
        ({"value": "flux", "unit": "erg / (s cm2)"}, {"g": "erg/s/cm2"}, ("erg / (s cm2)", "erg / (s cm2)")),
        ({"unit": "ABmag"}, {"g": "abmag"}, ("ABmag", "ABmag")),
        ({}, {"ra": "deg", "dec": "Degrees"}, ("mag", "mag")),
    ],
)
def test_units_are_kept_as_given(spec, units, answer):
    """Units come from the specification or the file; spellings of one unit agree; nothing is converted."""
    epoch = only(table(units=units), spec_of(**spec))
    assert epoch.units == answer
    assert epoch.value[0, 0] == 20.0


@pytest.mark.parametrize(
    ("spec", "units", "told"),
    [
        ({"value": "flux"}, {"g": "nJy"}, "column r: found no unit"),
        ({"unit": "mag"}, {"g": "nJy"}, "column g: found unit 'nJy', expected unit 'mag'"),
        ({"value": "flux", "unit": "nJy"}, {"g": "uJy"}, "never converted"),
        ({"value": "flux", "unit": "mJy"}, {"g": "MJy"}, "found unit 'MJy'"),
        ({}, {"g": "mag", "ge": "mmag"}, "column ge: found unit 'mmag'"),
        ({}, {"ra": "hourangle"}, "column ra: found unit 'hourangle', expected degrees"),
        ({}, {"dec": "rad"}, "column dec: found unit 'rad'"),
    ],
)
def test_units_that_differ_are_refused(spec, units, told):
    """A file in another unit than was said is refused, positions in hours too."""
    assert told in problems_of(table(units=units), spec_of(**spec))


def test_an_empty_table_is_an_epoch_of_no_rows():
    """A night on which nothing was seen is an epoch if its header has the time."""
    empty = {name: values[:0] for name, values in COLUMNS.items()}
    epoch = only(table(header={"MJD": 60000.5}, **empty), spec_of(epoch_time="MJD", time=None))
    assert epoch.rows == 0
    assert epoch.mean_time == 60000.5
    assert np.isnan(only(table(**empty)).mean_time)


@pytest.mark.parametrize(
    ("path", "found"),
    [("b/night_7.fits", "7"), ("night_8/x.fits", "8"), ("night_8/night_9.fits", "9"), ("x.fits", None)],
)
def test_names_are_searched_in_the_file_then_in_its_path(path, found):
    """The file's own name goes before its folders."""
    assert name_in(Origin(filename=r"night_(\d)"), path) == found
