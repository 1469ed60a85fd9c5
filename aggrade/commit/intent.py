"""The intent: one object that is both the lease and the journal of a commit (DESIGN §4, invariant 3).

It lies at ``.aggrade/intent.json``, is created if absent, and from then on changes only by compare-and-swap:
``held`` → (heartbeats) → ``free``. Release never deletes it, so a late release cannot remove a successor's.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.clock import clock_of
from aggrade.commit.newer import newer_problem
from aggrade.commit.plan import Base, Erasure, Layer, Target
from aggrade.errors import AggradeError, Conflict, Damaged, Problem, Refused
from aggrade.settings import settings
from aggrade.storage import ConditionFailed
from aggrade.storage.probe import Probe

if TYPE_CHECKING:
    from aggrade.storage import Storage

__all__ = [
    "INTENT",
    "INTENT_FORMAT",
    "Intent",
    "Journal",
    "Lease",
    "Owner",
    "is_abandoned",
    "least_shown",
    "read_intent",
    "swap_intent",
]

INTENT = ".aggrade/intent.json"
INTENT_FORMAT = 2
_FORMATS = {1, INTENT_FORMAT}
_BEATS_PER_LEASE = 4


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Owner(_Record):
    """The process that holds an intent, so that its death can be seen at once from the same machine."""

    host: str
    boot: str
    process: int
    started: str

    @classmethod
    def here(cls) -> Owner:
        """Describe this process."""
        return cls(
            host=socket.gethostname(), boot=_boot(), process=os.getpid(), started=_started(os.getpid())
        )

    def is_known_dead(self) -> bool:
        """Tell whether this machine is sure that the process is gone. False means: not known."""
        if not self.boot or (self.host, self.boot) != (socket.gethostname(), _boot()):
            return False
        return _started(self.process) != self.started


def _boot() -> str:
    """Return the machine's boot and process namespace: process ids mean something only within both."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """Return when a process was started, in clock ticks since boot; a reused id has another start. '' if gone."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]


class Journal(_Record):
    """What the holder is about to do: enough to roll it forward or back without its help."""

    kind: str
    dim: str | None = None
    base: Base | None = None
    targets: tuple[Target, ...] = ()
    layers: tuple[Layer, ...] = ()
    backup: str | None = None
    abandons: tuple[Target, ...] = ()
    restores: str | None = None
    erases: Erasure | None = None


class Intent(_Record):
    """The content of the intent object."""

    format: int = INTENT_FORMAT
    state: Literal["held", "free"]
    write_id: str
    owner: Owner
    beat: int = 0
    lease_seconds: float
    journal: Journal | None = None
    dirty: tuple[Target, ...] = Field(
        default=(), description="Regions where a dead writer may have left, or may still leave, objects."
    )
    etags: dict[str, str] = Field(
        default_factory=dict,
        description="Marks of the array documents, as last written; a hint, never trusted.",
    )
    probe: Probe | None = Field(default=None, description="What the server was seen to do, and where.")
    generation: int = Field(
        default=0,
        description="Of the root when the intent was last freed: an older root is not ours any more.",
    )

    @property
    def least(self) -> int:
        """The generation that the root has at least, if it is still ours; 0 if nothing has ever shown.

        Intents of format 1 say no more than that array documents have followed a root.
        """
        return self.generation or int(bool(self.etags))


def least_shown(found: tuple[Intent, str] | None) -> int:
    """Return the generation that a root has at least; 0 while somebody is at work, who may be deleting the store.

    Parameters
    ----------
    found
        What `read_intent` gave.
    """
    return found[0].least if found is not None and found[0].state == "free" else 0


def read_intent(storage: Storage) -> tuple[Intent, str] | None:
    """Return the intent and its mark, or None if there has never been one.

    Raises
    ------
    Damaged
        If the object is not an intent.
    Refused
        If a newer aggrade wrote it.
    """
    stored = storage.read(INTENT)
    if stored is None:
        return None
    try:
        intent = Intent.model_validate_json(stored.data)
    except ValidationError as error:
        raise _unreadable(storage, stored.data, error) from error
    if intent.format not in _FORMATS:
        raise _unknown_format(storage, intent.format)
    return intent, stored.etag


def _unreadable(storage: Storage, data: bytes, error: ValidationError) -> AggradeError:
    version = _format_of(data)
    if version not in {None, *_FORMATS}:
        return _unknown_format(storage, version)
    where = f"{storage.url}/{INTENT}"
    if all(one["type"] == "extra_forbidden" for one in error.errors()):
        return Refused(newer_problem(where))
    fix = "delete it if no writer is alive, then run verify --repair"
    return Damaged(
        Problem(where, "an object that is not an intent", "JSON of an intent", fix, "intent-unreadable")
    )


def _format_of(data: bytes) -> int | None:
    try:
        version = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) else None


def _unknown_format(storage: Storage, version: Any) -> Refused:
    where = f"{storage.url}/{INTENT}"
    fix = "update aggrade, then try again"
    return Refused(
        Problem(where, f"intent format {version}", f"format {INTENT_FORMAT}", fix, "intent-format")
    )


