"""Specifications of catalogues: what they take, what they refuse, and what their digest depends on."""

from __future__ import annotations

import pytest

from aggrade.catalogues.spec import CatalogueSpec, MatchSpec, Measurement, spec_digest, specification
from aggrade.errors import BadInput

MINIMAL = {
    "object_id": "id",
    "time": "mjd",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "g_mag", "error": "g_err"}},
}


def spec_of(**changes):
    """Return the minimal specification with some fields changed; None removes a field."""
    fields = {**MINIMAL, **changes}
    return specification(CatalogueSpec, {name: value for name, value in fields.items() if value is not None})


def test_a_dictionary_is_a_specification():
    """A plain dictionary is taken wherever a specification is, and survives JSON."""
    spec = spec_of()
    assert spec.object_id.column == "id"
    assert spec.measurements["g"] == Measurement(value="g_mag", error="g_err")
    assert CatalogueSpec.model_validate_json(spec.model_dump_json()) == spec
    assert specification(CatalogueSpec, spec) is spec
    assert specification(MatchSpec, None) == MatchSpec()


def test_every_field_is_described():
    """Every field of every specification says what a person should put there."""
    for model in (CatalogueSpec, MatchSpec, Measurement):
        assert all(field.description for field in model.model_fields.values()), model


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"time_scale": None}, ["time_scale"]),
        ({"time_scale": "GPS"}, ["GPS", "utc, tai"]),
        ({"time_ref": "moon"}, ["moon", "barycentric"]),
        ({"epoch": {"filename": "night"}}, ["0 groups"]),
        ({"epoch": {"filename": "(a)(b)"}}, ["2 groups"]),
        ({"epoch": {"filename": "(a"}}, ["no regular expression"]),
        ({"epoch": {"filename": "(a)", "column": "b"}}, ["exactly one"]),
        ({"epoch": {}}, ["exactly one"]),
        ({"measurements": {}}, ["at least 1"]),
        ({"measurements": {"g": {}}}, ["measurements.g.value"]),
        ({"measurements": {"g": {"value": "m", "where": "fid > 3"}}}, ["fid > 3", "not understood"]),
        ({"measurements": {"g": {"value": "m", "where": "fid =="}}}, ["not understood"]),
        ({"objectid": "x"}, ["objectid", "Extra inputs"]),
        ({"ra": "ra"}, ["both 'ra' and 'dec'"]),
        ({"object_id": None}, ["'object_id', or 'ra' and 'dec'"]),
        ({"time": None}, ["'time' (a column) or 'epoch_time'"]),
        ({"time": "BJD_TDB"}, ["time_ref", "travel of light"]),
        ({"time": "hjd"}, ["time_ref"]),
        ({"value_range": (3, 3)}, ["must be below"]),
        ({"error_range": (1, 0)}, ["must be below"]),
        ({"duplicates": "last"}, ["'refuse', 'best' or 'first'"]),
        ({"value": "counts"}, ["'mag' or 'flux'"]),
    ],
)
def test_what_is_wrong_is_refused(changes, told):
    """A wrong field is refused with a sentence that names it."""
    with pytest.raises(BadInput) as caught:
        spec_of(**changes)
    for words in told:
        assert words in str(caught.value)


def test_all_that_is_wrong_is_told_at_once():
    """Three wrong fields make one error with three problems."""
    with pytest.raises(BadInput) as caught:
        spec_of(time_scale="GPS", value="counts", nonsense=1)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("scale", "ref"), [("UTC", None), ("tdb", "Barycentric"), ("tcb", "barycenter"), ("TAI", "geocentric")]
)
def test_scales_and_places_are_taken_in_any_case(scale, ref):
    """Time scales and reference places are known in any case and kept in lower case."""
    spec = spec_of(time_scale=scale, time_ref=ref)
    assert spec.time_scale == scale.lower()
    assert spec.time_ref == (ref and ref.lower())


