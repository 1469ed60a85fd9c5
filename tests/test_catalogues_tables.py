"""Columns as they were read: what they hold, and how text becomes numbers."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.tables import Column, Wanted, text_column, typed


def text(*values):
    """Return a column of text."""
    return text_column(np.array(values), np.zeros(len(values), bool))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros(2, "i2"), "integers"),
        (np.zeros(2, "u8"), "integers"),
        (np.zeros(2, "f4"), "numbers"),
        (np.array(["a", "b"]), "text"),
        (np.zeros(2, bool), "truth values"),
        (np.zeros((2, 3)), "vectors"),
        (np.zeros(2, "M8[s]"), "datetime64[s]"),
    ],
)
def test_a_column_knows_what_it_holds(values, kind):
    """Kinds have names that people know; what isn't understood keeps its own."""
    assert Column(values, np.zeros(2, bool)).kind == kind


def test_what_is_not_a_number_is_missing():
    """NaN is missing in a column of floats."""
    assert Column.whole(np.array([1.0, np.nan])).missing.tolist() == [False, True]
    assert Column.whole(np.array([1, 2])).missing.tolist() == [False, False]


def test_text_loses_its_blanks():
    """Blanks around text don't count, and text of blanks alone is missing."""
    column = text(" a ", "  ", "b")
    assert column.values.tolist() == ["a", "", "b"]
    assert column.missing.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (("1", "-2"), "i8"),
        (("9223372036854775807", "-9223372036854775808"), "i8"),
        (("9223372036854775808", "1"), "U"),
        (("007", "8"), "U"),
        (("1.5", "2"), "f8"),
        (("2458729.688148", "-1e-3"), "f8"),
        ((".5", "5."), "f8"),
        (("1.2.3", "4"), "U"),
        (("g", "1"), "U"),
        (("nan", "1"), "U"),
        (("+1", "2"), "U"),
        (("\u0661", "2"), "U"),
    ],
)
def test_text_is_what_all_of_it_is(values, dtype):
    """A column of text is one of integers or numbers only if every value is, and no digit is lost."""
    column = typed(text(*values))
    assert column.values.dtype.kind == np.dtype(dtype).kind
    if dtype == "i8":
        assert [str(each) for each in column.values] == list(values)


def test_missing_text_stays_missing():
    """What is missing does not decide the type, and stays missing."""
    column = typed(text("1", "", "3"))
    assert column.values.dtype == np.int64
    assert column.missing.tolist() == [False, True, False]
    assert typed(text("", "")).values.dtype.kind == "U"


def test_all_names_are_wanted():
    """What is wanted is numbers and labels together."""
    assert Wanted(frozenset("ab"), frozenset("bc")).names == {"a", "b", "c"}
