"""The proper motion of an object table is taken as it is stated, or refused with every reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.table import Table

from aggrade.catalogues.given import given_objects
from aggrade.catalogues.loading import How
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec
from aggrade.errors import BadInput

SPEC = CatalogueSpec.model_validate(
    {
        "object_id": "id",
        "ra": "ra",
        "dec": "dec",
        "time": "t",
        "time_scale": "utc",
        "epoch": {"column": "t"},
        "measurements": {"g": {"value": "m"}},
    }
)
PLACES = {"id": [1, 2], "ra": [10.0, 20.0], "dec": [0.0, 1.0]}
MOTION = {"pmra": [5.0, np.nan], "pmdec": [-3.0, np.nan]}


def motion(columns, by="sky", **match):
    """Return the motion of the object table that a user gives, in the order of ids."""
    table = columns if isinstance(columns, Table) else pd.DataFrame(columns)
    found = given_objects(table, How(spec=SPEC, match=MatchSpec(by=by, **match)), None)
    return found.motion and found.motion.taken(np.argsort(found.ids))


def test_columns_are_found_or_named():
    """Gaia's names are known, others are named; the reference epoch is a column or one year for all."""
    found = motion({**PLACES, **MOTION, "ref_epoch": [2016.0, 2016.0]})
    assert [values.tolist()[0] for values in found] == [5.0, -3.0, 2016.0]
    assert np.isnan(found.pmra[1])
    one_year = motion({**PLACES, **MOTION}, reference_epoch=2015.5)
    assert one_year.ref_epoch.tolist() == [2015.5, 2015.5]
    named = {"mu_a": MOTION["pmra"], "mu_d": MOTION["pmdec"], "at": [2000.0, 2000.0]}
    found = motion({**PLACES, **named}, pmra="mu_a", pmdec="mu_d", reference_epoch="at")
    assert found.ref_epoch.tolist() == [2000.0, 2000.0]


def test_the_table_is_sorted_with_its_motion():
    """Rows keep their motion when objects are sorted by the sky."""
    places = {"id": [1, 2, 3], "ra": [300.0, 10.0, 150.0], "dec": [-40.0, 5.0, 70.0]}
    frame = pd.DataFrame({**places, "pmra": [1.0, 2.0, 3.0], "pmdec": 0.0, "ref_epoch": 2016.0})
    table = given_objects(frame, How(spec=SPEC, match=MatchSpec(by="sky")), None)
    assert table.motion.pmra.tolist() == table.ids.astype(float).tolist()
    assert table.first(2).motion.pmra.tolist() == table.ids[:2].astype(float).tolist()


def test_without_motion_and_by_id_nothing_is_needed():
    """A table without it has none; by id it isn't asked for."""
    assert motion(PLACES) is None
    assert motion({**PLACES, **MOTION}, by="id") is None


def test_motion_belongs_to_the_digest():
    """Tables that differ in their motion alone are different tables; without any they are what they were."""
    digests = {
        given_objects(
            pd.DataFrame({**PLACES, **more}), How(spec=SPEC, match=MatchSpec(by="sky")), None
        ).digest
        for more in ({}, *({"pmra": pm, "pmdec": 0.0, "ref_epoch": 2016.0} for pm in (1.0, 2.0)))
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("columns", "match", "told"),
    [
        (MOTION, {}, "reference_epoch"),
        ({"pmra": [1.0, 2.0], "ref_epoch": [2016.0, 2016.0]}, {}, "column pmdec"),
        (MOTION, {"pmra": "mu", "reference_epoch": 2016.0}, "column mu"),
        ({}, {"reference_epoch": 2016.0}, "column pmra"),
        ({**MOTION, "pmdec": [1.0, 2.0]}, {"reference_epoch": 2016.0}, "1 rows with half"),
        ({**MOTION, "pmra": [np.inf, np.nan]}, {"reference_epoch": 2016.0}, "1 rows with half"),
        (MOTION, {"reference_epoch": 57388.5}, "1 reference epochs such as 57388.5"),
        ({**MOTION, "ref_epoch": [np.nan, np.nan]}, {}, "1 reference epochs"),
        ({**MOTION, "pmra": ["fast", "slow"]}, {"reference_epoch": 2016.0}, "column of numbers"),
    ],
)
def test_half_a_motion_is_refused(columns, match, told):
    """What is missing or no number is named."""
    with pytest.raises(BadInput, match=told) as caught:
        motion({**PLACES, **columns}, **match)
    assert caught.value.code == "motion"


@pytest.mark.parametrize(("unit", "fits"), [("mas/yr", True), ("mas.yr**-1", True), ("arcsec/yr", False)])
def test_other_units_are_refused(unit, fits):
    """mas/yr in whatever spelling is taken, another unit isn't converted."""
    table = Table({**PLACES, "pmra": [1.0, 2.0], "pmdec": [1.0, 2.0], "ref_epoch": [2016.0, 2016.0]})
    table["pmra"].unit = table["pmdec"].unit = units.Unit(unit)
    if fits:
        assert motion(table).pmra.tolist() == [1.0, 2.0]
        return
    with pytest.raises(BadInput, match="arcsec") as caught:
        motion(table)
    assert len(caught.value.problems) == 2
