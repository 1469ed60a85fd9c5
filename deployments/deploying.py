"""Every flow as a deployment: the ``prefect.yaml`` that says so, and deploying it without switching schedules off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client

from aggrade.errors import Problem, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse

__all__ = ["FILE", "copy_file", "deploy"]

FILE = Path("prefect.yaml")
"""What says which deployments there are, in the folder in which one deploys."""

_PLACES = (Path(__file__).with_name(FILE.name), Path(__file__).parents[1] / FILE.name)
_PAGE = 100


def copy_file() -> None:
    """Put the ``prefect.yaml`` that came with aggrade into this folder, to be changed there."""
    shutil.copyfile(next(place for place in _PLACES if place.is_file()), FILE)


def deploy() -> None:
    """Deploy every flow of this folder's ``prefect.yaml``; schedules that were switched on, in the UI for instance, stay on.

    ``prefect deploy --all`` alone sets each schedule to what the file says.

    Raises
    ------
    Unavailable
        If Prefect could not deploy them all; it has said why.
    """
    with get_client(sync_client=True) as client:
        on = {
            (one.id, schedule.slug)
            for one, schedule in _schedules(client)
            if schedule.slug and schedule.active
        }
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        environment = {**os.environ, "PREFECT_API_URL": str(client.api_url)}
        if subprocess.run(command, env=environment, check=False).returncode:  # noqa: S603 - of no user's words
            expected, fix = "every deployment of it made", "see above, and run it again"
            raise Unavailable(Problem(str(FILE), "an error of `prefect deploy`", expected, fix, "deploy"))
        for one, schedule in _schedules(client):
            if (one.id, schedule.slug) in on and not schedule.active:
                client.update_deployment_schedule(one.id, schedule.id, active=True)
                print(f"schedule {schedule.slug!r} of {one.name} stays on")


def _schedules(client: SyncPrefectClient) -> Iterator[tuple[DeploymentResponse, DeploymentSchedule]]:
    """Yield every schedule of the server with its deployment."""
    start = 0
    while found := client.read_deployments(limit=_PAGE, offset=start):
        yield from ((one, schedule) for one in found for schedule in one.schedules)
        start += len(found)