def is_abandoned(storage: Storage, intent: Intent, etag: str, *, patience: float | None = None) -> bool:
    """Watch a held intent until it moves (False) or has stood still for its lease (True).

    Time is measured on this process's own monotonic clock only; no clock is compared with another.

    Parameters
    ----------
    storage, intent, etag
        What `read_intent` gave.
    patience
        Seconds to watch at most; by default the intent's own lease.
    """
    if intent.owner.is_known_dead():
        return True
    lease = intent.lease_seconds if patience is None else min(patience, intent.lease_seconds)
    clock = clock_of(storage)
    deadline = clock.now() + lease
    while clock.now() < deadline:
        clock.pause(min(lease / (2 * _BEATS_PER_LEASE), 1.0))
        now = storage.stat(INTENT)
        if now is None or now.etag != etag:
            return False
        if intent.owner.is_known_dead():
            return True
    return lease >= intent.lease_seconds


class Lease:
    """An intent that this process holds; a thread keeps its heartbeat moving until it is released.

    Parameters
    ----------
    storage
        The Zarr store's storage.
    intent, etag
        What was written to take it.
    replaced
        The mark of the intent that it replaced; None if there was none.
    """

    def __init__(self, storage: Storage, intent: Intent, etag: str, replaced: str | None = None) -> None:
        self.replaced = replaced
        self._storage = storage
        self._intent = intent
        self._etag = etag
        self._lock = threading.RLock()
        self._done = threading.Event()
        self._lost: str | None = None
        self._clock = clock_of(storage)
        self._renewed = self._clock.now()
        pause = intent.lease_seconds / _BEATS_PER_LEASE
        self._clock.repeat(self._keep_beating, pause, self._done, "aggrade-heartbeat")

    @property
    def intent(self) -> Intent:
        """The intent as last written."""
        return self._intent

    @classmethod
    def take(cls, storage: Storage, intent: Intent, *, replacing: str | None) -> Lease:
        """Take the intent by a conditional write.

        Raises
        ------
        ConditionFailed
            If somebody else was faster.
        """
        return cls(storage, intent, swap_intent(storage, intent, replacing), replacing)

    def check(self) -> None:
        """Raise if the lease may be somebody else's by now.

        Raises
        ------
        Conflict
            If the heartbeat failed, or has not been renewed for as long as the lease lasts.
        """
        stale = self._clock.now() - self._renewed > self._intent.lease_seconds
        if self._lost or stale:
            found = self._lost or "a heartbeat that could not be renewed in time"
            raise Conflict(_lost_lease(self._storage, found))

    def confirm(self) -> None:
        """Ask the store whether the intent is still ours.

        What was read before this returns is from before any take-over: compare-and-swaps on marks read then
        cannot hit what a successor wrote. Marks read without it could be a successor's own.

        Raises
        ------
        Conflict
            If somebody took over.
        """
        with self._lock:
            self.check()
            now = self._storage.stat(INTENT)
            if now is None or now.etag != self._etag:
                self._lost = "an intent that somebody took over"
            self.check()

    def record(self, **changes: Any) -> None:
        """Write changed fields of the intent, as its holder."""
        with self._lock:
            self.check()
            self._write(self._intent.model_copy(update={"beat": self._intent.beat + 1, **changes}))

    def release(self, *, dirty: tuple[Target, ...], etags: dict[str, str], generation: int = 0) -> None:
        """Swap the intent to ``free``. If somebody took it over meanwhile, it is theirs and stays so.

        Parameters
        ----------
        dirty, etags
            What is on record from now on.
        generation
            That of the root, where the holder knows it.
        """
        self.stop()
        last = max(generation, self._intent.generation)
        free = {"state": "free", "journal": None, "dirty": dirty, "etags": etags, "generation": last}
        with self._lock:
            try:
                self._write(self._intent.model_copy(update=free))
            except ConditionFailed as error:
                self._lost = error.problems[0].found

    def stop(self) -> None:
        """End the heartbeat without releasing: what a killed process does."""
        with self._lock:
            self._done.set()

    def _write(self, intent: Intent) -> None:
        started = self._clock.now()
        self._etag = swap_intent(self._storage, intent, self._etag)
        self._intent, self._renewed = intent, started

    def _beat(self) -> None:
        with self._lock:
            if not self._done.is_set():
                self.record()

    def _keep_beating(self) -> bool:
        try:
            self._beat()
        except Conflict as error:
            self._lost = error.problems[0].found
        except AggradeError:  # the next beat may get through; `check` notices when none does
            return True
        return self._lost is None


def swap_intent(storage: Storage, intent: Intent, replacing: str | None) -> str:
    """Write the intent conditionally; where the condition failed, find out whether a lost reply was ours."""
    data = intent.model_dump_json().encode()
    try:
        return storage.write(INTENT, data, replacing=replacing).etag
    except ConditionFailed:
        stored = storage.read(INTENT)
        if stored is None or stored.data != data:
            raise
        return stored.etag


def _lost_lease(storage: Storage, found: str) -> Problem:
    fix = f"run it again; if leases are lost often, raise AGGRADE_LEASE_SECONDS (now {settings().lease_seconds:g})"
    return Problem(f"{storage.url}/{INTENT}", found, "an intent that is still ours", fix, "lease-lost")
