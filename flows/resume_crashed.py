"""Flow runs that crashed go on where they stopped, each a bounded number of times.

Asks the Prefect server for runs of aggrade's deployments that crashed; touches no store. A run whose machine died
without a word is crashed by the automation ``crash-silent-runs`` of `deployments.setup`, or here, where the server lost the
event that it counts from.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.declaring import declare
from tasks.artifacts import show_crashed
from tasks.logs import send_core_logs
from tasks.resuming import Crashed, resume_runs

__all__ = ["resume_crashed"]


@declare("resume-crashed", run_name="resume crashed runs")
def resume_crashed(
    attempts: Annotated[int, Field(ge=1)] = 3,
    within_h: Annotated[float, Field(gt=0)] = 24.0,
    pause_s: Annotated[float, Field(ge=0)] = 60.0,
    silent_s: Annotated[float, Field(gt=0)] = 600.0,
    lost_s: Annotated[float, Field(gt=0)] = 1860.0,
    dry_run: bool = False,
) -> list[Crashed]:
    """Schedule crashed runs of aggrade's deployments again.

    Parameters
    ----------
    attempts
        How often a run may be started in all; then it waits for a person.
    within_h
        Leave runs alone that crashed more hours ago.
    pause_s
        How many seconds a crash must be past before its run goes on; the flow waits for younger ones. A worker may report
        one crash twice, up to half a minute apart.
    silent_s
        For how many seconds a run that sends heartbeats may give no sign of life before it is called crashed. Take more than
        three times PREFECT_FLOWS_HEARTBEAT_FREQUENCY.
    lost_s
        For how many seconds a run that a worker took may need to begin before it is called crashed.
    dry_run
        Say what would become of them and write nothing.

    Returns
    -------
    list of Crashed
        Each run that crashed, and what becomes of it.
    """
    send_core_logs()
    found = resume_runs(
        attempts=attempts,
        within_h=within_h,
        pause_s=pause_s,
        silent_s=silent_s,
        lost_s=lost_s,
        dry_run=dry_run,
    )
    show_crashed(found)
    return found


if __name__ == "__main__":
    from flows.command_line import flow_main

    flow_main("resume")
