"""Several processes in one, of which exactly one proceeds at a time, by one request: which one is chosen.

Every request is a step, and so are a beat of a lease's heartbeat and the passing of time up to the next moment that
somebody waits for. Time is virtual: no process waits for the machine's clock. A process that is not chosen is
suspended, for as long as the schedule likes. Within a process, requests go out one after another.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zarr
from memory_storage import Hooks, Killed

from aggrade.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

TIME = "time"
LEASE_SECONDS = 1
LIMIT = 20_000


def one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have each process send one request at a time, and return zarr's setting for the same, to be entered."""
    monkeypatch.setenv("AGGRADE_PARALLEL_REQUESTS", "1")
    monkeypatch.setenv("AGGRADE_PARALLEL_OBJECTS", "1")
    return zarr.config.set({"async.concurrency": 1})


@dataclass
class Beat:
    """Something that a process does again and again, beside all else."""

    action: Callable[[], bool]
    seconds: float
    done: threading.Event
    due: float


class Process(Clock, Hooks):
    """One process: the hooks of its requests and its clock. It stops before every request until it is chosen."""

    def __init__(self, name: str, schedule: Schedule, work: Callable[[Process], Any]) -> None:
        self.name, self.schedule, self.work = name, schedule, work
        self.clock = self
        self.at: tuple[str, str] | None = None
        self.until: float | None = None
        self.frozen: float | None = None
        self.behind = 0.0
        self.ended = self.killed = False
        self.beats: list[Beat] = []
        self.result: Any = None
        self.failure: BaseException | None = None
        self._go = threading.Semaphore(0)
        self._waits = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=f"process {name}", daemon=True)

    def _run(self) -> None:
        try:
            self.result = self.work(self)
        except BaseException as error:  # noqa: BLE001 - looked at by whoever scheduled it
            self.failure = error
        self.ended = True
        self._waits.release()

    def start(self) -> None:
        """Begin, up to the first request."""
        self._thread.start()
        self._join()

    def proceed(self) -> None:
        """Send the request that it has stopped at, or wake it up, and wait until it stops again."""
        self.at = self.until = None
        self._go.release()
        self._join()

    def _join(self) -> None:
        assert self._waits.acquire(timeout=120), f"process {self.name} waits for something unknown"

    def _stop(self) -> None:
        self._waits.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def kill(self) -> None:
        """End it before the request that it has stopped at; nothing of it gets out any more."""
        self.killed = True
        self.beats.clear()
        if not self.ended:
            self.proceed()

    def before(self, kind: str, key: str) -> None:
        """See `Hooks.before`."""
        if threading.current_thread() is self.schedule.thread:
            return
        if self.killed:
            raise Killed
        assert not self.ended, f"a request of a process that has ended: {kind} {key}"
        assert self.at is None, f"two requests at once: {self.at}, {kind} {key}"
        self.at = (kind, key)
        self._stop()

    def freeze(self) -> None:
        """Stop its machine as a whole, the clock included."""
        self.frozen = self.schedule.now if self.frozen is None else self.frozen

    def thaw(self) -> None:
        """Go on as if no time had passed."""
        if self.frozen is None:
            return
        missed, self.frozen = self.schedule.now - self.frozen, None
        self.behind += missed
        self.until = None if self.until is None else self.until + missed
        for beat in self.beats:
            beat.due += missed

    def now(self) -> float:
        """See `Clock.now`."""
        return (self.schedule.now if self.frozen is None else self.frozen) - self.behind

    def pause(self, shortest: float, longest: float | None = None) -> None:
        """See `Clock.pause`."""
        if self.killed:
            raise Killed
        self.until = self.schedule.now + (shortest if longest is None else (shortest + longest) / 2)
        self._stop()

    def repeat(self, action: Callable[[], bool], seconds: float, done: threading.Event, name: str) -> None:  # noqa: ARG002
        """See `Clock.repeat`."""
        self.beats.append(Beat(action, seconds, done, self.schedule.now + seconds))

    def is_ready(self) -> bool:
        """Tell whether it could proceed now."""
        return (
            not self.ended and self.frozen is None and (self.until is None or self.until <= self.schedule.now)
        )

    def beating(self) -> list[Beat]:
        """Return the beats that could come now; none while the process itself writes or confirms its intent."""
        self.beats = [beat for beat in self.beats if not beat.done.is_set()]
        if self.ended or self.frozen is not None or (self.at and self.at[1].endswith("intent.json")):
            return []
        return [beat for beat in self.beats if beat.due <= self.schedule.now]

    def waits_until(self) -> list[float]:
        """Return the moments to come that something in it waits for."""
        if self.ended or self.frozen is not None:
            return []
        moments = [beat.due for beat in self.beats if not beat.done.is_set()]
        moments += [] if self.until is None else [self.until]
        return [moment for moment in moments if moment > self.schedule.now]


