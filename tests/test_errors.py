"""The five classes of error and what they say."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import pytest

from aggrade.errors import (
    AggradeError,
    BadInput,
    Conflict,
    Damaged,
    Problem,
    Refused,
    Unavailable,
    raise_all,
)
from aggrade.storage import ConditionFailed

CLASSES = [AggradeError, BadInput, Refused, Conflict, Damaged, Unavailable, ConditionFailed]
ORDER = Problem("eeg", "C3, C4", "C4, C3", "reorder the channels", "channel-order")
UNIT = Problem("eeg", "uV", "V", "convert the file", "unit")


def fail(error):
    """Raise an error, in whatever process this runs."""
    raise error


def test_a_problem_is_one_sentence():
    """A problem says where, what was found, what was expected and what to do."""
    assert str(ORDER) == "eeg: found C3, C4, expected C4, C3; reorder the channels."


def test_a_problem_is_a_value():
    """Problems that say the same are equal, hashable and unchangeable."""
    assert Problem("eeg", "uV", "V", "convert the file", "unit") == UNIT
    assert len({ORDER, UNIT, Problem("eeg", "uV", "V", "convert the file", "unit")}) == 2
    with pytest.raises(AttributeError):
        UNIT.found = "V"


@pytest.mark.parametrize("kind", CLASSES)
def test_one_problem(kind):
    """An error of one problem reads as that problem and bears its code."""
    error = kind(UNIT)
    assert str(error) == str(UNIT)
    assert error.code == "unit"
    assert error.problems == (UNIT,)


@pytest.mark.parametrize("kind", CLASSES)
def test_several_problems(kind):
    """An error of several problems lists each on its line, counts them, and bears the first one's code."""
    error = kind(ORDER, UNIT)
    assert str(error).splitlines() == ["2 problems:", f"  - {ORDER}", f"  - {UNIT}"]
    assert error.code == "channel-order"


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_errors_pickle(kind, module):
    """An error that went through pickle is of the same class and has the same problems."""
    found = pickle.loads(module.dumps(kind(ORDER, UNIT)))
    assert type(found) is kind
    assert found.problems == (ORDER, UNIT)
    assert str(found) == str(kind(ORDER, UNIT))
    assert copy.copy(found).problems == found.problems


def test_errors_cross_processes():
    """What a worker process raises arrives as what it was."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool, pytest.raises(Damaged) as caught:
        pool.submit(fail, Damaged(ORDER, UNIT)).result()
    assert caught.value.problems == (ORDER, UNIT)


def test_what_a_handler_does_about_them():
    """Each class but a failed condition stands by itself; a failed condition is a conflict."""
    direct = [BadInput, Refused, Conflict, Damaged, Unavailable]
    assert [kind.__base__ for kind in direct] == [AggradeError] * 5
    assert ConditionFailed.__base__ is Conflict
    assert not any(issubclass(one, other) for one in direct for other in direct if one is not other)


def test_raise_all_raises_together():
    """All problems come in one error of the class asked for, refused by default."""
    with pytest.raises(Refused) as caught:
        raise_all(iter([ORDER, UNIT]))
    assert caught.value.problems == (ORDER, UNIT)
    with pytest.raises(BadInput):
        raise_all([UNIT], BadInput)


def test_raise_all_of_nothing():
    """Without a problem nothing is raised."""
    raise_all([])
    raise_all(iter(()), Damaged)
