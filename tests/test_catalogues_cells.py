"""Three states that NaN can't tell apart: not observed, a limit, flagged; and what float32 can't hold."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.cells import cells_of, lost_in_float32
from aggrade.catalogues.spec import CatalogueSpec, Measurement
from aggrade.catalogues.tables import Column

NAN = np.nan
BASE = {"object_id": "id", "time": "t", "time_scale": "utc", "epoch": {"column": "t"}}
MEASUREMENT = Measurement(value="m", error="e", limit="l", flags="f")


def one(value, error=0.1, limit=NAN, flags=0, measurement=MEASUREMENT, chosen=True, **ranges):
    """Return status, value and error of one row."""
    spec = CatalogueSpec.model_validate({**BASE, "measurements": {"g": measurement}, **ranges})
    given = {"m": value, "e": error, "l": limit}
    columns = {name: Column.whole(np.array([each], "f8")) for name, each in given.items()}
    columns["f"] = Column(np.array([flags or 0]), np.array([flags is None]))
    cells = cells_of(measurement, columns, spec, np.array([chosen]))
    return int(cells.status[0]), cells.value[0], cells.error[0]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"value": 20.0}, (1, 20.0, 0.1)),
        ({"value": 20.0, "limit": 21.0}, (1, 20.0, 0.1)),
        ({"value": 20.0, "error": NAN}, (1, 20.0, NAN)),
        ({"value": 20.0, "error": np.inf}, (1, 20.0, NAN)),
        ({"value": 20.0, "flags": 4}, (3, 20.0, 0.1)),
        ({"value": 20.0, "flags": -1}, (3, 20.0, 0.1)),
        ({"value": 20.0, "flags": None}, (1, 20.0, 0.1)),
        ({"value": NAN, "limit": 21.0}, (2, 21.0, NAN)),
        ({"value": NAN, "limit": 21.0, "flags": 4}, (2, 21.0, NAN)),
        ({"value": np.inf, "limit": 21.0}, (2, 21.0, NAN)),
        ({"value": NAN}, (0, NAN, NAN)),
        ({"value": -np.inf, "limit": np.inf}, (0, NAN, NAN)),
        ({"value": 20.0, "chosen": False}, (0, NAN, NAN)),
        ({"value": NAN, "limit": 21.0, "chosen": False}, (0, NAN, NAN)),
    ],
)
def test_a_cell_has_one_of_four_states(row, expected):
    """Value, limit and flags decide the state, and the limit lies in the value's place."""
    assert np.array_equal(one(**row), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"value": 99.0}, (0, NAN, NAN)),
        ({"value": -99.99, "limit": 21.0}, (2, 21.0, NAN)),
        ({"value": NAN, "limit": 99.9}, (0, NAN, NAN)),
        ({"value": 20.0, "error": 9.99}, (0, NAN, NAN)),
        ({"value": 20.0, "error": -999.0, "limit": 21.0}, (2, 21.0, NAN)),
        ({"value": 20.0, "error": NAN}, (1, 20.0, NAN)),
        ({"value": 30.0, "error": 1.0}, (1, 30.0, 1.0)),
        ({"value": 10.0, "error": 0.0}, (1, 10.0, 0.0)),
    ],
)
def test_sentinels_are_missing(row, expected):
    """Values, limits and errors outside their ranges count as missing; the ends of a range are inside."""
    assert np.array_equal(one(**row, value_range=(10, 30), error_range=(0, 1)), expected, equal_nan=True)


def test_a_limit_may_stand_in_the_value_column():
    """Where a bad error marks the value as a limit, the same column serves as value and limit."""
    both = Measurement(value="m", error="e", limit="m")
    assert one(20.5, error=99.0, measurement=both, error_range=(0, 10))[:2] == (2, 20.5)
    assert one(20.5, error=0.5, measurement=both, error_range=(0, 10))[:2] == (1, 20.5)


def test_negative_fluxes_are_detections():
    """A forced flux below zero is a measurement like any other."""
    assert one(-3.5, error=1.0) == (1, -3.5, 1.0)


def test_a_measurement_needs_only_its_value():
    """Without error, limit and flags, a finite value is a detection without an error."""
    plain = Measurement(value="m")
    assert np.array_equal(one(20.0, measurement=plain), (1, 20.0, NAN), equal_nan=True)
    assert one(NAN, limit=21.0, flags=1, measurement=plain)[0] == 0


@pytest.mark.parametrize(
    ("value", "lost"), [(1e39, 1), (-1e39, 1), (1e-39, 1), (0.0, 0), (1e-37, 0), (3e38, 0), (NAN, 0)]
)
def test_what_float32_cannot_hold_is_found(value, lost):
    """Too large, or so small that digits are lost; zero and NaN are fine."""
    assert len(lost_in_float32(np.array([1.0, value]))) == lost
