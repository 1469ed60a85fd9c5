"""Which rows of a table count."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.conditions import parsed_condition, rows_where
from aggrade.catalogues.tables import Column

FID = Column(np.array([1, 2, 2, 3]), np.array([False, False, True, False]))
BAND = Column(np.array(["g", "r", "g", "1"]), np.zeros(4, bool))
BIG = Column(np.array([2**60 + 1, 2**60]), np.zeros(2, bool))


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        (None, [0, 1, 2, 3]),
        ({"fid": (1,)}, [0]),
        ({"fid": (2,)}, [1]),
        ({"fid": (1, 3)}, [0, 3]),
        ({"fid": ("1", 3.0)}, [0, 3]),
        ({"fid": ("one",)}, []),
        ({"band": ("g",)}, [0, 2]),
        ({"band": (1,)}, [3]),
        ({"band": ("g",), "fid": (1, 2)}, [0]),
        ({"band": ("z",)}, []),
    ],
)
def test_rows_meet_all_conditions(where, rows):
    """A row counts if every condition holds; missing values meet none; text and numbers compare as they read."""
    chosen = rows_where(where, {"fid": FID, "band": BAND}, 4)
    assert np.flatnonzero(chosen).tolist() == rows


@pytest.mark.parametrize("wanted", [2**60 + 1, str(2**60 + 1)])
def test_large_integers_are_compared_exactly(wanted):
    """Integers above 2^53 are told apart, given as numbers or as text."""
    assert rows_where({"id": (wanted,)}, {"id": BIG}, 2).tolist() == [True, False]


@pytest.mark.parametrize(
    "text", ["fid > 1", "fid", "f(1)", "fid == x", "1 == fid", "a == 1 or b == 2", "__import__('os')"]
)
def test_nothing_but_comparisons_is_understood(text):
    """Anything else than equalities joined by 'and' is refused, and nothing is ever run."""
    with pytest.raises(ValueError, match="not understood"):
        parsed_condition(text)


def test_what_is_no_text_is_left_alone():
    """Dictionaries pass through."""
    assert parsed_condition({"a": 1}) == {"a": 1}
    assert parsed_condition("a == 1 and b in (2, 'c')") == {"a": 1, "b": (2, "c")}
