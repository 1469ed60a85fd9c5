"""Which sessions a run takes: not those that are being written still, nor those that were set aside and are as they were.

Both are looked at by listings alone. What is taken and can't be read may be set aside afterwards.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aggrade.errors import AggradeError
from aggrade.quarantine import quarantine, quarantined, release
from tasks.credentials import storage_options
from tasks.windowing import fingerprint_of, staging_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from aggrade.errors import BadInput
    from aggrade.recordings.discover import SessionSource
    from aggrade.window_spec import WindowSpec

__all__ = ["Choice", "choose"]

logger = logging.getLogger("aggrade.flows")


@dataclass(frozen=True)
class Choice:
    """What a run takes, and what it leaves alone.

    Parameters
    ----------
    taken
        The sessions to work on, in the order they were given.
    left
        Session id → why it is left alone this time.
    set_aside
        Ids of the sessions that are on record as set aside, for other files or in another way.
    """

    taken: tuple[SessionSource, ...]
    left: Mapping[str, str] = field(default_factory=dict)
    set_aside: frozenset[str] = frozenset()

    def keep(
        self,
        store: str,
        spec: WindowSpec,
        unreadable: Mapping[str, BadInput],
        landed: Iterable[str],
        credentials: str | None,
    ) -> None:
        """Set aside what could not be read, and forget it of what has landed.

        Parameters
        ----------
        store, spec, credentials
            As for `choose`.
        unreadable
            Session id → why it could not be cut.
        landed
            Ids of the sessions that are in the store now.
        """
        options = storage_options(credentials)
        if mended := sorted(self.set_aside.intersection(landed)):
            release(store, mended, storage_options=options)
        for session in self.taken:
            if session.id in unreadable and (name := _name_of(session, spec, credentials)):
                error = unreadable[session.id]
                logger.warning("%s", quarantine(store, session.id, name, error, storage_options=options))


def choose(
    sessions: Sequence[SessionSource],
    store: str,
    spec: WindowSpec,
    *,
    known: Collection[str],
    settle_s: float,
    set_aside: bool,
    credentials: str | None,
    wait: Callable[[float], None] = time.sleep,
) -> Choice:
    """Choose the sessions that a run takes.

    Parameters
    ----------
    sessions
        All that there are.
    store
        Dataset root.
    spec
        How they are to be cut.
    known
        Ids of those that have landed: nobody waits for them.
    settle_s
        For how long, in s, the files of a new session must lie unchanged; 0: nobody looks twice.
    set_aside
        Whether to leave alone what is on record as unreadable.
    credentials
        Name of a block, or None.
    wait
        Waits for so many seconds.
    """
    records = quarantined(store, storage_options=storage_options(credentials)) if set_aside else {}
    left = {
        session.id: str(records[session.id])
        for session in sessions
        if session.id in records and records[session.id].inputs == _name_of(session, spec, credentials)
    }
    new = [session for session in sessions if session.id not in left and session.id not in known]
    for name in _growing(new, settle_s, credentials, wait):
        left[name] = f"{name}: its files changed within {settle_s:g} s and may be growing still"
    for reason in left.values():
        logger.warning("left alone: %s", reason)
    taken = tuple(session for session in sessions if session.id not in left)
    return Choice(taken, left, frozenset(records.keys() - left.keys()))


def _growing(
    sessions: Sequence[SessionSource], seconds: float, credentials: str | None, wait: Callable[[float], None]
) -> list[str]:
    """Return the ids of the sessions whose files change while somebody waits."""
    if not sessions or seconds <= 0:
        return []
    before = {session.id: _seen(session, credentials) for session in sessions}
    logger.info("looking at %d new sessions once more in %g s", len(sessions), seconds)
    wait(seconds)
    return [session.id for session in sessions if _seen(session, credentials) != before[session.id]]


def _seen(session: SessionSource, credentials: str | None) -> str:
    """Return a session's fingerprint; nothing where there is none, which whoever cuts it will tell."""
    try:
        return fingerprint_of(session, credentials)
    except AggradeError:
        return ""


def _name_of(session: SessionSource, spec: WindowSpec, credentials: str | None) -> str:
    """Return what tells the files and the specification of a session; nothing if its files can't be listed."""
    fingerprint = _seen(session, credentials)
    return staging_name(session, fingerprint, spec) if fingerprint else ""
