"""Flow runs that crashed, because their process, worker or machine died: which go on, and which have had their turns.

A run that goes on is the same flow run: what it had finished is `Cached`, what was committed is a no-op, and what was
half done is recovered first.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
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
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

__all__ = ["TAGS", "Crashed", "resume_runs"]

TAGS = ("aggrade", "resumable")
"""What the runs bear that may go on; they have it from their deployments."""

_PAGE = 200
logger = logging.getLogger("aggrade.flows")


class Crashed(BaseModel):
    """A flow run that crashed, and what becomes of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(description="Name of the flow run.")
    id: str = Field(description="Its id.")
    attempts: int = Field(description="How often it has been started.")
    becomes: Literal["resumed", "given up", "done since"] = Field(
        description="resumed: it is scheduled again. given up: it has had its turns. done since: a later run of its "
        "deployment with the same parameters has completed."
    )

    def __str__(self) -> str:
        told = {
            "resumed": "goes on",
            "given up": "has had its turns; look at its log, then retry it by hand",
            "done since": "is left alone: a later run has done the same",
        }
        return f"flow run {self.run!r}, started {self.attempts} times: {told[self.becomes]}"


def resume_runs(*, attempts: int, within_h: float, pause_s: float, dry_run: bool) -> list[Crashed]:
    """Schedule the crashed runs of the deployments again, each until it has been started a number of times.

    Parameters
    ----------
    attempts
        How often a run may be started in all.
    within_h
        Runs that crashed more hours ago are left alone.
    pause_s
        After how many seconds they go on.
    dry_run
        Only return what would become of them.
    """
    found = []
    with get_client(sync_client=True) as client:
        for run in _crashed(client, within_h):
            crashed = Crashed(
                run=run.name, id=str(run.id), attempts=run.run_count, becomes=_fate(client, run, attempts)
            )
            if crashed.becomes == "resumed" and not dry_run:
                when = datetime.now(UTC) + timedelta(seconds=pause_s)
                client.set_flow_run_state(run.id, AwaitingRetry(scheduled_time=when))
            logger.log(logging.WARNING if crashed.becomes == "given up" else logging.INFO, "%s", crashed)
            found.append(crashed)
    return found


def _fate(
    client: SyncPrefectClient, run: FlowRun, attempts: int
) -> Literal["resumed", "given up", "done since"]:
    if _done_since(client, run):
        return "done since"
    return "resumed" if run.run_count < attempts else "given up"


def _crashed(client: SyncPrefectClient, within_h: float) -> Iterator[FlowRun]:
    """Yield the runs that crashed lately, the oldest first, page by page."""
    chosen = FlowRunFilter(state=_state(StateType.CRASHED), tags=FlowRunFilterTags(all_=[*TAGS]))
    found: list[FlowRun] = []
    while len(page := client.read_flow_runs(flow_run_filter=chosen, limit=_PAGE, offset=len(found))) == _PAGE:
        found += page
    oldest = datetime.now(UTC) - timedelta(hours=within_h)
    for run in sorted([*found, *page], key=_when):
        if run.deployment_id is not None and _when(run) >= oldest:
            yield run


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


def _state(kind: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=[kind]))
