"""Flow runs that crashed, because their process, worker or machine died: which go on, and which have had their turns.

A run that goes on is the same flow run: what it had finished is `Cached`, what was committed is a no-op, and what was
half done is recovered first.

A run that died and is taken for alive, since the server lost the event that its automation counts from, is called crashed here.

A worker of Prefect 3.8 reports one crash twice, up to half a minute apart, and its second report would crash anew a run that
goes on already. So nothing is scheduled before a crash is some time past.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import AwaitingRetry
from prefect.states import Crashed as CrashedState
from pydantic import BaseModel, ConfigDict, Field

from tasks.silence import silent_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

__all__ = ["TAGS", "Crashed", "resume_runs"]

TAGS = ("aggrade", "resumable")
"""What the runs bear that may go on; they have it from their deployments."""

_PAGE = 200
_Fate = Literal["resumed", "given up", "done since"]
logger = logging.getLogger("aggrade.flows")


class Crashed(BaseModel):
    """A flow run that crashed, and what becomes of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(description="Name of the flow run.")
    id: str = Field(description="Its id.")
    attempts: int = Field(description="How often it has been started.")
    becomes: _Fate = Field(
        description="resumed: it is scheduled again. given up: it has had its turns. done since: a later run of its "
        "deployment with the same parameters has completed."
    )

    def __str__(self) -> str:
        told = {
            "resumed": "goes on",
            "given up": "has had its turns; look at its log, then retry it by hand",
            "done since": "is left alone: a later run has done the same",
        }
        return f"flow run {self.run!r}, started {'once' if self.attempts == 1 else f'{self.attempts} times'}: {told[self.becomes]}"


def resume_runs(
    *,
    attempts: int,
    within_h: float,
    pause_s: float,
    silent_s: float,
    lost_s: float,
    dry_run: bool,
    wait: Callable[[float], None] = time.sleep,
) -> list[Crashed]:
    """Schedule the crashed runs of the deployments again, each until it has been started a number of times.

    Parameters
    ----------
    attempts
        How often a run may be started in all.
    within_h
        Runs that crashed more hours ago are left alone.
    pause_s
        How many seconds a crash must be past before its run goes on; younger ones are waited for.
    silent_s, lost_s
        For how many seconds a run that sends heartbeats may give no sign of life, and one that a worker took may need to
        begin, before it is called crashed.
    dry_run
        Only return what would become of them.
    wait
        Waits for so many seconds.
    """
    with get_client(sync_client=True) as client:
        dead = _dead(client, silent_s, lost_s, dry_run=dry_run)
        runs = [*_crashed(client, within_h), *(dead if dry_run else ())]
        found = [_judged(client, run, attempts) for run in runs]
        going_on = [run for run, crashed in zip(runs, found, strict=True) if crashed.becomes == "resumed"]
        if going_on and not dry_run:
            _schedule(client, going_on, pause_s, wait)
    return found


def _dead(client: SyncPrefectClient, silent_s: float, lost_s: float, *, dry_run: bool) -> list[FlowRun]:
    """Call runs crashed that are taken for alive and are not; return them as they were."""
    alive = _runs(client, StateType.RUNNING, StateType.PENDING)
    dead = list(silent_runs(client, alive, silent_s=silent_s, lost_s=lost_s))
    for run in dead:
        logger.warning("flow run %r gives no sign of life: %s", run.name, "dry run" if dry_run else "Crashed")
        if not dry_run:
            client.set_flow_run_state(run.id, CrashedState(message="It gave no sign of life any more."))
    return dead


def _schedule(
    client: SyncPrefectClient, runs: list[FlowRun], pause_s: float, wait: Callable[[float], None]
) -> None:
    """Let runs go on when the last of them crashed long enough ago; not those that somebody has let go on meanwhile."""
    past = (datetime.now(UTC) - max(map(_when, runs))).total_seconds()
    if past < pause_s:
        wait(min(pause_s - past, pause_s))
    for run in runs:
        state = client.read_flow_run(run.id).state
        if state is not None and state.is_crashed():
            client.set_flow_run_state(run.id, AwaitingRetry(scheduled_time=datetime.now(UTC)))


def _judged(client: SyncPrefectClient, run: FlowRun, attempts: int) -> Crashed:
    """Say what becomes of a run, and log it."""
    starts = _starts(client, run)
    fate: _Fate = "resumed" if starts < attempts else "given up"
    if _done_since(client, run):
        fate = "done since"
    crashed = Crashed(run=run.name, id=str(run.id), attempts=starts, becomes=fate)
    logger.log(logging.WARNING if fate == "given up" else logging.INFO, "%s", crashed)
    return crashed


def _starts(client: SyncPrefectClient, run: FlowRun) -> int:
    """Return how often a run was started. Prefect's own count leaves out starts that died before the flow began.

    A start is pending twice in a row: when a worker takes it, and when it submits it.
    """
    states = sorted(client.read_flow_run_states(run.id), key=lambda state: state.timestamp)
    return max(run.run_count, sum(pending for pending, _ in groupby(states, State.is_pending)))


def _crashed(client: SyncPrefectClient, within_h: float) -> Iterator[FlowRun]:
    """Yield the runs that crashed lately, the oldest first."""
    oldest = datetime.now(UTC) - timedelta(hours=within_h)
    for run in _runs(client, StateType.CRASHED):
        if _when(run) >= oldest:
            yield run


def _runs(client: SyncPrefectClient, *kinds: StateType) -> list[FlowRun]:
    """Return the runs of the deployments that are in a state of some kinds, those that came into it first before others."""
    chosen = FlowRunFilter(state=_state(*kinds), tags=FlowRunFilterTags(all_=[*TAGS]))
    found: list[FlowRun] = []
    while len(page := client.read_flow_runs(flow_run_filter=chosen, limit=_PAGE, offset=len(found))) == _PAGE:
        found += page
    return sorted((run for run in [*found, *page] if run.deployment_id is not None), key=_when)


def _when(run: FlowRun) -> datetime:
    assert run.state is not None
    return run.state.timestamp


def _done_since(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Tell whether a later run of the same deployment with the same parameters has completed."""
    assert run.deployment_id is not None
    began = FlowRunFilterStartTime.model_validate({"after_": run.start_time or _when(run)})
    later = FlowRunFilter(state=_state(StateType.COMPLETED), start_time=began)
    deployment = DeploymentFilter(id=DeploymentFilterId(any_=[run.deployment_id]))
    done = client.read_flow_runs(flow_run_filter=later, deployment_filter=deployment, limit=_PAGE)
    return any(one.parameters == run.parameters for one in done)


def _state(*kinds: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=[*kinds]))
