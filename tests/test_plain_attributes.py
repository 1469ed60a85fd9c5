"""Attributes as JSON holds them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrade.plain_attributes import DEEPEST, fault_of, plain_attribute

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_is_json_stays_what_it_is(value):
    """It has no fault, and JSON gives it back."""
    assert fault_of(value) == ""
    assert plain_attribute(value) == value == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (((1, 2), {"a": np.array([True])}), [[1, 2], {"a": [True]}]),
        (np.array(["a", None], object), ["a", None]),
        ([], []),
    ],
)
def test_numpy_becomes_plain(value, expected):
    """Numbers, arrays and tuples become numbers and lists, at any depth."""
    assert plain_attribute(value) == expected


def test_times_are_left():
    """They are no JSON, and whoever looks at them later says so."""
    value = {"a": np.datetime64("2026-01-01")}
    assert plain_attribute(value) == value
    assert fault_of(value) == ""


@pytest.mark.parametrize("make", [list, tuple, dict])
def test_the_deepest(make):
    """The bound is the last that is taken, and one more is left as it is, with its reason."""
    value = 1
    for _ in range(DEEPEST):
        value = {"a": value} if make is dict else make([value])
    assert fault_of(value) == ""
    assert f"more than {DEEPEST}" in fault_of([value])
    beyond = [value]
    assert plain_attribute(beyond) is beyond


def test_what_lies_there_twice_does_not_contain_itself():
    """One list may be found in two places."""
    one = [1]
    assert fault_of([one, {"a": one, "b": (one, one)}]) == ""
    one.append({"a": [one]})
    assert fault_of({"x": one}) == "what contains itself"
