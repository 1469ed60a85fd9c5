"""Flow runs that the server takes for alive and that give no sign of life any more: which they are.

The automations of `deployments.setup` call such a run crashed as soon as its heartbeat stays away. A busy server may lose the
very event that they count from, and the run would stay as it is for ever. Here the events that the server has stored are looked
at. Times are the server's own, those at which it received them, so that clocks that differ don't matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import StateType
from prefect.events.filters import (
    EventAnyResourceFilter,
    EventFilter,
    EventNameFilter,
    EventOccurredFilter,
    EventResourceFilter,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

__all__ = ["silent_runs"]

_HEARTBEAT = "prefect.flow-run.heartbeat"


def silent_runs(
    client: SyncPrefectClient, runs: Iterable[FlowRun], *, silent_s: float, lost_s: float
) -> Iterator[FlowRun]:
    """Yield the runs that must be dead.

    Parameters
    ----------
    client
        Of the server.
    runs
        Runs that are Running or Pending.
    silent_s
        For how many seconds one that runs may give no sign of life. Of one that has sent no heartbeat since it
        began nothing is known: heartbeats may be off.
    lost_s
        For how many seconds one that a worker took may need to begin.
    """
    now = None
    for run in runs:
        assert run.state is not None
        now = now or _newest(client)
        last = _newest(client, any_resource=EventAnyResourceFilter(id=[_resource(run)]))
        running = run.state.type == StateType.RUNNING
        silence = (now - last).total_seconds() if now and last else 0.0
        if silence > (silent_s if running else lost_s) and (not running or _heard(client, run)):
            yield run


def _heard(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Tell whether a run has sent a heartbeat since it was started last."""
    assert run.state is not None
    since = EventOccurredFilter.model_validate({"since": run.state.timestamp})
    resource = EventResourceFilter(id=[_resource(run)])
    return (
        _newest(client, occurred=since, event=EventNameFilter(name=[_HEARTBEAT]), resource=resource)
        is not None
    )


def _newest(client: SyncPrefectClient, **chosen: Any) -> datetime | None:
    """Return when the server received the last of some events."""
    found = client.read_events(EventFilter(**chosen), limit=1).events
    return found[0].received if found else None


def _resource(run: FlowRun) -> str:
    return f"prefect.flow-run.{run.id}"
