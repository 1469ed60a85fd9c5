"""The settings of a machine rather than of a call: lease time, time-outs, retries.

Each is read whenever it is needed, from the environment variable that bears its name with the prefix
``AGGRADE_``. The table in ``docs/operations.md`` is made from this module.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields

from aggrade.errors import BadInput, Problem

__all__ = ["Settings", "cores", "settings"]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What a machine may want to change.

    Parameters
    ----------
    lease_seconds
        How long an intent's heartbeat may stand still, watched on one's own clock, before it is taken over.
    wait_seconds
        How long to wait for another writer that is alive before giving up with `Conflict`.
    request_seconds
        How long one request to a store may take.
    request_attempts
        How often a request that failed in transit is sent in all.
    parallel_requests
        How many requests one process keeps under way at once.
    parallel_objects
        How many whole objects one process reads at once to check them; each may be a shard of 64 MB.
    room_share
        Which share of the bytes that a rechunk is expected to write must be free on a local target's disk.
    """

    lease_seconds: float = 30.0
    wait_seconds: float = 600.0
    request_seconds: float = 60.0
    request_attempts: int = 5
    parallel_requests: int = 64
    parallel_objects: int = 8
    room_share: float = 1.0


def _read(name: str, kind: type[float | int], default: float) -> float:
    variable = f"AGGRADE_{name.upper()}"
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = kind(0)
    if not 0 < value < math.inf:
        problem = Problem(
            f"environment variable {variable}",
            repr(text),
            "a finite number above 0",
            "set it or unset it",
            "setting",
        )
        raise BadInput(problem)
    return value


def settings() -> Settings:
    """Return the settings that the environment asks for.

    Raises
    ------
    BadInput
        If a variable does not hold a finite number above 0.
    """
    return Settings(
        **{
            field.name: _read(field.name, int if isinstance(field.default, int) else float, field.default)  # type: ignore[arg-type]
            for field in fields(Settings)
        }
    )
