"""What a specification says of where the telescope looked, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggrade.catalogues.footprint import Exposure, Footprint, exposures_digest
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec, spec_digest, specification
from aggrade.errors import BadInput

CIRCLES = {"exposures": "exposures.csv", "epoch": "visit", "ra": "ra", "dec": "dec", "radius": 0.5}
SQUARES = {"exposures": "exposures.csv", "epoch": "visit", "corners": [("a", "b"), ("c", "d"), ("e", "f")]}
SPEC = {
    "ra": "ra",
    "dec": "dec",
    "epoch_time": "MJD",
    "time_scale": "utc",
    "epoch": {"filename": r"(\d+)"},
    "measurements": {
        "g": {"value": "mag", "where": "band == 'g'"},
        "r": {"value": "mag", "where": "band == 'r'"},
    },
}


@pytest.mark.parametrize(
    "said",
    [
        {"extent": "hull"},
        CIRCLES,
        {**CIRCLES, "radius": "size", "limit": "depth"},
        {**SQUARES, "measurement": "band", "names": {"1": "g", "3": None}},
    ],
)
def test_a_footprint_is_an_extent_or_a_table(said):
    """Rows' own extent, circles and polygons can be said, each alone."""
    assert Footprint.model_validate(Footprint(**said).model_dump(mode="json")) == Footprint(**said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "give exactly one of 'extent' and 'exposures'"),
        ({**CIRCLES, "extent": "hull"}, "give exactly one of 'extent' and 'exposures'"),
        ({"extent": "hull", "limit": "depth"}, "'limit' needs 'exposures'"),
        ({"extent": "box"}, "'hull'"),
        ({**CIRCLES, "epoch": None}, "'epoch' is missing"),
        ({**CIRCLES, "radius": None}, "give 'ra', 'dec' and 'radius', or 'corners'"),
        ({**CIRCLES, **SQUARES}, "give 'ra', 'dec' and 'radius', or 'corners'"),
        ({**SQUARES, "corners": None}, "give 'ra', 'dec' and 'radius', or 'corners'"),
        ({**SQUARES, "radius": "size"}, "give 'ra', 'dec' and 'radius', or 'corners'"),
        ({**SQUARES, "corners": [("a", "b"), ("c", "d")]}, "'corners' has 2 pairs; give three or more"),
        ({**CIRCLES, "radius": 0.0}, "'radius' is 0; give degrees above 0, up to 180"),
        ({**CIRCLES, "radius": 181.0}, "'radius' is 181"),
        ({**CIRCLES, "names": {"1": "g"}}, "'names' needs 'measurement'"),
        ({**CIRCLES, "depth": "limit"}, "Extra inputs are not permitted"),
    ],
)
def test_what_contradicts_itself_is_refused(said, told):
    """Each contradiction is told by name."""
    with pytest.raises(BadInput) as caught:
        specification(Footprint, said)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"footprint": CIRCLES}, "exposures must too: give the footprint's 'measurement'"),
        (
            {"footprint": {"extent": "hull"}, "object_id": "id", "ra": None, "dec": None},
            "the extent of the rows needs 'ra' and 'dec'",
        ),
        (
            {"footprint": CIRCLES, "measurements": [{"value": "mag", "name": {"column": "band"}}]},
            "exposures must too: give the footprint's 'measurement'",
        ),
    ],
)
def test_a_footprint_fits_its_catalogues(changes, told):
    """Exposures of which nobody could know the band, and an extent of rows without positions, are refused."""
    with pytest.raises(BadInput) as caught:
        specification(CatalogueSpec, {**SPEC, **changes})
    assert told in str(caught.value)


def test_one_measurement_needs_no_name_in_the_exposures():
    """Where rows are chosen and there is but one measurement, exposures can only be of that."""
    one = {**SPEC, "measurements": {"g": SPEC["measurements"]["g"]}, "footprint": CIRCLES}
    assert specification(CatalogueSpec, one).footprint == Footprint(**CIRCLES)


def test_a_path_may_be_a_path():
    """A path object is taken for the table's place."""
    assert Footprint(**{**CIRCLES, "exposures": Path("a") / "b.csv"}).exposures == "a/b.csv"


def test_digests_tell_extents_apart_and_not_where_tables_lie():
    """How rows become cells depends on a stated extent; of a table only what it says of an epoch counts."""
    spec = {**SPEC, "measurements": {"g": {"value": "mag"}}}

    def digest(**changes):
        return spec_digest(specification(CatalogueSpec, {**spec, **changes}), MatchSpec())

    assert (
        digest(footprint=CIRCLES) == digest(footprint={**CIRCLES, "exposures": "elsewhere.fits"}) == digest()
    )
    assert digest(footprint={"extent": "hull"}) != digest()


def test_the_digest_of_exposures_is_that_of_what_they_say():
    """Neither order nor a stated unit counts; every number and name does."""
    one = Exposure(ra=10.0, dec=1.0, radius=0.5, limit=21.0, measurement="g")
    two = Exposure(corners=((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    plain = exposures_digest([one, two])
    assert exposures_digest([two, one.model_copy(update={"unit": "mag"})]) == plain
    changed = [
        {"ra": 10.1},
        {"dec": 1.1},
        {"radius": 0.6},
        {"limit": 20.0},
        {"limit": None},
        {"time": 61000.5},
        {"measurement": "r"},
    ]
    others = [exposures_digest([one.model_copy(update=change), two]) for change in changed]
    assert len({plain, exposures_digest([one]), exposures_digest([]), *others}) == 3 + len(changed)
