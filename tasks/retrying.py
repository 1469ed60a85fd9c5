"""Which errors are worth another attempt, and after how long.

`Conflict` (somebody else won) and `Unavailable` (the store did not answer) pass by themselves; `BadInput`,
`Refused` and `Damaged` wait for a human, and whatever is none of the five is a bug: none of them is retried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from prefect.tasks import exponential_backoff

from aggrade.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

__all__ = ["ATTEMPTS", "RETRYING", "Retrying", "is_worth_retrying"]

ATTEMPTS = 4


def is_worth_retrying(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Tell whether a failed task run may succeed when it is run again, by the class of its error.

    Parameters
    ----------
    task, run
        Not looked at; the interface is Prefect's.
    state
        The failed state, which holds the error.
    """
    return isinstance(state.result(raise_on_failure=False), (Conflict, Unavailable))


class Retrying(TypedDict):
    """The arguments of `prefect.task` that `RETRYING` sets."""

    retries: int
    retry_delay_seconds: Callable[[int], list[float]]
    retry_jitter_factor: float
    retry_condition_fn: Callable[[Task[Any, Any], TaskRun, State[Any]], bool]


RETRYING = Retrying(
    retries=ATTEMPTS - 1,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_worth_retrying,
)