def test_times_for_light_travel_need_their_place():
    """A time called BJD is taken once its reference place is given."""
    assert spec_of(time="BJD", time_ref="barycentric").time == "BJD"


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ({"fid": 1}, {"fid": (1,)}),
        ({"fid": [1, 2]}, {"fid": (1, 2)}),
        ("fid == 1", {"fid": (1,)}),
        ("band == 'g' and field == 385", {"band": ("g",), "field": (385,)}),
        ("band in ('g', 'r')", {"band": ("g", "r")}),
    ],
)
def test_conditions_are_written_in_two_ways(where, meant):
    """A condition is a dictionary or a comparison in words."""
    assert spec_of(measurements={"g": {"value": "m", "where": where}}).measurements["g"].where == meant


def test_a_specification_knows_its_columns():
    """Numbers and names are told apart, those of every measurement included."""
    spec = spec_of(
        ra="ra",
        dec="dec",
        filter="band",
        measurements={
            "g": {"value": "m", "error": "e", "limit": "l", "flags": "f", "time": "t", "where": {"fid": 1}},
            "r": {"value": "m", "name": {"column": "which"}},
        },
    )
    assert spec.numbers == {"ra", "dec", "mjd", "m", "e", "l", "f", "t"}
    assert spec.labels == {"id", "band", "fid", "which"}


def test_times_written_out_are_names():
    """A column of times written out is read as text."""
    spec = spec_of(time="date", time_format="isot")
    assert "date" in spec.labels
    assert "date" not in spec.numbers


def test_measurements_may_be_a_list():
    """Measurements whose names come from the file are given as a list."""
    spec = spec_of(measurements=[{"value": "m", "name": {"filename": r"\.(\w)\.csv"}}])
    assert spec.measurements["0"].name.filename == r"\.(\w)\.csv"


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({}, True),
        ({"epoch": {"column": "mjd"}}, False),
        ({"measurements": {"g": {"value": "m", "time": "t"}}, "epoch": {"column": "mjd"}}, True),
        ({"epoch_time": "MJD", "time": None}, False),
    ],
)
def test_rows_of_an_epoch_may_differ_in_time(changes, differ):
    """Rows differ in time where the specification names a time per row that is not the epoch itself."""
    assert spec_of(**changes).has_row_times is differ


def test_the_digest_depends_on_what_decides_cells():
    """The digest changes with columns, ranges and radius, and neither with defaults nor with `new_objects`."""
    spec, match = spec_of(), MatchSpec()
    same = [
        spec_digest(spec_of(duplicates="refuse"), match),
        spec_digest(spec, MatchSpec(new_objects="refuse")),
        spec_digest(spec, MatchSpec(ra="RA", dec="DEC", object_id="ID")),
    ]
    other = [
        spec_digest(spec_of(value_range=(0, 30)), match),
        spec_digest(spec_of(duplicates="best"), match),
        spec_digest(spec, MatchSpec(radius_arcsec=2)),
        spec_digest(spec, MatchSpec(by="id")),
    ]
    assert set(same) == {spec_digest(spec, match)}
    assert len({*other, *same}) == 5


@pytest.mark.parametrize(
    ("match", "ids", "answer"),
    [("auto", True, True), ("auto", False, False), ("id", True, True), ("sky", True, False)],
)
def test_rows_are_matched_by_id_where_they_have_one(match, ids, answer):
    """'auto' means by id where the catalogues have ids, else by sky."""
    spec = spec_of(ra="ra", dec="dec", object_id="id" if ids else None)
    assert MatchSpec(by=match).by_id(spec) is answer


@pytest.mark.parametrize(("by", "changes"), [("id", {"object_id": None, "ra": "r", "dec": "d"}), ("sky", {})])
def test_a_match_needs_its_columns(by, changes):
    """Matching by what the catalogues don't have is refused."""
    with pytest.raises(BadInput, match="specification with"):
        MatchSpec(by=by).by_id(spec_of(**changes))


@pytest.mark.parametrize("radius", [0, -1, 3601])
def test_a_radius_is_an_angle_of_stars(radius):
    """A radius of nothing, or of degrees, is refused."""
    with pytest.raises(BadInput, match="radius_arcsec"):
        specification(MatchSpec, {"radius_arcsec": radius})
