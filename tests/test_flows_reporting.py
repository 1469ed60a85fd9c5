"""One error for everything that failed."""

from __future__ import annotations

import pytest

from aggrade.errors import BadInput, Conflict, Damaged, Problem, Refused, Unavailable
from flows.reporting import raise_failures


def failed(kind, where="file"):
    """Return an error of a class."""
    return kind(Problem(where, "this", "that", "do so", "code"))


def test_without_failures_nothing_is_raised():
    """If every part succeeded, the function returns."""
    raise_failures({}, 3, "sessions")


def test_every_part_is_named_with_its_reasons():
    """All problems of all parts are in one error, each with its part's name, its words and its code."""
    failures = {"sub-1": failed(BadInput, "a.xdf"), "sub-2": failed(BadInput, "b.xdf")}
    with pytest.raises(BadInput) as caught:
        raise_failures(failures, 5, "sessions")
    assert [problem.where for problem in caught.value.problems] == ["sub-1, a.xdf", "sub-2, b.xdf"]
    assert {problem.code for problem in caught.value.problems} == {"code"}
    assert caught.value.__cause__ is failures["sub-1"]


def test_a_part_is_not_named_twice():
    """Where a problem's place names the part already, that is enough."""
    with pytest.raises(BadInput) as caught:
        raise_failures({"sub-1": failed(BadInput, "sub-1/a.xdf")}, 5, "sessions")
    assert caught.value.problems[0].where == "sub-1/a.xdf"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((Unavailable, Conflict), Conflict),
        ((Unavailable, BadInput), BadInput),
        ((BadInput, Refused), Refused),
        ((Refused, Damaged), Damaged),
        ((Unavailable,), Unavailable),
    ],
)
def test_the_class_is_what_needs_a_human_most(kinds, expected):
    """Where several classes failed, the gravest one decides, so that nobody retries what can't pass."""
    with pytest.raises(expected) as caught:
        raise_failures({kind.__name__: failed(kind) for kind in kinds}, 9, "sessions")
    assert type(caught.value) is expected


def test_a_bug_is_named_as_such():
    """An error that is none of ours is reported with its type, and chained."""
    error = ZeroDivisionError("division by zero")
    with pytest.raises(BadInput, match="ZeroDivisionError: division by zero") as caught:
        raise_failures({"sub-1": error}, 1, "sessions")
    assert caught.value.__cause__ is error
    assert caught.value.code == "unexpected"
