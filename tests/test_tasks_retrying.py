"""Retries by class of error."""

from __future__ import annotations

import pytest
from prefect import task
from prefect.states import Failed

from aggrade.errors import BadInput, Conflict, Damaged, Problem, Refused, Unavailable
from aggrade.storage import ConditionFailed
from tasks.retrying import ATTEMPTS, RETRYING, is_worth_retrying

PROBLEM = Problem("here", "this", "that", "do so")


def _verdict(error):
    return is_worth_retrying(None, None, Failed(data=error))


@pytest.mark.parametrize("kind", [Conflict, Unavailable, ConditionFailed])
def test_what_passes_by_itself_is_retried(kind):
    """A conflict or a store that didn't answer is worth another attempt."""
    assert _verdict(kind(PROBLEM))


@pytest.mark.parametrize("error", [BadInput(PROBLEM), Refused(PROBLEM), Damaged(PROBLEM), ValueError("bug")])
def test_what_needs_a_human_is_not_retried(error):
    """Bad input, refusals, damage and bugs fail at once."""
    assert not _verdict(error)


def test_delays_grow_and_are_spread():
    """Each wait is longer than the one before, and waits are spread so that writers don't march in step."""
    delays = RETRYING["retry_delay_seconds"](RETRYING["retries"])
    assert delays == sorted(set(delays))
    assert len(delays) == ATTEMPTS - 1
    assert RETRYING["retry_jitter_factor"] > 0


@pytest.mark.usefixtures("prefect_backend")
@pytest.mark.parametrize(("error", "attempts"), [(Conflict(PROBLEM), ATTEMPTS), (BadInput(PROBLEM), 1)])
def test_prefect_goes_by_the_class(error, attempts):
    """A task with these settings runs as often as its error's class deserves, then raises the error itself."""
    calls = []

    @task(**{**RETRYING, "retry_delay_seconds": 0})
    def fail():
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value.problems == error.problems
    assert len(calls) == attempts
