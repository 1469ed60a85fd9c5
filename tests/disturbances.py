"""What may happen to a process at one of its requests, with a look at the store after every one of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from memory_storage import Killed, Numbered

from aggrade.clock import Clock
from aggrade.errors import Problem, Unavailable

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

KINDS = (
    "dies before",
    "dies after",
    "loses reply",
    "503 once",
    "503 for ever",
    "slow",
    "slow, heartbeat too",
)
"""Died before the request took effect or after; reply lost; not answered once or ever again; slower than the lease."""

ENDS = {
    "": {"NoneType"},
    "dies": {"NoneType", "Killed"},
    "loses": {"NoneType", "unavailable"},
    "503": {"NoneType", "unavailable"},
    "slow": {"NoneType", "lease-lost"},
}
"""What an operation may end with, by the first word of the kind: nothing, its death, or an error's code."""

SLOW_SECONDS = 300.0
BEATS = 40


class Disturbed(Numbered, Clock):
    """A process that is disturbed at one request; it waits in virtual time, which costs none.

    Parameters
    ----------
    kind
        One of `KINDS`, or ``""`` for none.
    place
        The request's number, from 1.
    look
        Called after every request that took effect.
    """

    def __init__(self, kind: str = "", place: int = 0, look: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.kind, self.place, self.look = kind, place, look
        self.time, self.dead, self.hit = 0.0, False, False
        self.beats: list[tuple[Callable[[], bool], threading.Event]] = []
        self.beating = False

    @property
    def clock(self) -> Clock:
        """The process's clock."""
        return self

    def now(self) -> float:
        """See `Clock.now`."""
        return self.time

    def pause(self, shortest: float, longest: float | None = None) -> None:
        """See `Clock.pause`."""
        self.time += shortest if longest is None else (shortest + longest) / 2

    def repeat(self, action: Callable[[], bool], seconds: float, done: threading.Event, name: str) -> None:  # noqa: ARG002
        """See `Clock.repeat`."""
        self.beats.append((action, done))

    def before(self, kind: str, key: str) -> None:
        """See `Hooks.before`."""
        if self.beating:
            return
        if self.dead:
            raise Killed
        number = self.number(kind, key)
        self.hit = number == self.place or (self.kind == "503 for ever" and number > self.place > 0)
        if self.hit and self.kind == "dies before":
            self._die()
        if self.hit and self.kind.startswith("503"):
            raise unanswered(key)
        if self.hit and self.kind.startswith("slow"):
            self._dawdle(beating=self.kind == "slow" and not key.endswith("intent.json"))

    def after(self, kind: str, key: str) -> None:  # noqa: ARG002
        """See `Hooks.after`."""
        if self.beating:
            return
        self.look()
        if self.hit and self.kind == "dies after":
            self._die()
        if self.hit and self.kind == "loses reply":
            raise unanswered(key)

    def may_end_with(self, failure: BaseException | None) -> bool:
        """Tell whether this disturbance may make an operation end like that."""
        return getattr(failure, "code", type(failure).__name__) in ENDS[re.split("[ ,]", self.kind)[0]]

    def _die(self) -> None:
        self.dead = True
        raise Killed

    def _dawdle(self, *, beating: bool) -> None:
        """Let time pass; a request for the intent keeps the heartbeat waiting, as it does with real threads."""
        for _ in range(BEATS):
            self.time += SLOW_SECONDS / BEATS
            if beating:
                self._beat()

    def _beat(self) -> None:
        self.beating = True
        try:
            self.beats = [(action, done) for action, done in self.beats if not done.is_set() and action()]
        finally:
            self.beating = False


def unanswered(key: str) -> Unavailable:
    """Return what a storage raises when the server does not answer, however often it is asked."""
    return Unavailable(Problem(key, "no answer", "an answer", "retry", "unavailable"))


def process(world: Any, hooks: Disturbed | None = None) -> dict[str, Any]:
    """Return the storage options of a process."""
    return {"world": world, "hooks": hooks or Disturbed()}
