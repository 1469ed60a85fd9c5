"""Tasks: cut one session into windows and stage it; plan what becomes of a session without writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from aggrade.errors import Conflict, Problem
from aggrade.landing import plan_landing
from aggrade.placing import COMMON
from aggrade.recordings.discover import SessionSource, sessions_in
from aggrade.recordings.fingerprint import source_fingerprint
from aggrade.staging import Staged, stage
from aggrade.windowing import cut_windows
from tasks.caching import ReceiptKey, digest_of, readable, refuse_newer_result
from tasks.credentials import storage_options
from tasks.logs import send_core_logs
from tasks.retrying import RETRYING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade import AppendPlan
    from aggrade.append_plan import OnConflict
    from aggrade.channels import Channels
    from aggrade.commit.plan import BackupKind
    from aggrade.placing import Layout, Partition
    from aggrade.window_spec import WindowSpec

__all__ = ["VERSION", "find_sessions", "fingerprint_of", "plan_session", "staging_name", "window_session"]

VERSION = "v6"
"""Raised when the same recording and specification give other windows than before."""


def find_sessions(source: str, credentials: str | None) -> tuple[SessionSource, ...]:
    """Return the sessions of a source, sorted by id. Raises as `aggrade.recordings.discover.sessions_in`."""
    return sessions_in(source, storage_options=storage_options(credentials))


def fingerprint_of(session: SessionSource, credentials: str | None) -> str:
    """Return what tells whether a session's files have changed. Raises as `source_fingerprint`."""
    return source_fingerprint(session.url, storage_options=storage_options(credentials))


def staging_name(session: SessionSource, fingerprint: str, spec: WindowSpec) -> str:
    """Return the name of a session's staging store: another one for other files or another specification."""
    return f"{readable(session.id)}-{digest_of([VERSION, session.url, fingerprint, spec.model_dump(mode='json')])}"


def _what_it_depends_on(inputs: Mapping[str, Any]) -> tuple[str, str]:
    return inputs["store"], staging_name(inputs["session"], inputs["fingerprint"], inputs["spec"])


@task(
    name="window",
    task_run_name="window {session.id}",
    cache_policy=ReceiptKey(version=VERSION, parts=_what_it_depends_on),
    result_serializer="json",
    persist_result=True,
    **RETRYING,
)
def window_session(
    session: SessionSource, fingerprint: str, store: str, spec: WindowSpec, credentials: str | None = None
) -> Staged:
    """Cut one session into windows and put them into a staging store below the dataset root.

    Cached by the session's files, the specification and the version of this task.

    Parameters
    ----------
    session
        Which session.
    fingerprint
        What `fingerprint_of` says of its files.
    store
        The dataset root.
    spec
        How to cut.
    credentials
        Name of a block, or None.

    Raises
    ------
    Conflict
        If the files changed while they were read.
    Refused
        If a newer aggrade has kept what this task returns.
    AggradeError
        As `aggrade.cut_windows` and `aggrade.append`.
    """
    send_core_logs()
    refuse_newer_result()
    options = storage_options(credentials)
    windows = cut_windows(session.url, spec, storage_options=options)
    if fingerprint_of(session, credentials) != fingerprint:
        raise Conflict(_changed(session))
    return stage(windows, store, staging_name(session, fingerprint, spec), storage_options=options)


def _changed(session: SessionSource) -> Problem:
    fix = "run it again when the recording is complete"
    return Problem(
        f"session {session.id!r}",
        "files that changed while they were read",
        "files at rest",
        fix,
        "source-changed",
    )


@task(name="plan", task_run_name="plan {session.id}", cache_policy=NO_CACHE, persist_result=False, **RETRYING)
def plan_session(
    session: SessionSource,
    store: str,
    spec: WindowSpec,
    *,
    layout: Layout = "common",
    partition: Partition = "none",
    store_name: str = COMMON,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    credentials: str | None = None,
) -> AppendPlan:
    """Cut one session and say what its append would do. Writes nothing.

    Parameters
    ----------
    session, store, spec, credentials
        As for `window_session`.
    layout, partition, store_name
        As `aggrade.placing.windows_store` takes them; the last is its `name`.
    channels, on_conflict, backup
        As `aggrade.append` takes them.
    """
    send_core_logs()
    options = storage_options(credentials)
    windows = cut_windows(session.url, spec, storage_options=options)
    name = staging_name(session, fingerprint_of(session, credentials), spec)
    return plan_landing(
        windows,
        store,
        name,
        layout=layout,
        partition=partition,
        store_name=store_name,
        channels=channels,
        on_conflict=on_conflict,
        backup=backup,
        storage_options=options,
    )
