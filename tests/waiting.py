"""Waiting on conditions, never for a time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(holds: Callable[[], bool], what: str = "the condition", *, seconds: float = 60) -> None:
    """Return as soon as a condition holds; fail if it doesn't for so long that something must be wrong.

    At least two thirds of the time belong to what is waited for, however dear the condition is.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    asked = time.monotonic()
    while not holds():
        answered = time.monotonic()
        assert answered < deadline, f"{what} did not come about within {seconds} s"
        pause.wait(max(0.005, 2 * (answered - asked)))
        asked = time.monotonic()
