"""Recordings → windows → layers of a dataset: one task cuts a session, one appends it, or several that wait together.

Reads the recordings below `source`; writes the stores of windows below `store`. A session that was cut is
`Cached`, one that was appended is a no-op, and a bad one stops no other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from aggrade import AppendPlan, Receipt
from aggrade.append_plan import OnConflict
from aggrade.channels import Channels
from aggrade.commit.plan import BackupKind
from aggrade.errors import AggradeError, BadInput, Conflict, Problem, Refused
from aggrade.placing import COMMON, Layout, Partition, check_root
from aggrade.settings import cores
from aggrade.window_spec import WindowSpec
from flows.declaring import declare
from flows.reporting import begin, raise_failures
from tasks.appending import append_session, append_together, clear_staged, find_homes
from tasks.artifacts import show_left, show_plans, show_receipts
from tasks.assets import show_assets
from tasks.caching import understood
from tasks.choosing import choose
from tasks.pictures import show_quality
from tasks.progress import progress
from tasks.windowing import find_sessions, fingerprint_of, plan_session, window_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prefect.futures import PrefectFuture

    from aggrade.recordings.discover import SessionSource
    from aggrade.staging import Staged

    Begun = tuple[SessionSource, Callable[[], PrefectFuture[Any]]]

__all__ = ["each_of", "ingest_sessions"]

Result = TypeVar("Result")
_FEWEST = 2


@declare("ingest-sessions", run_name="ingest {source} → {store}")
def ingest_sessions(
    source: str,
    store: str,
    windows: WindowSpec,
    layout: Layout = "common",
    partition: Partition = "none",
    *,
    store_name: str = COMMON,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    settle_s: Annotated[float, Field(ge=0)] = 0.0,
    quarantine: bool = False,
    credentials: str | None = None,
    dry_run: bool = False,
) -> list[Receipt] | list[AppendPlan]:
    """Cut recordings into windows and append them to a dataset, one session a layer.

    Run again, it goes on where it stopped and adds what is new.

    Parameters
    ----------
    source
        Folder or prefix with recordings; each child, a file or a folder, is one session. Of a BIDS dataset each
        subject, session, task and run is one.
    store
        Dataset root: a folder or s3://bucket/prefix. It is made where it is missing.
    windows
        How to cut. Give at least the size of a window.
    layout
        common: all sessions in one store, windows.zarr. per_session: each in a store of its own.
    partition
        Whether the common store is split: by the month or year in which a session began, or by montage (channels with
        their units and types, and nominal rates). A session that is dated anew moves.
    store_name
        Name of the common store, where it isn't split.
    channels
        What to do with a session whose channels are not its store's: refuse it, or let the store have the union.
    on_conflict
        What to do with a session that is there with other content: refuse it, or replace the old one.
    backup
        What is kept of the state before each append: the objects it touches, the full store, or none.
    settle_s
        For how long, in s, the files of a new session must lie unchanged: the run looks twice, and leaves for the next
        one what has changed in between. 0: it doesn't wait.
    quarantine
        Set a recording that can't be read aside: the run that finds it fails and says why, later ones leave it alone
        until its files change.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    dry_run
        Print the plan with its price and write nothing.

    Returns
    -------
    list of Receipt or list of AppendPlan
        One per session, in the order of their ids; the plans when `dry_run`.

    Raises
    ------
    AggradeError
        After every good session has landed, naming each bad one and why.
    """
    check_root(store, layout, partition, name=store_name, channels=channels)
    begin(store, dry_run=dry_run, credentials=credentials)
    sessions, lying = find_sessions(source, credentials), find_homes(store, credentials)
    rules: dict[str, Any] = {"channels": channels, "on_conflict": on_conflict, "backup": backup}
    choice = choose(
        sessions,
        store,
        windows,
        known=lying,
        settle_s=settle_s,
        set_aside=quarantine,
        credentials=credentials,
    )
    show_left(choice.left)
    ingest = _Ingest(store, windows, layout, partition, store_name, rules, lying, credentials)
    if dry_run:
        plans, failures = each_of(choice.taken, ingest.plan, lambda _, plan: plan.result(), "plan")
        show_plans(plans)
        raise_failures(failures, len(sessions), "sessions")
        return plans
    receipts, failures = each_of(
        choice.taken, ingest.cut, ingest.land, "ingest", together=ingest.land_together
    )
    clear_staged(ingest.landed, ingest.refused, store, credentials)
    if quarantine:
        landed = [label for receipt in receipts for label in receipt.layers]
        choice.keep(store, windows, ingest.unreadable, landed, credentials)
    show_receipts(receipts)
    show_assets(receipts)
    show_quality(store, receipts, credentials)
    raise_failures(failures, len(sessions), "sessions")
    return receipts


@dataclass(frozen=True)
class _Ingest:
    """The steps of one session, and what they have in common."""

    store: str
    windows: WindowSpec
    layout: Layout
    partition: Partition
    store_name: str
    rules: Mapping[str, Any]
    lying: Mapping[str, str]
    credentials: str | None
    unreadable: dict[str, BadInput] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)
    landed: list[Staged] = field(default_factory=list)
    refused: list[Staged] = field(default_factory=list)

    def plan(self, session: SessionSource) -> PrefectFuture[AppendPlan]:
        """Begin to work out what would be done."""
        begun: PrefectFuture[AppendPlan] = plan_session.submit(
            session,
            self.store,
            self.windows,
            layout=self.layout,
            partition=self.partition,
            store_name=self.store_name,
            credentials=self.credentials,
            **self.rules,
        )
        return begun

    def cut(self, session: SessionSource, *, again: bool = False) -> PrefectFuture[Staged]:
        """Begin to cut a session; it is `Cached` if that was done, unless `again`."""
        fingerprint = fingerprint_of(session, self.credentials)
        task = window_session.with_options(refresh_cache=again)
        return task.submit(session, fingerprint, self.store, self.windows, self.credentials)

    def land(self, session: SessionSource, cut: PrefectFuture[Staged]) -> Receipt:
        """Append a session that was cut; cut it again if what was cut is gone."""
        receipt = self._append(self._staged(session, cut))
        if receipt is None:
            receipt = self._append(self.cut(session, again=True).result())
        if receipt is None:
            found, fix = (
                "a staging store that vanished twice",
                "let one run at a time ingest it, and run again",
            )
            raise Conflict(Problem(f"session {session.id!r}", found, "one that stays", fix, "staging-gone"))
        return receipt

    def _staged(self, session: SessionSource, cut: PrefectFuture[Staged]) -> Staged:
        """Return what was cut; remember of a session that it could not be read."""
        try:
            return understood(cut.result())
        except BadInput as error:
            self.unreadable[session.id] = error
            raise

    def land_together(self, begun: Sequence[Begun]) -> dict[str, Receipt]:
        """Append the first of some sessions in one commit with those behind it that are cut by now, if there are any."""
        store, waiting = self._waiting(begun)
        if len(waiting) < _FEWEST or waiting[0].session in self.alone or self.rules["channels"] == "union":
            return {}
        name = f"append {', '.join(one.session for one in waiting)} → {store}"
        task = append_together.with_options(task_run_name=lambda: name)
        receipts = task(waiting, store, credentials=self.credentials, **self.rules)
        if receipts is None:
            self.alone.update(one.session for one in waiting)
            return {}
        self.landed.extend(waiting)
        return {one.session: receipt for one, receipt in zip(waiting, receipts, strict=True)}

    def _waiting(self, begun: Sequence[Begun]) -> tuple[str, list[Staged]]:
        """Return the first of some sessions, and those behind it that are cut by now and belong in its store, too."""
        store = ""
        waiting: list[Staged] = []
        for _, future in begun:
            cut = _cut_by_now(future, wait=not waiting)
            where, elsewhere = self._place(cut) if cut else ("", "")
            if cut is None or elsewhere or where != (store or where):
                break
            store = where
            waiting.append(cut)
        return store, waiting

    def _place(self, staged: Staged) -> tuple[str, str]:
        """Return the store that a session belongs in, and where it lies, if that is another one."""
        store = staged.store(self.layout, self.partition, name=self.store_name)
        home = self.lying.get(staged.session)
        return store, home if home and store != f"{self.store.rstrip('/')}/{home}" else ""

    def _append(self, staged: Staged) -> Receipt | None:
        store, elsewhere = self._place(staged)
        try:
            receipt: Receipt | None = append_session(
                staged, store, home=elsewhere, credentials=self.credentials, **self.rules
            )
        except (BadInput, Refused):
            self.refused.append(staged)
            raise
        self.landed.extend([staged] if receipt else [])
        return receipt


def each_of(
    sessions: Sequence[SessionSource],
    submit: Callable[[SessionSource], PrefectFuture[Any]],
    finish: Callable[[SessionSource, PrefectFuture[Any]], Result],
    verb: str,
    together: Callable[[Sequence[Begun]], dict[str, Result]] = lambda _: {},
) -> tuple[list[Result], dict[str, Exception]]:
    """Do something with every session: a few are begun ahead, and they are finished in order.

    Parameters
    ----------
    sessions
        Which.
    submit, finish
        Begin a session's work in the background; wait for it and do the rest.
    verb
        What is done, for the progress.
    together
        Finishes the first of those begun and some that follow it, if it can; returns session id → result.

    Returns
    -------
    results : list
        Of the sessions that could be finished, in order.
    failures : dict
        Session id → error of those that could not.
    """
    results: list[Result] = []
    failures: dict[str, Exception] = {}
    with progress(verb, total=len(sessions), unit="sessions") as advance:
        done: dict[str, Result] = {}
        for begun in _ahead(sessions, submit):
            session, future = begun[0]
            try:
                done = done if session.id in done else together(begun)
                results.append(done[session.id] if session.id in done else finish(session, future()))
                advance(session.id)
            except Exception as error:  # noqa: BLE001 - every failure is raised once all sessions were tried
                failures[session.id] = error
                advance(f"{session.id} failed: {_reason(error)}")
    return results, failures


def _reason(error: Exception) -> str:
    if isinstance(error, AggradeError):
        return f"{type(error).__name__}, {error.problems[0].found}"
    return f"{type(error).__name__}: {error}"


def _ahead(
    sessions: Iterable[SessionSource], submit: Callable[[SessionSource], PrefectFuture[Any]]
) -> Iterator[list[Begun]]:
    """Yield each session with its begun work, and behind it those begun ahead; a failed beginning raises when called."""
    begun: deque[Begun] = deque()
    for session in sessions:
        begun.append((session, _begun(session, submit)))
        if len(begun) > 2 * cores():
            yield list(begun)
            begun.popleft()
    while begun:
        yield list(begun)
        begun.popleft()


def _cut_by_now(begun: Callable[[], PrefectFuture[Staged]], *, wait: bool) -> Staged | None:
    """Return what was cut, waiting for it if told to; None if it isn't yet, or could not be."""
    try:
        future = begun()
        future.wait(timeout=None if wait else 0)
        return understood(future.result()) if future.state.is_completed() else None
    except AggradeError:
        return None


def _begun(
    session: SessionSource, submit: Callable[[SessionSource], PrefectFuture[Any]]
) -> Callable[[], PrefectFuture[Any]]:
    try:
        future = submit(session)
    except AggradeError:
        return lambda: submit(session)
    return lambda: future


if __name__ == "__main__":
    from flows.command_line import flow_main

    flow_main("ingest")
