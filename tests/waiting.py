"""Waiting on conditions, never for a time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(holds: Callable[[], bool], what: str = "the condition", *, seconds: float = 60) -> None:
    """Return as soon as a condition holds; fail if it doesn't for so long that something must be wrong."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
        pause.wait(0.005)