@dataclass
class Schedule:
    """Runs processes, step by step, in the order that `choose` chooses.

    Parameters
    ----------
    choose
        Given this schedule and what could be done next (names of processes, ``"A beats"``, ``"time"``), returns one
        of these.
    looks
        Called after every step that could have changed something, with the name of the process that took it.
    mortal
        Names of processes that may be chosen to die: ``"A dies"``.
    """

    choose: Callable[[Schedule, list[str]], str]
    looks: Callable[[str], None] = lambda _: None
    now: float = 0.0
    processes: dict[str, Process] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    mortal: set[str] = field(default_factory=set)
    thread: threading.Thread = field(default_factory=threading.current_thread)

    def add(self, name: str, work: Callable[[Process], Any]) -> Process:
        """Add a process; it stands before its first request then."""
        process = self.processes[name] = Process(name, self, work)
        process.start()
        return process

    def run(self) -> None:
        """Let the processes proceed until all have ended."""
        try:
            while not all(process.ended for process in self.processes.values()):
                assert len(self.steps) < LIMIT, "a schedule without an end"
                self._take(self.choose(self, self.options()))
        finally:
            for process in self.processes.values():
                process.kill()

    def options(self) -> list[str]:
        """Return what could be done next, in an order that depends on nothing else."""
        there = self.processes.values()
        ready = [process.name for process in there if process.is_ready()]
        beating = [f"{process.name} beats" for process in there if process.beating()]
        dying = [
            f"{process.name} dies" for process in there if process.name in self.mortal and not process.ended
        ]
        return ready + beating + dying + [TIME] * any(process.waits_until() for process in there)

    def _take(self, step: str) -> None:
        self.steps.append(step)
        if step == TIME:
            self.now = min(moment for process in self.processes.values() for moment in process.waits_until())
            return
        process = self.processes[step.split(maxsplit=1)[0]]
        if step.endswith(" beats"):
            self._beat(process)
        elif step.endswith(" dies"):
            process.kill()
        else:
            self.steps[-1] = f"{step}: {' '.join(process.at)}" if process.at else f"{step} wakes"
            process.proceed()
        self.looks(process.name)

    def _beat(self, process: Process) -> None:
        beat = process.beating()[0]
        beat.due = self.now + beat.seconds
        if not beat.action():
            process.beats.remove(beat)


class AtRandom:
    """Chooses at random, with paces that differ by orders of magnitude; now and then a process is suspended.

    With an odd seed it is so with its machine: by its own clock no time passes.
    """

    def __init__(self, seed: int) -> None:
        self.random, self.frozen = random.Random(seed), seed % 2 == 1
        self.paces: dict[str, float] = {}
        self.suspended: set[str] = set()

    def __call__(self, schedule: Schedule, options: list[str]) -> str:
        """Choose."""
        if self.random.random() < 0.03:
            self.paces.clear()
            self.suspended ^= {self.random.choice(sorted(schedule.processes))}
        options = self._freeze(schedule) if self.frozen else options
        there = [one for one in options if one.split(maxsplit=1)[0] not in self.suspended]
        weights = [self.paces.setdefault(one, 10 ** self.random.uniform(-3, 1)) for one in there or options]
        return self.random.choices(there or options, weights)[0]

    def _freeze(self, schedule: Schedule) -> list[str]:
        """Freeze those that are suspended, unless all that live are; return what could be done next."""
        living = {name for name, process in schedule.processes.items() if not process.ended}
        asleep = self.suspended if living - self.suspended else set()
        for name, process in schedule.processes.items():
            if name in asleep:
                process.freeze()
            else:
                process.thaw()
        return schedule.options()


class Turns:
    """Gives each process a number of requests in turn, then lets them end one after the other.

    Parameters
    ----------
    turns
        Name and number of requests. A process whose turn it isn't is suspended as a whole, its heartbeat included.
    order
        In which the processes end.
    lively
        Nobody is suspended: heartbeats go on, and while one waits the others get on.
    frozen
        Who is suspended is so with its machine: by its own clock no time passes.
    """

    def __init__(
        self, turns: list[tuple[str, int]], order: list[str], *, lively: bool = False, frozen: bool = False
    ) -> None:
        self.turns, self.lively, self.frozen = tuple(turns), lively, frozen
        self.left = [*turns, *((name, LIMIT) for name in order)]
        self.last, self._cut = len(order), set[str]()

    @property
    def unused(self) -> set[str]:
        """The processes that ended before their turns did."""
        return self._cut | {name for name, count in self.left[: -self.last] if count}

    def __str__(self) -> str:
        return f"{self.turns}{' lively' if self.lively else ''}{' frozen' if self.frozen else ''}"

    def __call__(self, schedule: Schedule, options: list[str]) -> str:
        """Choose."""
        beats = [one for one in options if one.endswith(" beats")]
        if self.lively and beats:
            return beats[0]
        while True:
            name, count = self.left[0]
            if self.frozen:
                options = self._freeze_all_but(schedule, name)
            if count and name in options:
                self.left[0] = (name, count - 1)
                return name
            if count and f"{name} beats" in options:
                return f"{name} beats"
            if count and not schedule.processes[name].ended:
                return self._meanwhile(schedule, options)
            if count and len(self.left) > self.last:
                self._cut.add(name)
            self.left.pop(0)

    def _freeze_all_but(self, schedule: Schedule, name: str) -> list[str]:
        for process in schedule.processes.values():
            if process.name == name:
                process.thaw()
            else:
                process.freeze()
        return schedule.options()

    def _meanwhile(self, schedule: Schedule, options: list[str]) -> str:
        others = [one for one in options if one in schedule.processes]
        return others[0] if self.lively and others else TIME
