"""How a process measures time and waits: on its own monotonic clock, never by comparing clocks.

A storage may bring a clock of its own as its attribute ``clock``; else it is the machine's.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

from aggrade.storage import bare

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "SkippingClock", "clock_of"]


class Clock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return seconds since some moment in the past."""
        return time.monotonic()

    def pause(self, shortest: float, longest: float | None = None) -> None:
        """Wait for `shortest` seconds, or for a random while up to `longest`."""
        time.sleep(shortest if longest is None else random.uniform(shortest, longest))  # noqa: S311 - jitter

    def back_off(self, attempt: int) -> None:
        """Wait for a random while, the longer the more attempts there have been: 0.2 s at first, then up to 3.2 s."""
        self.pause(0.0, 0.2 * 2 ** min(attempt, 4))

    def repeat(self, action: Callable[[], bool], seconds: float, done: threading.Event, name: str) -> None:
        """Call something again and again, beside whatever else this process does.

        Parameters
        ----------
        action
            What to call; it returns whether to go on.
        seconds
            How long to wait before each call.
        done
            Set when there is no need any more.
        name
            Of the thread.
        """

        def run() -> None:
            while not done.wait(seconds) and action():
                pass

        threading.Thread(target=run, name=name, daemon=True).start()


class SkippingClock(Clock):
    """A clock on which time passes only where somebody would be waited for, at once, and nothing is repeated."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """See `Clock.now`."""
        return self._now

    def pause(self, shortest: float, longest: float | None = None) -> None:
        """See `Clock.pause`."""
        self._now += shortest if longest is None else (shortest + longest) / 2

    def repeat(self, action: Callable[[], bool], seconds: float, done: threading.Event, name: str) -> None:
        """See `Clock.repeat`."""


_MACHINE = Clock()


def clock_of(storage: Any) -> Clock:
    """Return the clock that a storage brings, or the machine's.

    Parameters
    ----------
    storage
        A `Storage`, wrapped or not.
    """
    clock = getattr(bare(storage), "clock", _MACHINE)
    assert isinstance(clock, Clock)
    return clock
