"""A folder with the project's deployments and data of its own: set up, worked for, and looked at in tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

import aggrade
from deployments.setup import POOL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent


class Site:
    """A folder with the project's deployments and its own data, a server, and how commands are run there.

    Parameters
    ----------
    folder
        Where commands run.
    environment
        What leads to the Prefect server, and to S3 if there is one.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**os.environ, **environment}
        shutil.copy(ROOT / "prefect.yaml", folder)
        self.recordings = folder / "data" / "recordings"
        self.store = folder / "data" / "dataset"

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command to its end; return what it said."""
        done = subprocess.run(
            [PROGRAMS / command[0], *command[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def worker(self, pool: str = POOL) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker of a pool; what it said lies in ``worker.log``."""
        command = [PROGRAMS / "prefect", "worker", "start", "--pool", pool]
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # a test has killed it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def sessions(self) -> Counter[str]:
        """Return the ids of the sessions that landed, as often as each is there."""
        try:
            found = aggrade.open_windows(self.store)
        except aggrade.BadInput:  # none has landed yet
            return Counter()
        return Counter(map(str, found["session"].values))


def commands_of_the_readme() -> list[list[str]]:
    """Return the words of each command that the README types to deploy."""
    section = (ROOT / "README.md").read_text().partition("\n## Deployed\n")[2]
    block = section.partition("```console\n")[2].partition("```")[0]
    return [line.partition("#")[0].split() for line in block.splitlines()]


def set_up(site: Site) -> None:
    """Set the server up as the README says: a site's environment names the server, and it starts its workers itself."""
    export, *commands, worker = commands_of_the_readme()
    assert (export[0], worker[:3]) == ("export", ["prefect", "worker", "start"])
    for command in commands:
        site.run(*command)


def runs_of(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    """Return the runs of a deployment, the oldest first."""
    deployment = client.read_deployment_by_name(name)
    found = [run for run in client.read_flow_runs() if run.deployment_id == deployment.id]
    return sorted(found, key=lambda run: str(run.created))


def process_of(run: FlowRun) -> psutil.Process:
    """Return the process on this machine that a worker has started for a flow run."""
    for process in psutil.process_iter(["cmdline"]):
        try:
            ours = process.environ().get("PREFECT__FLOW_RUN_ID") == str(run.id)
        except psutil.Error:
            continue
        if ours and any("prefect" in word for word in process.info["cmdline"]):
            return process
    raise AssertionError(f"no process works for the flow run {run.name!r}")
