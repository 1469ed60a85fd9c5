"""Recordings that can't be read, set aside until their files change: so that nobody reads them every night.

A record lies below the dataset root at ``.aggrade/quarantine/``, one for each session, under a hash of its id. It
holds for the files and the specification with which the session could not be cut, and for no others.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggrade.layout import BOOKKEEPING
from aggrade.storage import ConditionFailed, open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrade.errors import AggradeError

__all__ = ["QUARANTINE", "Quarantined", "quarantine", "quarantined", "record_key", "release"]

QUARANTINE = f"{BOOKKEEPING}/quarantine"
"""Where the records lie, below a dataset root."""

_log = logging.getLogger(__name__)


class Quarantined(BaseModel):
    """Why a session was set aside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str = Field(description="The session's id.")
    inputs: str = Field(description="What it was to be cut from and how: another one, and it is tried again.")
    error: str = Field(description="Class of the error.")
    reasons: tuple[str, ...] = Field(description="What was found, what was expected, what to do next.")
    since: str = Field(description="When, ISO 8601 in UTC.")

    def __str__(self) -> str:
        return (
            f"{self.session}: set aside since {self.since}, until its files change: {' '.join(self.reasons)}"
        )


def quarantine(
    root: str,
    session: str,
    inputs: str,
    error: AggradeError,
    *,
    storage_options: Mapping[str, Any] | None = None,
) -> Quarantined:
    """Set a session aside.

    Parameters
    ----------
    root
        URL of the dataset root.
    session
        The session's id.
    inputs
        What changes whenever its files or the specification do.
    error
        Why.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    Unavailable
        If the store did not answer.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    reasons = tuple(map(str, error.problems))
    record = Quarantined(
        session=session, inputs=inputs, error=type(error).__name__, reasons=reasons, since=since
    )
    storage, key = open_storage(root, storage_options), record_key(session)
    there = storage.stat(key)
    try:
        storage.write(key, record.model_dump_json().encode(), replacing=there.etag if there else None)
    except ConditionFailed:
        _log.info("somebody else has just set session %s aside", session)
    return record


def quarantined(root: str, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, Quarantined]:
    """Return session id → why it was set aside. A record that can't be read counts for nothing.

    Parameters
    ----------
    root, storage_options
        As for `quarantine`.
    """
    storage = open_storage(root, storage_options)
    found = {}
    for info in storage.list(f"{QUARANTINE}/"):
        stored = storage.read(info.key)
        try:
            record = Quarantined.model_validate_json(stored.data if stored else b"")
        except ValidationError:
            _log.warning("%s/%s can't be read and counts for nothing", storage.url, info.key)
            continue
        found[record.session] = record
    return found


def release(root: str, sessions: Iterable[str], *, storage_options: Mapping[str, Any] | None = None) -> None:
    """Forget that sessions were set aside. Parameters as for `quarantine`."""
    open_storage(root, storage_options).delete(map(record_key, sessions))


def record_key(session: str) -> str:
    """Return where the record of a session lies, below a dataset root."""
    return f"{QUARANTINE}/{hashlib.sha256(session.encode()).hexdigest()}.json"
