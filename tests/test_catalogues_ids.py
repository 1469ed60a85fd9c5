"""Ids are 64-bit whole numbers or text, and never pass through a float."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.ids import alike, ids_of
from aggrade.catalogues.tables import Column, text_column


def column(values):
    """Return a column with nothing missing."""
    values = np.asarray(values)
    nothing = np.zeros(len(values), bool)
    return text_column(values, nothing) if values.dtype.kind == "U" else Column(values, nothing)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([2**60 + 1, -5]), [2**60 + 1, -5]),
        (np.array([1, 2], "i2"), [1, 2]),
        (np.array([2**63 - 1], "u8"), [2**63 - 1]),
        (np.array([2**63 + 1, 7], "u8"), ["9223372036854775809", "7"]),
        (["1152921504606846977", "3"], [1152921504606846977, 3]),
        (["ZTF18abc", "3"], ["ZTF18abc", "3"]),
        (["1.3444.614", "2"], ["1.3444.614", "2"]),
        (["1.5", "2.25"], ["1.5", "2.25"]),
        (["007", "8"], ["007", "8"]),
    ],
)
def test_ids_keep_every_digit(values, expected):
    """Integers stay integers, text stays text, and integers beyond 64 bits become text."""
    ids = ids_of(column(values))
    assert ids.tolist() == expected


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.array([1.0, 2.0]), "lose digits above"),
        (np.array([1, 2], "f4"), "lose digits above"),
        (np.array([True, False]), "lose digits|truth values"),
        (["12345.0", "7.0"], "floating point"),
        (["1.1529215046068470e+18", "1e5"], "floating point"),
        (np.array([[1, 2]]), "vectors"),
    ],
)
def test_ids_that_went_through_floats_are_refused(values, told):
    """Floats, and text that only floats make, are refused."""
    with pytest.raises(ValueError, match=told):
        ids_of(column(values))


def test_missing_ids_are_counted():
    """Rows without an id are refused with their number."""
    with pytest.raises(ValueError, match="2 rows without an id"):
        ids_of(text_column(np.array(["a", "", " "]), np.zeros(3, bool)))


def test_several_sets_of_ids_agree_on_a_type():
    """Integers stay integers among themselves and become text beside text."""
    whole, text = np.array([2**60 + 1]), np.array(["x"])
    assert [each.dtype.kind for each in alike([whole, whole])] == ["i", "i"]
    assert [each.tolist() for each in alike([whole, text])] == [[str(2**60 + 1)], ["x"]]
